//! SIGKILL at random moments of a process that writes, while others read: after each kill exactly the acknowledged changes are there, or
//! these and the one that was under way.
//!
//! The writer is this test's own program, started again with an environment variable. What it does follows from a seed, so that the
//! parent knows the index after each change.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::Numbers;
use dhih_index::{Batch, CodeSet, Codes, Error, Index, IndexBuilder, IndexWriter};

/// Where the writer's index is, and which change comes next.
const WRITER: &str = "DHIH_TEST_KILLED_WRITER";
/// Kills, unless the environment says otherwise.
const KILLS: usize = 250;

type Items = BTreeMap<u64, [u8; 2]>;

/// Change number `number` of the life: what it does, and how.
fn change(number: u64, items: &mut Items) -> Option<Batch> {
    let mut numbers = Numbers(number);
    let set = |items: &Items| CodeSet {
        ids: Some(items.keys().copied().collect()),
        ..CodeSet::new(Codes::new(16, items.values().flatten().copied().collect()).unwrap())
    };
    // Every so often the writer merges instead.
    if number % 7 == 3 {
        return None;
    }
    let upserted: Items = (0..numbers.below(30))
        .map(|_| (numbers.below(400) as u64, (numbers.next() as u16).to_le_bytes()))
        .collect();
    let removed: Vec<u64> = (0..numbers.below(20)).map(|_| numbers.below(400) as u64).collect();
    items.retain(|id, _| !removed.contains(id));
    items.extend(upserted.clone());
    Some(Batch::new().remove(removed).upsert(set(&upserted)))
}

fn items_after(changes: u64) -> Items {
    let mut items = Items::from([(1000, [1, 2])]);
    (0..changes).for_each(|number| drop(change(number, &mut items)));
    items
}

/// The writer: makes one change after the other and says so, until it is killed.
fn write(dir: &Path, first: u64) {
    let mut writer = IndexWriter::open(dir).unwrap();
    let mut items = Items::new();
    for number in first.. {
        match change(number, &mut items) {
            Some(batch) => drop(writer.apply(&batch).unwrap()),
            None if number.is_multiple_of(2) => writer.flush().unwrap(),
            None => writer.compact().unwrap(),
        }
        println!("{}", number + 1);
        std::io::stdout().flush().unwrap();
    }
}

fn held(index: &Index) -> Items {
    index.iter().map(Result::unwrap).map(|(id, code)| (id, code.try_into().unwrap())).collect()
}

/// Opens and searches until it is told to stop; the number of times.
fn read(dir: &Path, stop: &AtomicBool, rounds: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let index = Index::open(dir).unwrap();
        index.knn(&[1, 2], 5).unwrap();
        index.verify().unwrap();
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_acknowledged_change_survives_a_kill() {
    if let Some(value) = std::env::var_os(WRITER) {
        let value = value.into_string().unwrap();
        let (number, dir) = value.split_once(' ').unwrap();
        return write(Path::new(dir), number.parse().unwrap());
    }
    let kills = std::env::var("DHIH_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let memory = Path::new("/dev/shm");
    let root = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let dir: PathBuf = root.path().join("index");
    let first =
        CodeSet { ids: Some(vec![1000]), ..CodeSet::new(Codes::new(16, vec![1, 2]).unwrap()) };
    IndexBuilder::default().build(&first, &dir).unwrap();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut changes, mut in_flight) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| read(&dir, &stop, &rounds));
        let _stop = StopOnDrop(&stop);
        let mut numbers = Numbers(7);
        for kill in 0..kills {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "every_acknowledged_change_survives_a_kill", "--nocapture"])
                .env(WRITER, format!("{changes} {}", dir.display()))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            thread::sleep(Duration::from_micros(numbers.below(30_000) as u64));
            child.kill().unwrap();
            child.wait().unwrap();
            let acknowledged = out
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| line.parse::<u64>().ok())
                .last();
            changes = acknowledged.unwrap_or(changes);
            let index = open(&dir);
            index.verify().unwrap();
            let now = held(&index);
            if now != items_after(changes) {
                assert_eq!(now, items_after(changes + 1), "kill {kill} after change {changes}");
                changes += 1;
                in_flight += 1;
            }
        }
    });
    let rounds = rounds.into_inner();
    println!(
        "{changes} changes, {in_flight} durable and not yet acknowledged, {rounds} rounds of a reader"
    );
    assert!(changes as usize > kills / 4 && rounds > 10);
}

/// What the next writer finds.
fn open(dir: &Path) -> Index {
    loop {
        match IndexWriter::open(dir) {
            Ok(writer) => return writer.snapshot(),
            // The system releases a killed process's lock a moment later.
            Err(Error::Locked { .. }) => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
