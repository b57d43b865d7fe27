//! Builds on disk give the bytes of builds in memory, whatever the items are like; a disk that is full and a caller who cancels leave
//! the old index and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::build::rows::SetRows;
use crate::store::disk::fault::{self, Fault};
use crate::test_numbers::Numbers;
use crate::{Codes, Index, Stage, Substring, VectorSet};

impl Numbers {
    /// Uniform codes; few different ones; codes that differ in their last or first bits alone, so that a substring has few values.
    fn codes(&mut self, bits: u32, count: usize) -> Codes {
        let width = bits.div_ceil(8) as usize;
        let kind = self.place(5);
        let centre: Vec<u8> = (0..width).map(|_| self.next() as u8).collect();
        let mut bytes = Vec::new();
        for _ in 0..count {
            let mut code = centre.clone();
            match kind {
                0 => code.fill_with(|| self.next() as u8),
                1 => code[width - 1] ^= self.place(3) as u8,
                2 => code[0] ^= self.next() as u8,
                3 => code[width / 2..].fill_with(|| self.next() as u8 & 1),
                _ => {}
            }
            code[width - 1] &= 0xff >> ((8 - bits % 8) % 8);
            bytes.extend(code);
        }
        Codes::new(bits, bytes).unwrap()
    }

    /// Ids that are the numbers of the items, ascend, or are in no order.
    fn ids(&mut self, count: usize) -> Option<Vec<u64>> {
        let kind = self.place(4);
        let gap = if kind == 1 { 1 } else { 1 << self.place(50) };
        let mut id = if kind == 1 { 0 } else { self.next() % gap };
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(id);
            id += if kind == 1 { 1 } else { 1 + self.next() % gap };
        }
        for at in (1..count).filter(|_| kind == 3) {
            ids.swap(at, self.place(at + 1));
        }
        (kind > 0).then_some(ids)
    }

    fn set(&mut self, bits: u32, count: usize) -> CodeSet {
        let labels = match self.place(3) {
            0 => None,
            1 => Some(Labels::Single((0..count).map(|_| self.place(4) as i64 - 1).collect())),
            _ => {
                let classes = 1 + self.place(9);
                let values = (0..count * classes).map(|_| self.place(2) as u8).collect();
                Some(Labels::MultiHot { classes, values })
            }
        };
        let ids = self.ids(count);
        let vectors = (self.place(3) == 0).then(|| {
            let dims = 1 + self.place(20);
            let numbers: Vec<f32> = (0..count * dims).map(|_| self.place(9) as f32).collect();
            VectorSet::from_f32(dims, &numbers).unwrap()
        });
        CodeSet { ids, labels, vectors, ..CodeSet::new(self.codes(bits, count)) }
    }
}

/// The files of a directory by name, except the lock.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    let named = named.filter(|(name, _)| name != "lock");
    named.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

fn built(set: &CodeSet, config: IndexConfig) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    IndexBuilder::new(config).build(set, dir.path()).unwrap();
    files(dir.path())
}

fn assert_same(set: &CodeSet, substrings: Option<u32>, memory: u64) {
    let number = [None, Some(VectorType::F16), Some(VectorType::Int8)][set.codes.len() % 3];
    let config = IndexConfig::default().with_substrings(substrings).with_vectors(number);
    let in_memory = built(set, config.clone());
    let on_disk = built(set, config.with_memory(memory));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    let (bits, count) = (set.codes.bits(), set.codes.len());
    assert_eq!(names(&in_memory), names(&on_disk), "{bits} bits, {count} codes, {memory} bytes");
    assert_eq!(in_memory.len(), 2);
    assert!(in_memory == on_disk, "{bits} bits, {count} codes, {memory} bytes");
}

