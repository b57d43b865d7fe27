//! Checks the answers that clients of the program got: acknowledged items exist, deleted items stay deleted, and catalogue and index agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::{Deref, DerefMut},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::Router;

use crate::common::{ITEMS, get, json, picture, png, send};

/// The state of an item, as far as the answers show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known {
    There,
    Gone,
    /// The outcome of the last request is unknown.
    Either,
}

/// A running program. It is killed at the end of the test, also if the test fails.
pub struct Running(Child);

impl Running {
    pub fn of(child: Child) -> Self {
        Self(child)
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program. Returns its address.
pub fn start(command: &mut Command) -> (Running, String) {
    command.args(["--bind", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("://").unwrap();
    let address = address.strip_suffix('/').unwrap();
    (Running(child), address.to_owned())
}

/// Status and body of an answer; `None` if the connection was lost.
pub fn ask(address: &str, head: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Adds the picture number `id` as the item `id`. `None` if the connection was lost.
pub fn add(address: &str, id: u64) -> Option<(u16, String)> {
    let mut body = Vec::new();
    body.extend(
        b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n",
    );
    body.extend(png(id as usize));
    body.extend(
        format!(
            "\r\n--edge\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n{id}\r\n--edge--\r\n"
        )
        .bytes(),
    );
    let head = "POST /v1/items HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=edge";
    ask(address, head, &body)
}

/// Compares the service with the known states of items that were added to a new run.
pub async fn holds(app: &Router, known: &BTreeMap<u64, Known>) {
    let mut there = BTreeSet::new();
    for (id, known) in known {
        let item = send(app, get(&format!("/v1/items/{id}"))).await;
        let image = send(app, get(&format!("/v1/items/{id}/image"))).await;
        assert_eq!(item.status, image.status, "item {id}");
        match known {
            Known::There => assert_eq!(item.status, 200, "item {id} is lost"),
            Known::Gone => assert_eq!(item.status, 404, "item {id} is back"),
            Known::Either => assert!([200, 404].contains(&item.status.as_u16())),
        }
        if item.status == 200 {
            there.insert(*id);
            // The thumbnail must be that of the item, and the code that of the picture.
            let decoded = image::load_from_memory(&image.body).unwrap().into_rgb8();
            assert_eq!(decoded.into_raw(), picture(*id as usize), "item {id}");
            let found = send(app, json("/v1/search?k=1000&radius=0", &format!("{{\"id\":{id}}}")));
            let found = found.await.ok();
            assert!(found["hits"].as_array().unwrap().iter().any(|hit| hit["id"] == *id));
        }
    }
    // The index must not have other items than these and those of the run.
    let items = send(app, get("/v1/info")).await.ok()["items"].as_u64().unwrap();
    assert_eq!(items as usize, ITEMS + there.len());
}

/// Repeats adding an item until it succeeds, which must be soon after a full disk has space again.
pub fn goes_on(add: impl Fn() -> (u16, String)) {
    let started = Instant::now();
    loop {
        let (status, text) = add();
        if status == 201 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "adding does not go on: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
