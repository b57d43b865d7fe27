//! A server of HTTP on a free port of this machine until the process ends, which answers as a test says; and a hub of files that do
//! not change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a server is asked.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The address without the host.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What it answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The announced length of the body.
    pub(crate) length: usize,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, length: body.len(), body }
    }
}

/// Starts a server and gives its address. Where `answer` gives nothing, the connection is closed without a word.
pub(crate) fn serve(answer: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                // Whoever goes away early is the one under test.
                if let Some(request) = read(&stream)
                    && let Some(answer) = answer(&request)
                {
                    write(&stream, &request, &answer);
                }
            });
        }
    });
    endpoint
}

/// An address where nobody listens.
pub(crate) fn dead() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers = lines.take_while(|line| !line.is_empty());
    let headers: BTreeMap<_, _> = headers
        .filter_map(|line| {
            line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn write(mut stream: &TcpStream, request: &Request, answer: &Answer) {
    let head = format!(
        "HTTP/1.1 {} -\r\nContent-Length: {}\r\nETag: \"e\"\r\nX-Repo-Commit: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.length,
        "0".repeat(40)
    );
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let _ = stream.write_all(&answer.body);
    }
}

/// Files by their address without the host, such as `/owner/name/resolve/main/model.safetensors`.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A hub that was started.
pub(crate) struct Hub {
    endpoint: String,
    files: Arc<Mutex<Files>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    pub(crate) fn start(files: Files) -> Self {
        let (files, taken) = (Arc::new(Mutex::new(files)), Arc::<Mutex<Vec<String>>>::default());
        let (served, log) = (Arc::clone(&files), Arc::clone(&taken));
        let endpoint = serve(move |request| {
            let Some(body) = served.lock().unwrap().get(&request.path).cloned() else {
                return Some(Answer::new(404, ""));
            };
            if request.method == "GET" {
                log.lock().unwrap().push(request.path.clone());
            }
            Some(Answer::new(200, body))
        });
        Self { endpoint, files, taken }
    }

    /// Takes a file away.
    pub(crate) fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path).expect("it was there");
    }

    /// The addresses of the files that were taken since the last call.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.taken.lock().unwrap())
    }

    /// Runs the program in a folder, with this hub and without the environment's settings.
    pub(crate) fn dhih_train(&self, dir: &Path, args: &[&str]) -> Output {
        dhih_train(&self.endpoint, dir, args)
    }
}

/// Runs the program in a folder, with a hub at an address and without the environment's settings.
pub(crate) fn dhih_train(endpoint: &str, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-train"));
    let foreign = |name: &str| {
        name.starts_with("DHIH_")
            || name.starts_with("HF_")
            || name.to_lowercase().ends_with("_proxy")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| foreign(name)) {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", dir.join("hf-home"));
    command.current_dir(dir).args(args).output().unwrap()
}
