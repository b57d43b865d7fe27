//! A service that follows all collections of another.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use crate::acknowledged::{Running, ask, start};
use crate::common::program;
use crate::followers::{get, until};
use crate::following::JOURNAL;

fn serve(dir: &Path, flags: &[&str]) -> (Running, String) {
    let mut command = program();
    command.arg("--collections").arg(dir).args(["--log-level", "error"]).args(flags);
    start(&mut command)
}

fn make(address: &str, name: &str, bits: u32) {
    let head = format!("PUT /v1/collections/{name} HTTP/1.1\r\ncontent-type: application/json");
    let body = json!({ "bits": bits }).to_string();
    assert_eq!(ask(address, &head, body.as_bytes()).unwrap().0, 201, "{name}");
}

fn add(address: &str, name: &str, code: &str) -> u16 {
    let head =
        format!("POST /v1/collections/{name}/items HTTP/1.1\r\ncontent-type: application/json");
    ask(address, &head, json!({ "code": code }).to_string().as_bytes()).unwrap().0
}

/// The number of items of a collection; `None` if there is no such collection.
fn items(address: &str, name: &str) -> Option<u64> {
    let list = get(address, "/v1/collections")?;
    let all = list["collections"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name)?["items"].as_u64()
}

#[test]
fn every_collection_is_followed_and_a_new_one_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("collections"), dir.path().join("copies"));
    let (primary, address) = serve(&from, JOURNAL);
    for (name, bits) in [("default", 64), ("short", 16), ("empty", 8)] {
        make(&address, name, bits);
    }
    for code in 0..5_u64 {
        assert_eq!(add(&address, "default", &format!("{code:016x}")), 201);
        assert_eq!(add(&address, "short", &format!("{code:04x}")), 201);
    }
    let url = format!("http://{address}");
    let (copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(
        ["default", "short", "empty"].map(|name| items(&copied, name)),
        [Some(5), Some(5), Some(0)]
    );
    assert_eq!(add(&address, "short", "ffff"), 201);
    assert_eq!(add(&address, "empty", "0f"), 201);
    until("both changes arrive", || {
        (items(&copied, "short")? == 6 && items(&copied, "empty")? == 1).then_some(())
    });
    for name in ["default", "short"] {
        let info = get(&copied, &format!("/v1/collections/{name}/info")).unwrap();
        assert_eq!(info["replication"]["primary"], format!("{url}/v1/collections/{name}"));
    }
    assert_eq!(add(&copied, "short", "0001"), 403, "a copy refuses changes");
    makes_and_removes_none(&copied);

    make(&address, "later", 32);
    assert_eq!(items(&copied, "later"), None);
    drop(copy);
    let (copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(items(&copied, "later"), Some(0));
    // The copies outlive their primary, and one of them takes its place.
    drop((copy, primary));
    let (_copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(
        ["default", "short", "empty", "later"].map(|name| items(&copied, name)),
        [Some(5), Some(6), Some(1), Some(0)]
    );
    let promote = "POST /v1/collections/short/admin/promote HTTP/1.1";
    assert_eq!(ask(&copied, promote, b"").unwrap(), (200, r#"{"promoted":true}"#.into()));
    assert_eq!((add(&copied, "short", "0002"), add(&copied, "empty", "02")), (201, 403));
    makes_and_removes_none(&copied);
}

/// The service was not started with `--read-only`, as it once said.
fn makes_and_removes_none(address: &str) {
    let make = "PUT /v1/collections/own HTTP/1.1\r\ncontent-type: application/json";
    for (head, body) in
        [(make, &br#"{"bits": 8}"#[..]), ("DELETE /v1/collections/short HTTP/1.1", b"")]
    {
        let (status, text) = ask(address, head, body).unwrap();
        assert!(status == 403 && text.contains("\"follower\""), "{head}: {status} {text}");
        assert!(text.contains("--follow") && !text.contains("--read-only"), "{head}: {text}");
    }
}

/// One collection that cannot be followed kept a service from starting at all.
#[test]
fn what_cannot_be_followed_does_not_keep_the_rest_from_being_served() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("collections"), dir.path().join("copies"));
    let (primary, address) = serve(&from, JOURNAL);
    make(&address, "kept", 64);
    drop(primary);
    // Without the flag, a new collection keeps no journal.
    let (primary, address) = serve(&from, &[]);
    make(&address, "without", 64);
    let url = format!("http://{address}");
    let (copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(["kept", "without"].map(|name| items(&copied, name)), [Some(0), None]);
    assert_eq!(add(&address, "kept", "0000000000000001"), 201);
    until("the other one is followed", || (items(&copied, "kept")? == 1).then_some(()));
    // A directory without a copy, for example with a model or a part of a snapshot, does not wait for a primary that is away.
    drop((copy, primary));
    std::fs::create_dir_all(to.join("begun/.index.taking")).unwrap();
    let (_copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(
        ["kept", "without", "begun"].map(|name| items(&copied, name)),
        [Some(1), None, None]
    );
}

/// The bug: the feed of a removed collection went on, so that its followers took themselves for up to date, also after another collection
/// had got its name.
#[test]
fn a_collection_that_is_made_anew_is_followed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("collections"), dir.path().join("copies"));
    let (_primary, address) = serve(&from, JOURNAL);
    make(&address, "hashes", 64);
    assert_eq!(add(&address, "hashes", "0000000000000001"), 201);
    let url = format!("http://{address}");
    let (_copy, copied) = serve(&to, &["--follow", &url, "--max-lag", "1"]);
    let path = "/v1/collections/hashes";
    let status = || Some(get(&copied, &format!("{path}/info"))?["replication"].clone());
    until("it is followed", || (status()?["connected"] == true).then_some(()));
    let remove = format!("DELETE {path} HTTP/1.1");
    assert_eq!(ask(&address, &remove, b"").unwrap().0, 204);
    until("the loss is noticed", || (status()?["error"] == "no_collection").then_some(()));
    assert_eq!(items(&copied, "hashes"), Some(1), "what was copied is served on");
    until("its lag exceeds the bound", || (status()?["lag_seconds"].as_f64()? > 1.1).then_some(()));
    assert_eq!(get(&copied, "/readyz").unwrap()["status"], "ready", "others are as up to date");
    make(&address, "hashes", 16);
    until("the new one is followed", || {
        let is_new = get(&copied, &format!("{path}/info"))?["bits"] == 16;
        (is_new && items(&copied, "hashes")? == 0).then_some(())
    });
    assert_eq!(add(&address, "hashes", "0001"), 201);
    until("its items arrive", || (items(&copied, "hashes")? == 1).then_some(()));
}

/// A primary that lists its collections, and then breaks every connection.
fn broken_primary(collections: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let list = format!("{{\"collections\":{collections}}}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), [0; 1024]);
            let bytes = stream.read(&mut head).unwrap_or(0);
            if head[..bytes].starts_with(b"GET /v1/collections ") {
                let length = list.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{list}");
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    format!("http://{address}")
}

/// The bug: a primary that was lost before there was a copy of a new collection kept the copies of all others from being served.
#[test]
fn a_primary_that_is_lost_while_it_is_copied_does_not_keep_the_rest_from_being_served() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("collections"), dir.path().join("copies"));
    let (primary, address) = serve(&from, JOURNAL);
    make(&address, "kept", 64);
    drop(serve(&to, &["--follow", &format!("http://{address}")]));
    drop(primary);
    let url = broken_primary(r#"[{"name": "kept"}, {"name": "later"}]"#);
    let (_copy, copied) = serve(&to, &["--follow", &url]);
    assert_eq!(["kept", "later"].map(|name| items(&copied, name)), [Some(0), None]);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for flags in
        [&["--follow", "http://a/v1/collections/b"][..], &["--follow", "http://a", "--index", "i"]]
    {
        let output = program().arg("--collections").arg(dir.path()).args(flags).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let says = "follows all collections of a service";
        assert!(output.status.code() == Some(2) && message.contains(says), "{message}");
    }
}
