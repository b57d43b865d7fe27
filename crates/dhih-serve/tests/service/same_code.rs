//! Items that are replaced by others of the same code, on a disk that is full or fails. The bug: the codes alone told whether a change had
//! been made. Such a change was therefore answered as made although the disk had refused it, and the index kept the former label for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use dhih_index::{CodeSet, Codes, IndexBuilder, Labels, to_hex};
use dhih_serve::check_index;
use serde_json::{Value, json as value};

use crate::acknowledged::{Running, ask, start};
use crate::common::program;
use crate::failing_sync;
use crate::full_disk::SmallDisk;

const CLASSES: [&str; 3] = ["a", "b", "c"];
const ITEMS: u64 = 50;

fn build(dir: &Path) {
    let codes = (0..ITEMS).flat_map(code).collect();
    let set = CodeSet {
        labels: Some(Labels::Single(vec![0; ITEMS as usize])),
        classes: CLASSES.map(String::from).to_vec(),
        ..CodeSet::new(Codes::new(64, codes).unwrap())
    };
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn code(id: u64) -> [u8; 8] {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// A service over an index, and what its answers said of the items.
struct Client {
    address: String,
    /// Whether items get metadata, which only a catalogue can have.
    has_metadata: bool,
    /// The versions that each item may have. Its label and its metadata follow from its version.
    versions: Vec<Vec<u64>>,
}

impl Client {
    fn new(address: String, has_metadata: bool) -> Self {
        Self { address, has_metadata, versions: vec![vec![0]; ITEMS as usize] }
    }

    /// Replaces an item by one of the same code. Returns the status of the answer.
    fn replace(&mut self, id: u64, version: u64) -> u16 {
        let label = CLASSES[version as usize % CLASSES.len()];
        let mut item = value!({"id": id, "code": to_hex(&code(id)), "label": label});
        if self.has_metadata {
            item["metadata"] = value!({"version": version, "filling": "x".repeat(12_000)});
        }
        let head = "POST /v1/items?upsert=true HTTP/1.1\r\ncontent-type: application/json";
        let (status, text) = ask(&self.address, head, item.to_string().as_bytes()).unwrap();
        let versions = &mut self.versions[id as usize];
        match status {
            201 => *versions = vec![version],
            _ if text.contains("outcome_unknown") => versions.push(version),
            500 | 503 | 507 => {}
            _ => panic!("item {id}: {status} {text}"),
        }
        status
    }

    /// Replaces an item until that succeeds, after which no outcome is open.
    fn goes_on(&mut self, id: u64, version: u64) {
        let started = Instant::now();
        while self.replace(id, version) != 201 {
            assert!(started.elapsed() < Duration::from_secs(20), "replacing does not go on");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every item is as an answer said, with the label and the metadata of one version.
    fn check(&self) {
        for (id, versions) in self.versions.iter().enumerate() {
            let (_, text) =
                ask(&self.address, &format!("GET /v1/items/{id} HTTP/1.1"), b"").unwrap();
            let item: Value = serde_json::from_str(&text).unwrap();
            let is_of = |version: &u64| {
                let label = CLASSES[*version as usize % CLASSES.len()];
                let metadata = item["metadata"]["version"].as_u64().unwrap_or(0);
                item["label"] == label && (!self.has_metadata || metadata == *version)
            };
            let found = (&item["label"], &item["metadata"]["version"]);
            assert!(versions.iter().any(is_of), "item {id}: {versions:?}, but {found:?}");
        }
    }
}

fn serve(dir: &Path) -> (Running, String) {
    start(program().arg("--index").arg(dir).args(["--log-level", "off"]))
}

/// Checks the items while they are served, and again after a kill and a restart.
fn check_now_and_later(dir: &Path, client: &mut Client, service: Running) {
    client.check();
    drop(service);
    let checked = check_index(dir).unwrap();
    assert!(checked.agree() && checked.differing.is_empty(), "{checked:?}");
    let (_service, address) = serve(dir);
    client.address = address;
    client.check();
}

#[test]
fn a_full_disk_refuses_what_it_does_not_store() {
    for has_metadata in [true, false] {
        let Some(disk) = SmallDisk::mount(8) else {
            eprintln!("not tested: a disk in memory cannot be mounted here");
            return;
        };
        let dir = disk.path().join("index");
        build(&dir);
        let (service, address) = serve(&dir);
        let mut client = Client::new(address, has_metadata);
        client.goes_on(0, 1);
        let fill = disk.fill();
        let mut refused = 0;
        for version in 2..2000 {
            refused += usize::from(client.replace(version % ITEMS, version) != 201);
            if refused > 20 {
                break;
            }
        }
        assert!(refused > 20, "the disk was never full");
        std::fs::remove_file(fill).unwrap();
        client.goes_on(0, 5000);
        check_now_and_later(&dir, &mut client, service);
    }
}

#[test]
fn a_disk_that_fails_to_sync_is_not_answered_as_one_that_has() {
    let dir = tempfile::tempdir().unwrap();
    let Some((library, control)) = failing_sync::library(dir.path()) else {
        eprintln!("not tested: there is no C compiler");
        return;
    };
    for has_metadata in [true, false] {
        let index = dir.path().join(format!("index-{has_metadata}"));
        build(&index);
        let mut command = program();
        command.arg("--index").arg(&index).args(["--log-level", "off"]);
        command.env("LD_PRELOAD", &library).env("DHIH_FAIL_SYNC", &control);
        let (service, address) = start(&mut command);
        let mut client = Client::new(address, has_metadata);
        let mut version = 1;
        client.goes_on(0, version);
        for failing in ["/log-", "catalogue.redb", "/"] {
            std::fs::write(&control, failing).unwrap();
            for id in 1..4 {
                version += 1;
                let status = client.replace(id, version);
                // Only a catalogue could have it, where the log of the index has not confirmed it.
                let is_confirmed = has_metadata || failing == "catalogue.redb";
                assert!(is_confirmed || status != 201, "{failing}: item {id}");
            }
            std::fs::remove_file(&control).unwrap();
            version += 1;
            client.goes_on(4, version);
            client.check();
        }
        check_now_and_later(&index, &mut client, service);
    }
}
