//! What the tests of the `xtask` binary share: running it, a tiny dataset with its manifest, and a server that
//! answers as the hub does, or as badly as asked.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) const REVISION: &str = "0123456789012345678901234567890123456789";
pub(crate) const ABC_SHA256: &str =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
pub(crate) const XYZ_SHA256: &str =
    "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282";

/// A temporary data directory with a manifest of two sets: `tiny` from the hub, `web` from an address.
pub(crate) struct Sandbox {
    pub(crate) root: tempfile::TempDir,
    endpoint: String,
}

impl Sandbox {
    pub(crate) fn new(endpoint: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let set = |name: &str, source: &str| {
            format!(
                "[[dataset]]\nname = \"{name}\"\ntitle = \"T\"\nlicence = \"MIT\"\nhomepage = \"h\"\ndescription = \"d\"\n\
                 source = {{ {source}, revision = \"{REVISION}\" }}\n\
                 files = [{{ path = \"sub/a.bin\", size = 3, sha256 = \"{ABC_SHA256}\" }}]\n"
            )
        };
        let hub = set("tiny", "kind = \"hub\", repo = \"owner/tiny\"");
        let url = set("web", &format!("kind = \"url\", base = \"{endpoint}/{{revision}}/\""));
        fs::write(root.path().join("manifest.toml"), hub + &url).unwrap();
        Self { root, endpoint: endpoint.to_owned() }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A local copy of the file under `directory`.
    pub(crate) fn local(&self, directory: &str, path: &str, bytes: &[u8]) -> PathBuf {
        write(&self.path(directory).join(path), bytes);
        self.path(directory)
    }

    /// `cargo xtask fetch-data` on this sandbox.
    pub(crate) fn fetch(&self) -> Command {
        let mut command = xtask("fetch-data");
        command.arg("--manifest").arg(self.path("manifest.toml"));
        command.arg("--data-dir").arg(self.path("data"));
        command.arg("--downloader").arg(env!("CARGO_BIN_EXE_xtask-download"));
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.path("hf-home"));
        command
    }

    pub(crate) fn data(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.path("data").join(path)).ok()
    }

    pub(crate) fn provenance(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.data(&format!("{name}/provenance.json")).unwrap()).unwrap()
    }

    /// Nothing but the lock lies in the set's directory.
    pub(crate) fn is_untouched(&self, name: &str) -> bool {
        let entries = fs::read_dir(self.path("data").join(name)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name() != ".lock").count() == 0
    }
}

/// `cargo xtask COMMAND` without what this machine's environment would add.
pub(crate) fn xtask(command: &str) -> Command {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let foreign = |name: &str| {
        name.starts_with("DHIH_")
            || name.starts_with("HF_")
            || name.to_lowercase().ends_with("_proxy")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| foreign(name)) {
        xtask.env_remove(name);
    }
    xtask.arg(command);
    xtask
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it; it must succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}\n{}", stdout(&output), stderr(&output));
    output
}

/// Runs it; it must exit with `code`. Gives stderr.
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}\n{}",
        stdout(&output),
        stderr(&output)
    );
    stderr(&output)
}

/// How the server answers a GET.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// The body, complete.
    Body(&'static [u8]),
    /// A status without the file.
    Status(u16),
    /// Fewer bytes than announced, then the connection closes.
    Truncated,
    /// Fewer bytes than announced, then silence.
    Stalled,
    /// Wrong bytes for the first GET, the right ones afterwards.
    WrongOnce,
}

/// A server on a free port of this machine, until the process ends.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    gets: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let gets = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&gets);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || serve(stream, answer, &counter));
            }
        });
        Self { endpoint, gets }
    }

    /// GET requests so far.
    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// An address where nothing listens.
    pub(crate) fn refused() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }
}

/// Answers one request: the two addresses of the file, else 404.
fn serve(mut stream: TcpStream, answer: Answer, gets: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let _headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let hub = format!("/datasets/owner/tiny/resolve/{REVISION}/sub/a.bin");
    let web = format!("/{REVISION}/sub/a.bin");
    let path = request.split(' ').nth(1).unwrap_or_default();
    let get = request.starts_with("GET ");
    let (status, announced, body): (u16, usize, &[u8]) = match answer {
        _ if path != hub && path != web => (404, 0, b""),
        Answer::Status(status) => (status, 4, b"oops"),
        Answer::Body(body) => (200, body.len(), body),
        Answer::Truncated | Answer::Stalled => (200, 3, b"a"),
        Answer::WrongOnce if get && gets.load(Ordering::SeqCst) == 0 => (200, 3, b"xyz"),
        Answer::WrongOnce => (200, 3, b"abc"),
    };
    let head = format!(
        "HTTP/1.1 {status} -\r\nContent-Length: {announced}\r\nETag: \"e\"\r\nX-Repo-Commit: {REVISION}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    if !get {
        return;
    }
    gets.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(body);
    if matches!(answer, Answer::Stalled) {
        thread::sleep(Duration::from_secs(600));
    }
}
