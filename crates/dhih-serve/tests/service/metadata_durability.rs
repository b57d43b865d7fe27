//! The program is killed at random moments while batches of items with metadata are added and deleted. Acknowledged changes are there, each
//! change is there completely or not at all, and filters, external ids and items agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dhih_index::{CodeSet, Codes, IndexBuilder, to_hex};
use dhih_serve::Access;
use serde_json::json as value;

use crate::acknowledged::{Known, ask, start};
use crate::common::{get, program, send};
use crate::metadata::{filtered, open};
use crate::reloading::times;

/// The number of kills; `DHIH_TEST_KILLS` overrides it.
const KILLS: usize = 30;
/// The number of items in a batch.
const BATCH: u64 = 20;
const FIRST: u64 = 10;

fn build(dir: &Path) {
    let set = CodeSet::new(Codes::new(64, vec![0; 8 * FIRST as usize]).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn metadata(batch: u64, id: u64) -> serde_json::Value {
    value!({"batch": batch, "name": format!("n{id}")})
}

/// Adds a batch. `None` if the connection was lost.
fn add(address: &str, batch: u64) -> Option<u16> {
    let line = |id: u64| {
        let code = to_hex(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        value!({"code": code, "id": id, "external_id": format!("x{id}"), "metadata": metadata(batch, id)}).to_string()
    };
    let lines: Vec<String> = (batch * 100..batch * 100 + BATCH).map(line).collect();
    let head = "POST /v1/items/batch HTTP/1.1\r\ncontent-type: application/x-ndjson";
    let (status, body) = ask(address, head, lines.join("\n").as_bytes())?;
    assert!(status != 200 || body.contains("\"failures\":0"), "{body}");
    Some(status)
}

fn of_batch(batch: u64) -> serde_json::Value {
    value!({"must": [{"field": "batch", "equals": batch}]})
}

fn delete(address: &str, batch: u64) -> Option<u16> {
    let path = filtered("/v1/items", &of_batch(batch));
    let (status, body) = ask(address, &format!("DELETE {path} HTTP/1.1"), b"")?;
    assert!(status != 200 || body == format!("{{\"deleted\":{BATCH}}}"), "{body}");
    Some(status)
}

/// Changes the metadata of the first item of a batch.
fn rename(address: &str, batch: u64) -> Option<u16> {
    let head = format!(
        "PUT /v1/items/{}/metadata HTTP/1.1\r\ncontent-type: application/json",
        batch * 100
    );
    let body = value!({"batch": batch, "name": "other"}).to_string();
    ask(address, &head, body.as_bytes()).map(|(status, _)| status)
}

/// Compares the items with the known state of each batch, and the name of its first item.
async fn holds(dir: &Path, known: &BTreeMap<u64, Known>, renamed: &BTreeMap<u64, Known>) {
    let app = open(dir, Access::Writable);
    let mut there = 0;
    for (&batch, known) in known {
        let path = filtered("/v1/items", &of_batch(batch));
        let items = send(&app, get(&path)).await.ok()["items"].as_array().unwrap().clone();
        assert!([0, BATCH as usize].contains(&items.len()), "a part of batch {batch} is there");
        let is_there = !items.is_empty();
        match known {
            Known::There => assert!(is_there, "batch {batch} is lost"),
            Known::Gone => assert!(!is_there, "batch {batch} is back"),
            Known::Either => {}
        }
        for (at, item) in items.iter().enumerate() {
            let id = batch * 100 + at as u64;
            assert_eq!((&item["id"], &item["external_id"]), (&id.into(), &format!("x{id}").into()));
            let is_renamed = item["metadata"]["name"] == "other";
            match renamed.get(&batch).filter(|_| at == 0) {
                Some(Known::There) => assert!(is_renamed, "the name of item {id} is lost"),
                Some(Known::Either) => {}
                _ => assert_eq!(item["metadata"], metadata(batch, id)),
            }
        }
        let external =
            send(&app, get(&format!("/v1/items?external_id=x{}", batch * 100))).await.ok();
        assert_eq!(external["items"].as_array().unwrap().len(), usize::from(is_there));
        there += items.len() as u64;
    }
    let count = send(&app, get("/v1/items/count")).await.ok()["count"].as_u64().unwrap();
    assert_eq!(count, FIRST + there, "nothing else is there");
}

#[tokio::test]
async fn kills_lose_no_metadata_and_leave_no_part_of_a_change() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    crate::metadata::declare_as(
        &open(dir.path(), Access::Writable),
        &value!({"batch": "number", "name": "keyword"}),
    )
    .await;
    let (mut known, mut renamed) = (BTreeMap::new(), BTreeMap::new());
    let mut next = 1;
    let rounds = times("DHIH_TEST_KILLS", KILLS);
    for round in 0..rounds as u64 {
        let mut command = program();
        command.arg("--index").arg(dir.path()).args(["--log-level", "error"]);
        let (mut child, address) = start(&mut command);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                // Records the outcome. Returns whether the connection still works.
                let note =
                    |states: &mut BTreeMap<u64, Known>, batch, status: Option<u16>, wanted| {
                        assert!([None, Some(200)].contains(&status), "batch {batch}: {status:?}");
                        states.insert(batch, if status.is_some() { wanted } else { Known::Either });
                        status.is_some()
                    };
                loop {
                    let batch = next;
                    next += 1;
                    if !note(&mut known, batch, add(&address, batch), Known::There)
                        || !note(&mut renamed, batch, rename(&address, batch), Known::There)
                        || (batch.is_multiple_of(3)
                            && !note(&mut known, batch, delete(&address, batch), Known::Gone))
                    {
                        break;
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(20_000 + round * 7919 % 40_000));
            child.kill().unwrap();
            work.join().unwrap();
        });
        child.wait().unwrap();
        holds(dir.path(), &known, &renamed).await;
    }
    assert!(known.len() > rounds, "{} batches were answered for", known.len());
    let unknown = known.values().chain(renamed.values()).filter(|known| **known == Known::Either);
    assert!(unknown.count() > 0, "no kill met a request");
}
