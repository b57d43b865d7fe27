//! An index in long use: a shared writer, readers, checkpoints and verification at the same time, compared with a model in memory. It runs
//! for some seconds; `DHIH_SOAK_SECONDS=600` makes it ten minutes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::Numbers;
use dhih_index::{
    Batch, CheckpointOptions, CodeSet, Codes, Flat, Index, IndexBuilder, SharedWriter,
};

const SECONDS: u64 = 6;
const WRITERS: u64 = 3;
/// Ids of a writer; those of different writers differ.
const IDS: usize = 40_000;

type Items = BTreeMap<u64, [u8; 4]>;

fn set(items: &Items) -> CodeSet {
    CodeSet {
        ids: Some(items.keys().copied().collect()),
        ..CodeSet::new(Codes::new(32, items.values().flatten().copied().collect()).unwrap())
    }
}

/// Random changes of the items of one writer, each in the index and then in its model.
fn write(number: u64, writer: &SharedWriter, model: &Mutex<Items>, stop: &AtomicBool) -> usize {
    let (mut numbers, mut changes) = (Numbers(number), 0);
    let start = number * IDS as u64;
    while !stop.load(Ordering::Relaxed) {
        // Mostly small changes, now and then one that fills the memtable, or removes most of what there is.
        let count = [3, 3, 3, 40, 40, 9000, IDS][numbers.below(7)];
        let remove_many = numbers.below(40) == 0;
        let upserted: Items = (0..numbers.below(count))
            .map(|_| (start + numbers.below(IDS) as u64, (numbers.next() as u32).to_le_bytes()))
            .collect();
        let mut model = model.lock().unwrap();
        let mut removed: Vec<u64> = match remove_many {
            true => model.keys().copied().filter(|id| id % 8 != 0).collect(),
            false => (0..numbers.below(count)).map(|_| start + numbers.below(IDS) as u64).collect(),
        };
        removed.sort_unstable();
        let batch = Batch::new().remove(removed.iter().copied()).upsert(set(&upserted));
        writer.apply(batch).unwrap();
        model.retain(|id, _| removed.binary_search(id).is_err());
        model.extend(upserted);
        changes += 1;
    }
    changes
}

/// Searches must be those of a scan of the same snapshot.
fn search(index: &Index, numbers: &mut Numbers) {
    let set = index.to_code_set().unwrap();
    let flat = Flat::of(&set).unwrap();
    for _ in 0..20 {
        let query = (numbers.next() as u32).to_le_bytes();
        assert_eq!(index.knn(&query, 7).unwrap(), flat.knn(&query, 7).unwrap());
        assert_eq!(index.within(&query, 5).unwrap(), flat.within(&query, 5).unwrap());
    }
}

#[test]
fn an_index_in_long_use_is_what_its_writers_made_of_it() {
    let seconds = std::env::var("DHIH_SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("index");
    let first = Items::from([(u64::MAX, [0; 4])]);
    IndexBuilder::default().build(&set(&first), &dir).unwrap();
    let writer = SharedWriter::open(&dir).unwrap();
    let models: Vec<Mutex<Items>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    let (stop, reads, checkpoints) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let changes: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (writer, model, stop) = (&writer, &models[number as usize], &stop);
                scope.spawn(move || write(number, writer, model, stop))
            })
            .collect();
        scope.spawn(|| {
            let mut numbers = Numbers(90);
            let mut follower = Index::open(&dir).unwrap();
            while !stop.load(Ordering::Relaxed) {
                follower = follower.refresh().unwrap().unwrap_or(follower);
                search(&follower, &mut numbers);
                follower.verify().unwrap();
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = checkpoints.fetch_add(1, Ordering::Relaxed);
                let to = root.path().join(format!("checkpoint-{number}"));
                let snapshot = writer.snapshot();
                let options = CheckpointOptions::default().with_copy(number % 2 == 1);
                snapshot.checkpoint(&to, options).unwrap();
                let copy = Index::open(&to).unwrap();
                copy.verify().unwrap();
                assert!(copy.iter().map(Result::unwrap).eq(snapshot.iter().map(Result::unwrap)));
                drop(copy);
                std::fs::remove_dir_all(&to).unwrap();
                thread::sleep(Duration::from_millis(100));
            }
        });
        let (start, mut compared) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(500));
            let held: Vec<_> = models.iter().map(|model| model.lock().unwrap()).collect();
            let snapshot = writer.snapshot();
            let expected = held.iter().flat_map(|model| model.iter()).chain(&first);
            let expected: BTreeMap<u64, Vec<u8>> =
                expected.map(|(id, code)| (*id, code.to_vec())).collect();
            assert!(snapshot.iter().map(Result::unwrap).eq(expected));
            compared += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(compared > 0);
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    writer.with(|writer| writer.maintain()).unwrap();
    let (reads, checkpoints) = (reads.into_inner(), checkpoints.into_inner());
    println!("{changes} changes, {reads} rounds of a reader, {checkpoints} checkpoints");
    assert!(changes > 10 && reads > 0 && checkpoints > 0);
    let index = Index::open(&dir).unwrap();
    index.verify().unwrap();
    assert!(index.iter().map(Result::unwrap).eq(writer.snapshot().iter().map(Result::unwrap)));
}
