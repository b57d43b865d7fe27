//! The program over an index without a model is killed at random moments while codes are added and deleted, and runs on a full disk.
//! Acknowledged changes are there, and the index is undamaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, to_hex};

use crate::acknowledged::{Known, ask, goes_on, start};
use crate::common::program;
#[cfg(unix)]
use crate::full_disk::SmallDisk;
use crate::reloading::times;

/// The number of kills; `DHIH_TEST_KILLS` overrides it.
const KILLS: usize = 40;
const FIRST: u64 = 10;

fn build(dir: &Path) {
    let set = CodeSet::new(Codes::new(64, vec![0; 8 * FIRST as usize]).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

/// The code of an item.
fn code(id: u64) -> String {
    to_hex(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
}

fn add(address: &str, id: u64) -> Option<(u16, String)> {
    let body = format!("{{\"code\":\"{}\",\"id\":{id}}}", code(id));
    ask(address, "POST /v1/items HTTP/1.1\r\ncontent-type: application/json", body.as_bytes())
}

fn delete(address: &str, id: u64) -> Option<(u16, String)> {
    ask(address, &format!("DELETE /v1/items/{id} HTTP/1.1"), b"")
}

/// Compares the index with the known states of its items.
fn holds(dir: &Path, known: &BTreeMap<u64, Known>) {
    let index = Index::open(dir).unwrap();
    index.verify().unwrap();
    let mut there = 0;
    for (&id, known) in known {
        let found = index.code(id).map(to_hex);
        assert!(found.is_none() || found == Some(code(id)), "item {id} has another code");
        match known {
            Known::There => assert!(found.is_some(), "item {id} is lost"),
            Known::Gone => assert!(found.is_none(), "item {id} is back"),
            Known::Either => {}
        }
        there += u64::from(found.is_some());
    }
    assert_eq!(index.len() as u64, FIRST + there, "nothing else is there");
}

#[test]
fn kills_lose_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let mut known = BTreeMap::new();
    let mut next_id = 100;
    let rounds = times("DHIH_TEST_KILLS", KILLS);
    for round in 0..rounds as u64 {
        let mut command = program();
        command.arg("--index").arg(dir.path()).args(["--log-level", "error"]);
        let (mut child, address) = start(&mut command);
        let outcomes = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let mut outcomes = Vec::new();
                for id in next_id.. {
                    let added = add(&address, id).map(|(status, _)| status);
                    outcomes.push((id, added, Known::There));
                    if added.is_some() && id % 3 == 0 {
                        let deleted = delete(&address, id).map(|(status, _)| status);
                        outcomes.push((id, deleted, Known::Gone));
                    }
                    if outcomes.last().is_some_and(|(_, status, _)| status.is_none()) {
                        break;
                    }
                }
                outcomes
            });
            std::thread::sleep(Duration::from_micros(20_000 + round * 7919 % 30_000));
            child.kill().unwrap();
            work.join().unwrap()
        });
        child.wait().unwrap();
        for (id, status, wanted) in outcomes {
            next_id = next_id.max(id + 1);
            match status {
                Some(201 | 204) => drop(known.insert(id, wanted)),
                Some(other) => panic!("item {id}: {other}"),
                None => drop(known.insert(id, Known::Either)),
            }
        }
        holds(dir.path(), &known);
    }
    assert!(known.len() > 2 * rounds, "{} items were answered for", known.len());
    assert!(known.values().any(|known| *known == Known::Either), "no kill met a request");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_adding_goes_on_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(8) else {
        eprintln!("not tested: a disk in memory cannot be mounted here");
        return;
    };
    let dir = disk.path().join("index");
    build(&dir);
    let mut command = program();
    command.arg("--index").arg(&dir).args(["--log-level", "off"]);
    let (mut child, address) = start(&mut command);
    let mut known = BTreeMap::new();
    let fill = disk.fill();
    let mut refused = 0;
    for id in 100..1000 {
        let (status, text) = add(&address, id).unwrap();
        match status {
            201 => drop(known.insert(id, Known::There)),
            _ if text.contains("outcome_unknown") => drop(known.insert(id, Known::Either)),
            503 | 507 => {
                refused += 1;
                known.insert(id, Known::Gone);
            }
            _ => panic!("item {id}: {status} {text}"),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5, "the disk was never full");
    std::fs::remove_file(fill).unwrap();
    goes_on(|| add(&address, 5000).expect("the service is gone"));
    known.insert(5000, Known::There);
    child.kill().unwrap();
    child.wait().unwrap();
    holds(&dir, &known);
}