#[test]
fn a_build_on_disk_gives_the_bytes_of_one_in_memory() {
    let numbers = &mut Numbers(1);
    for round in 0..220_u32 {
        let bits = match round {
            // Every width, and lengths that are no multiple of 8.
            0..128 => 8 * (round + 1),
            _ => 1 + numbers.place(4096) as u32,
        };
        let count = [0, 1, 2, 30, 150, 500][numbers.place(6)];
        let set = numbers.set(bits, count);
        let substrings =
            (numbers.place(3) == 0).then(|| 1 + numbers.place(bits.min(9) as usize) as u32);
        assert_same(&set, substrings, 600 + numbers.place(12_000) as u64);
    }
}

/// The planner's profile is part of the manifest. Its sample sees 1,000 neighbours, and groups of the hash table run over.
#[test]
fn many_codes_give_the_same_bytes() {
    let numbers = &mut Numbers(2);
    for (bits, count, memory) in [(64, 20_000, 100_000), (24, 30_000, 40_000), (128, 5_000, 60_000)]
    {
        for _ in 0..3 {
            let set = numbers.set(bits, count);
            assert_same(&set, None, memory);
        }
    }
}

#[test]
fn a_stream_gives_the_segment_of_its_items() {
    let numbers = &mut Numbers(3);
    let reporter = Reporter::new(None);
    for round in 0..40 {
        let (bits, count) = (1 + numbers.place(200) as u32, numbers.place(400));
        let mut set = numbers.set(bits, count);
        set.ids.iter_mut().for_each(|ids| ids.sort_unstable());
        let kept = vec![Substring::new(vec![0], bits).unwrap()];
        for substrings in [Substrings::Choose(None), Substrings::Keep(kept)] {
            let segment = |memory| {
                let spec = SegmentSpec {
                    shape: Shape::of(&set),
                    metadata: metadata(&set, Shape::of(&set)).unwrap(),
                    rows: count,
                    substrings: substrings.clone(),
                    memory,
                    origin: Origin { id: 7, generation: 9 },
                };
                let dir = tempfile::tempdir().unwrap();
                let rows = &mut SetRows::new(&set, Shape::of(&set));
                let entry = write_segment_of_stream(&spec, rows, dir.path(), &reporter).unwrap();
                (entry, files(dir.path()))
            };
            let all = segment(None);
            assert!(all == segment(Some(600 + 50 * round)), "{bits} bits, {count} codes");
            if matches!(substrings, Substrings::Choose(_)) {
                let dir = tempfile::tempdir().unwrap();
                let (builder, origin) = (IndexBuilder::default(), Origin { id: 7, generation: 9 });
                let entry = builder.write_segment(&set, origin, dir.path()).unwrap();
                assert!(all == (entry, files(dir.path())));
            }
        }
    }
}

#[test]
fn an_id_that_occurs_twice_is_named_with_both_items() {
    let dir = tempfile::tempdir().unwrap();
    let codes = Numbers(4).codes(32, 300);
    let twice = |first: usize, second: usize, ascending: bool| {
        let mut ids: Vec<u64> = (0..300).map(|item| 5 * item).collect();
        if !ascending {
            ids.reverse();
        }
        ids[second] = ids[first];
        CodeSet { ids: Some(ids), ..CodeSet::new(codes.clone()) }
    };
    for memory in [None, Some(700)] {
        let builder = IndexBuilder::new(IndexConfig::default().with_memory(memory));
        for (first, second, ascending) in [(7, 8, true), (3, 280, false), (20, 21, false)] {
            let error = builder.build(&twice(first, second, ascending), dir.path()).unwrap_err();
            let Error::DuplicateId { first: a, second: b, .. } = error else { panic!("{error}") };
            assert_eq!((a, b), (first, second));
        }
    }
    assert_eq!(files(dir.path()).len(), 0);
}

/// Work of pools stays on this thread, where [`fault`] sees its steps, as long as this is kept.
fn on_this_thread() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap()
}

