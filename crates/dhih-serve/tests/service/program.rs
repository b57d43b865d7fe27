//! The program from the user's side: flags, exit codes, the URL on stdout, a request over TCP, and shutdown by a signal.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::common::{Fixture, program};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(stderr.contains(part), "{stderr:?} does not say {part:?}");
    }
}

#[test]
fn help_has_an_example_and_the_environment_twins() {
    let output = program().arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = text(&output.stdout);
    for part in [
        "Examples:",
        "curl",
        "DHIH_RUN",
        "DHIH_BIND",
        "DHIH_INDEX",
        "DHIH_MAX_BODY_MIB",
        "DHIH_READ_KEY_FILE",
    ] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for (arguments, says) in [
        (&["--bind", "0.0.0.0:0"][..], "--read-key-file"),
        (&["--bind", "[::]:7878"], "no keys for it"),
        (&["--bind", "localhost"], "--bind"),
        (&["--max-body-mib", "0"], "--max-body-mib"),
        (&["--log-level", "loud"], "--log-level"),
        (&["--port", "1"], "--port"),
        (&["--host", "https://photos.example"], "without scheme and port"),
        (&["--host", "*"], "--keys-file"),
        (&["--cors-origin", "*"], "name the origins one by one"),
        (&["--cors-origin", "photos.example"], "https://photos.example"),
        (&["--path-prefix", "dhih"], "a path such as /dhih"),
        (&["--rate-limit", "0"], "--rate-limit"),
    ] {
        refused(&program().args(arguments).output().unwrap(), 2, &[says]);
    }
}

/// The bug: with a settings file that had a certificate but no key, the program silently served plain HTTP.
#[test]
fn half_of_tls_in_a_settings_file_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve.toml");
    for (toml, says) in
        [("tls_cert = 'cert.pem'", "--tls-key"), ("tls-key = 'key.pem'", "--tls-cert")]
    {
        std::fs::write(&file, toml).unwrap();
        refused(&program().arg("--config").arg(&file).output().unwrap(), 2, &[says]);
    }
}

#[test]
fn a_missing_run_exits_with_1_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let output = program().args(["--run", "none"]).current_dir(dir.path()).output().unwrap();
    refused(
        &output,
        1,
        &["none/model.safetensors is missing", "cargo run --release -p dhih-train"],
    );
}

/// If the test runs as root, the program runs as another user.
#[cfg(unix)]
#[test]
fn a_run_that_may_not_be_written_to_names_read_only() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    const NOBODY: u32 = 65534;
    let fixture = Fixture::new();
    let files = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (run, index) = (fixture.run().to_owned(), fixture.file("index"));
    for path in files(index).chain(files(run.clone())).chain([run]) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program_copy = copy.path().join("dhih-serve");
    std::fs::copy(env!("CARGO_BIN_EXE_dhih-serve"), &program_copy).unwrap();
    let mut command = Command::new(program_copy);
    command.arg("--run").arg(fixture.run()).args(["--bind", "127.0.0.1:0"]);
    if std::fs::write(fixture.file("probe"), "").is_ok() {
        std::fs::remove_file(fixture.file("probe")).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    std::fs::set_permissions(fixture.run(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(fixture.file("index"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    refused(&output, 1, &["cannot be written to", "--read-only"]);
}

#[test]
fn a_taken_port_exits_with_1_and_the_cure() {
    let fixture = Fixture::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        program().arg("--run").arg(fixture.run()).args(["--bind", &address]).output().unwrap();
    refused(&output, 1, &[&address, "--bind"]);
}

#[cfg(unix)]
#[test]
fn it_prints_its_url_answers_and_stops_at_a_signal() {
    let fixture = Fixture::new();
    for (signal, json) in [("TERM", false), ("INT", true)] {
        let mut child = program()
            .env("DHIH_JSON", json.to_string())
            .env("DHIH_RUN", fixture.run())
            .env("DHIH_BIND", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut url = lines.next().unwrap().unwrap();
        if json {
            let line: serde_json::Value = serde_json::from_str(&url).unwrap();
            assert_eq!(
                (&line["items"], &line["bits"]),
                (&crate::common::ITEMS.into(), &crate::common::BITS.into())
            );
            url = line["url"].as_str().unwrap().to_owned();
        }
        let address = url.strip_prefix("http://").unwrap().strip_suffix('/').unwrap();

        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"status":"ok"}"#),
            "{answer}"
        );

        let id = child.id().to_string();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success()
        );
        let output = child.wait_with_output().unwrap();
        let log = text(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(lines.next().is_none(), "nothing after the URL");
        for part in ["method=GET", "path=\"/healthz\"", "status=200", "ms=", "stopped"] {
            assert!(log.contains(part), "{log:?} does not say {part:?}");
        }
    }
}

/// The bug: pools of threads took their size from the environment, and a service beside others used all cores.
#[cfg(target_os = "linux")]
#[test]
fn it_computes_on_as_many_threads_as_it_is_told_by_flag_or_file() {
    let fixture = Fixture::new();
    let settings = fixture.run().join("serve.toml");
    std::fs::write(&settings, "threads = 2\n").unwrap();
    let file = ["--config", settings.to_str().unwrap()];
    for (words, expected) in [(&["--threads", "3"][..], 3), (&["-j", "1"], 1), (&file, 2)] {
        let mut child = program()
            .args(words)
            .env("DHIH_RUN", fixture.run())
            .env("DHIH_BIND", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let threads = format!("/proc/{}/task", child.id());
        let encoders = || {
            let threads = std::fs::read_dir(&threads).unwrap();
            let names = threads.map(|thread| {
                std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default()
            });
            names.filter(|name| name.trim() == "encoder").count()
        };
        // A thread has its name only after it has begun to run, which may take a while on a busy machine.
        for _ in 0..4000 {
            if encoders() >= expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let encoders = encoders();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(url.starts_with("http://"), "{url}");
        assert_eq!(encoders, expected, "{words:?}");
    }
}
