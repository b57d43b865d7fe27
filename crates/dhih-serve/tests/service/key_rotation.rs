//! Keys from a file are replaced without a restart, and the log names the key of each change. The bugs: replacing a key needed a restart,
//! and a deletion could not be attributed to anybody.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::acknowledged::{self, Running};
use crate::common::{Fixture, program};

const FIRST: &str = "first-key-0123456789";
const SECOND: &str = "second-key-0123456789";

/// The digest of a key, as printed by the program.
fn digest(key: &str) -> String {
    let mut command = program();
    command.args(["keys", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write_keys(path: &Path, name: &str, key: &str) {
    let toml = format!("[[key]]\nname = '{name}'\nrole = 'admin'\nsha256 = '{}'\n", digest(key));
    std::fs::write(path, toml).unwrap();
}

fn start(fixture: &Fixture, keys: &Path) -> (Running, String) {
    let mut command = program();
    command.arg("--run").arg(fixture.run()).arg("--keys-file").arg(keys);
    acknowledged::start(command.stderr(Stdio::piped()))
}

fn status(address: &str, request: &str, key: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

/// Waits until a condition holds, for at most a minute.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the program has installed its handler for SIGHUP. Without a handler the signal would kill it.
fn heeds_hangup(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
}

#[cfg(target_os = "linux")]
#[test]
fn keys_are_replaced_without_a_restart_and_the_log_names_them() {
    let fixture = Fixture::new();
    let keys = fixture.file("keys.toml");
    write_keys(&keys, "monday", FIRST);
    let (mut child, address) = start(&fixture, &keys);
    until("the handler", || heeds_hangup(&child));
    assert_eq!(status(&address, "GET /v1/info", FIRST), 200);
    assert_eq!(status(&address, "GET /v1/info", SECOND), 401);
    assert_eq!(status(&address, "DELETE /v1/items/7", FIRST), 204);
    write_keys(&keys, "tuesday", SECOND);
    signal(&child, "-HUP");
    until("the second key", || status(&address, "GET /v1/info", SECOND) == 200);
    assert_eq!(status(&address, "GET /v1/info", FIRST), 401);
    assert_eq!(status(&address, "DELETE /v1/items/8", SECOND), 204);
    // After a damaged file, the previous keys stay in force, and the error is logged.
    std::fs::write(&keys, "[[key]]\nname = 'wednesday'\n").unwrap();
    signal(&child, "-HUP");
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !log.contains("the keys were not read again") {
        assert_ne!(lines.read_line(&mut log).unwrap(), 0, "{log}");
    }
    assert_eq!(status(&address, "GET /v1/info", SECOND), 200);
    signal(&child, "-TERM");
    lines.read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());

    let line = |parts: &[&str]| {
        let has = |line: &&str| parts.iter().all(|part| line.contains(part));
        assert!(log.lines().any(|line| has(&line)), "no line has {parts:?}:\n{log}");
    };
    for (id, name) in [(7, "monday"), (8, "tuesday")] {
        let (path, key) = (format!("path=\"/v1/items/{id}\""), format!("key=\"{name}\""));
        for what in ["changed", "request"] {
            line(&[what, "method=DELETE", &path, &key, "peer=127.0.0.1:", "request_id="]);
        }
    }
    line(&["request", "status=401", "peer=127.0.0.1:"]);
    line(&["the keys were not read again", "keys.toml", "missing field `role`"]);
    assert!(!log.contains(FIRST) && !log.contains(SECOND), "no key is logged");
}

#[test]
fn a_keys_file_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    for (toml, says) in [("", "no key in it"), ("[[key]]\nname = 'a'\nrole = 'king'", "`king`")] {
        std::fs::write(&keys, toml).unwrap();
        let output = program().arg("--keys-file").arg(&keys).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("keys.toml") && told.contains(says), "{told}");
    }
}