/// Two sets that differ, the second of which has ids in no order, labels and several tables.
fn old_and_new() -> (CodeSet, CodeSet) {
    let numbers = &mut Numbers(5);
    let old = CodeSet::new(numbers.codes(40, 30));
    let ids = Some((0..48).map(|item| 1000 - 7 * item).collect());
    let labels = Some(Labels::Single((0..48).collect()));
    let bytes = (0..48 * 5).map(|_| numbers.next() as u8 & 0x0f).collect();
    (old, CodeSet { ids, labels, ..CodeSet::new(Codes::new(40, bytes).unwrap()) })
}

/// The disk fails at each possible step. The old index stays, and if the process continues, no file of the failed build stays.
#[test]
fn a_full_disk_leaves_the_old_index_and_nothing_else() {
    let _pool = on_this_thread();
    let (old, new) = old_and_new();
    let builder = IndexBuilder::new(IndexConfig::default().with_memory(900).with_substrings(3));
    for kind in [Fault::Once, Fault::Crash] {
        let mut failures = 0;
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            IndexBuilder::default().build(&old, dir.path()).unwrap();
            let before = files(dir.path());
            fault::set(Some((at, kind)));
            let result = builder.build(&new, dir.path());
            let steps = fault::steps();
            fault::set(None);
            let after = files(dir.path());
            match &result {
                Ok(()) => {}
                Err(Error::Io { .. }) => failures += 1,
                Err(error) => panic!("{error}"),
            }
            // A crash leaves files. A failure leaves none, except the complete segment if only the manifest could not be written.
            if kind == Fault::Once && result.is_err() {
                let is_unfinished = |name: &String| name.starts_with('.');
                assert!(!after.keys().any(is_unfinished), "{at}: {:?}", after.keys());
                let has_changed =
                    |name: &String| name != "manifest.json" && !after.contains_key(name);
                assert!(!before.keys().any(has_changed), "{at}: {:?}", after.keys());
            }
            let index = Index::open(dir.path()).unwrap();
            index.verify().unwrap();
            assert!(
                index.len() == new.codes.len() || (index.len() == 30 && result.is_err()),
                "{at}"
            );
            drop(index);
            // The files that a crash left do not prevent a build, and the build removes them.
            builder.build(&new, dir.path()).unwrap();
            assert_eq!(files(dir.path()).len(), 2, "{at}");
            assert_eq!(Index::open(dir.path()).unwrap().len(), new.codes.len());
            if at >= steps {
                break;
            }
        }
        assert!(failures > 80, "{kind:?}: {failures}");
    }
}

/// The caller cancels at each report in turn.
#[test]
fn a_cancelled_build_leaves_the_old_index_and_nothing_else() {
    let (old, new) = old_and_new();
    for memory in [None, Some(900)] {
        let mut stages = Vec::new();
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            IndexBuilder::default().build(&old, dir.path()).unwrap();
            let before = files(dir.path());
            let seen = Arc::new(Mutex::new(Vec::new()));
            let told = Arc::clone(&seen);
            let config = IndexConfig::default().with_memory(memory).with_substrings(3);
            let builder = IndexBuilder::new(config).on_progress(move |progress| {
                let mut told = told.lock().unwrap();
                told.push(progress);
                match told.len() > at {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            let result = builder.build(&new, dir.path());
            let seen = seen.lock().unwrap();
            assert!(seen.iter().all(|progress| progress.done <= progress.total), "{seen:?}");
            if result.is_ok() {
                assert!(seen.len() <= at && files(dir.path()) != before);
                stages.extend(seen.iter().filter(|seen| seen.is_complete()).map(|seen| seen.stage));
                break;
            }
            assert!(matches!(result, Err(Error::Cancelled)));
            assert!(files(dir.path()) == before, "{at}");
        }
        let distinct = new.codes.distinct() as u64;
        let mut expected = vec![
            Stage::Sorted { distinct },
            Stage::Table { table: 2, tables: 3 },
            Stage::Table { table: 3, tables: 3 },
            Stage::CodeHash,
            Stage::Written,
        ];
        if memory.is_some() {
            expected.splice(0..0, [Stage::SortIds, Stage::SortRuns, Stage::MergeRuns]);
        }
        assert_eq!(stages, expected);
    }
}
