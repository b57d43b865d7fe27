//! A service that follows all collections of another.

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
