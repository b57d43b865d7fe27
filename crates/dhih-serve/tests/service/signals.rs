//! Operation of the program: signals at any moment, logs that nobody reads, and probes on an address of their own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Fixture, program};

/// A time longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts the program, which may still be loading when this returns.
    fn start(fixture: &Fixture, arguments: &[&str], log: impl Into<Stdio>) -> Self {
        Self::start_as(program(), fixture, arguments, log)
    }

    /// As [`start`](Self::start), with a prepared `command`.
    fn start_as(
        mut command: Command,
        fixture: &Fixture,
        arguments: &[&str],
        log: impl Into<Stdio>,
    ) -> Self {
        command.arg("--run").arg(fixture.run()).args(["--bind", "127.0.0.1:0", "--read-only"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Waits until it serves. Returns its address.
    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("http://").unwrap().strip_suffix('/').unwrap();
        address.parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for its end. Returns the exit status and the time that it took.
    fn wait(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        while started.elapsed() < LONG {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap(), body.unwrap())
}

/// An index whose manifest is a pipe: opening it hangs as long as the other end of the pipe is open.
struct Hung(PathBuf);

impl Hung {
    fn new(fixture: &Fixture) -> Self {
        let manifest = fixture.file("index/manifest.json");
        std::fs::rename(&manifest, manifest.with_extension("kept")).unwrap();
        assert!(Command::new("mkfifo").arg(&manifest).status().unwrap().success());
        Self(manifest)
    }

    /// Waits until the program reads the manifest. Reading does not end while the returned file is open.
    fn wait(&self) -> File {
        // Opening a pipe for writing blocks until there is a reader.
        File::options().write(true).open(&self.0).unwrap()
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The bug: SIGHUP was only handled some time after the address was printed, and killed the process in between.
#[test]
fn a_hangup_right_after_the_start_does_not_end_it() {
    let fixture = Fixture::new();
    for _ in 0..10 {
        let mut program = Program::start(&fixture, &[], Stdio::null());
        let address = program.address();
        program.signal("HUP");
        assert_eq!(get(address, "/healthz").0, 200);
        program.signal("TERM");
        assert!(program.wait().0.success());
    }
}

/// The bug: when the disk of the log was full, or its reader was gone or did not read, requests were aborted or blocked.
#[test]
fn a_log_that_nobody_takes_stops_nothing() {
    let fixture = Fixture::new();
    let mut logs: Vec<Stdio> = Vec::new();
    if Path::new("/dev/full").exists() {
        logs.push(File::options().write(true).open("/dev/full").unwrap().into());
    }
    let (unread, writer) = std::io::pipe().unwrap();
    logs.push(writer.into());
    let (gone, writer) = std::io::pipe().unwrap();
    drop(gone);
    logs.push(writer.into());
    for log in logs {
        let mut program = Program::start(&fixture, &["--log-level", "trace"], log);
        let address = program.address();
        // More lines than the buffer of the pipe holds.
        for _ in 0..1000 {
            assert_eq!(get(address, "/v1/items/1").0, 200);
        }
        program.signal("TERM");
        let (status, took) = program.wait();
        assert!(status.success(), "{status}");
        assert!(took < LONG / 2, "{took:?}");
    }
    drop(unread);
}

/// The bug: the reload of a large index delayed the end of the process until its supervisor killed it.
#[test]
fn it_stops_while_a_reload_hangs() {
    let fixture = Fixture::new();
    let mut program = Program::start(&fixture, &[], Stdio::null());
    let address = program.address();
    let hung = Hung::new(&fixture);
    program.signal("HUP");
    let _pipe = hung.wait();
    assert_eq!(get(address, "/v1/info").0, 200, "requests are answered meanwhile");
    program.signal("TERM");
    let (status, took) = program.wait();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
}

#[test]
fn probes_are_answered_while_it_loads_and_it_can_be_stopped_then() {
    let fixture = Fixture::new();
    let hung = Hung::new(&fixture);
    let admin = free_address();
    let program = Program::start(&fixture, &["--admin-bind", &admin], Stdio::null());
    let _pipe = hung.wait();
    let admin = admin.parse().unwrap();
    assert_eq!(get(admin, "/healthz"), (200, r#"{"status":"ok"}"#.into()));
    assert_eq!(get(admin, "/readyz"), (503, r#"{"status":"loading"}"#.into()));
    assert_eq!(get(admin, "/metrics").0, 200);
    assert_eq!(get(admin, "/v1/info").0, 404, "there is nothing else");
    program.signal("TERM");
    let (status, took) = program.wait();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
}

#[test]
fn readiness_turns_before_the_listener_closes_and_a_second_signal_ends_it_at_once() {
    let fixture = Fixture::new();
    let admin = free_address();
    let arguments = ["--admin-bind", &admin, "--drain-delay", "600"];
    let mut program = Program::start(&fixture, &arguments, Stdio::null());
    let (address, admin) = (program.address(), admin.parse().unwrap());
    for listener in [address, admin] {
        let (status, body) = get(listener, "/readyz");
        assert!(status == 200 && body.contains("ready"), "{status} {body}");
    }
    program.signal("TERM");
    let started = Instant::now();
    while get(address, "/readyz").0 == 200 {
        assert!(started.elapsed() < LONG, "it stays ready");
    }
    for listener in [address, admin] {
        assert_eq!(get(listener, "/readyz"), (503, r#"{"status":"stopping"}"#.into()));
    }
    assert_eq!(get(address, "/v1/items/1").0, 200, "requests are still answered");
    // The bug: this figure was set by each request that began, and never lowered. The requests of this listener do not count.
    let figures = get(admin, "/metrics").1;
    assert!(figures.contains("\ndhih_requests_in_flight 0\n"), "{figures}");
    program.signal("INT");
    let (status, took) = program.wait();
    assert!(status.success() && took < LONG, "{status} after {took:?}");
}

/// Supervisors are notified of each phase.
#[test]
fn a_supervisor_is_told_when_it_is_ready_reloads_and_stops() {
    use std::os::unix::net::UnixDatagram;
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = program();
    command.env("NOTIFY_SOCKET", &path);
    let program = Program::start_as(command, &fixture, &[], Stdio::null());
    assert_eq!(told().trim_end(), "READY=1");
    program.signal("HUP");
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told().trim_end(), "READY=1");
    program.signal("TERM");
    assert_eq!(told().trim_end(), "STOPPING=1");
    assert!(program.wait().0.success());
}
