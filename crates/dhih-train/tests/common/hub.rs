//! A hub on a free port of this machine, with files that do not change, until the process ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (files, taken) = (Arc::new(Mutex::new(files)), Arc::<Mutex<Vec<String>>>::default());
        let hub = Self { endpoint, files: Arc::clone(&files), taken: Arc::clone(&taken) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, taken) = (Arc::clone(&files), Arc::clone(&taken));
                thread::spawn(move || answer(stream, &files, &taken));
            }
        });
        hub
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

fn answer(mut stream: TcpStream, files: &Mutex<Files>, taken: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let _headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = files.lock().unwrap().get(&path).cloned();
    let (status, body) = body.map_or((404, Vec::new()), |body| (200, body));
    let head = format!(
        "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nETag: \"e\"\r\nX-Repo-Commit: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        "0".repeat(40)
    );
    // Whoever goes away early is the one under test.
    let _ = stream.write_all(head.as_bytes());
    if request.starts_with("GET ") && status == 200 {
        taken.lock().unwrap().push(path);
        let _ = stream.write_all(&body);
    }
}
