//! The common parts of the tests of changes: a model in memory, and random changes that are made in both the model and the index.

mod changes;
mod full_disk;
mod merging;
mod power_loss;
mod salvage;

use std::collections::BTreeMap;
use std::path::Path;

use crate::build::IndexBuilder;
use crate::codes::labels::Labels;
use crate::error::Result;
use crate::test_numbers::Numbers;
use crate::{Batch, CodeSet, Codes, Filter, Flat, Index, IndexWriter, VectorSet, VectorType};

/// An empty folder, in memory where the system has one, because syncing costs nothing there.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// What should be in the index: code and label by id.
type Items = BTreeMap<u64, ([u8; 2], i64)>;

/// The vector of an item, which depends on its code and label.
fn vector(id: u64, (code, label): &([u8; 2], i64)) -> [f32; 3] {
    [(id % 97) as f32, f32::from(code[0]), f32::from(code[1]) + *label as f32]
}

fn set(items: &Items) -> CodeSet {
    let bytes = items.values().flat_map(|(code, _)| *code).collect();
    let vectors: Vec<f32> = items.iter().flat_map(|(id, item)| vector(*id, item)).collect();
    let vectors = VectorSet::from_f32(3, &vectors).unwrap();
    CodeSet {
        vectors: Some(vectors.to_type(VectorType::Int8).unwrap()),
        ids: Some(items.keys().copied().collect()),
        labels: Some(Labels::Single(items.values().map(|(_, label)| *label).collect())),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        ..CodeSet::new(Codes::new(16, bytes).unwrap())
    }
}

/// What is in an index.
fn held(index: &Index) -> Items {
    let item = |id: u64| {
        let Some(crate::Label::Single(label)) = index.label(id) else { panic!() };
        (id, (index.code(id).unwrap().try_into().unwrap(), label))
    };
    index.ids().into_iter().map(item).collect()
}

fn some(numbers: &mut Numbers, ids: std::ops::Range<u64>) -> Items {
    let item = |id| {
        // Few codes, so that many are equal.
        let code = [numbers.below(4) as u8, numbers.below(3) as u8 * 85];
        (id, (code, numbers.below(3) as i64))
    };
    ids.map(item).collect()
}

fn assert_holds(index: &Index, items: &Items, numbers: &mut Numbers) {
    assert_eq!(index.ids(), items.keys().copied().collect::<Vec<_>>());
    assert_eq!((index.len(), index.is_empty()), (items.len(), items.is_empty()));
    for (id, (code, label)) in items {
        assert_eq!(index.code(*id), Some(&code[..]));
        assert_eq!(index.label(*id), Some(crate::Label::Single(*label)));
    }
    let all = set(items);
    for (row, id) in items.keys().enumerate() {
        let expected = all.vectors.as_ref().unwrap().get(row).unwrap();
        assert_eq!(index.vector(*id), Some(expected));
    }
    let label = numbers.below(4) as i64;
    // A memtable of which few rows are selected is searched in another way than one of which many are.
    let of = [2, 16][numbers.below(2) as usize];
    let chosen = |id: &u64| id % of == 1;
    let filter = Filter::default().labels([label]).ids(items.keys().copied().filter(chosen));
    let labelled = items.iter().filter(|(_, item)| item.1 == label);
    let labelled: Items = labelled.map(|(id, item)| (*id, *item)).collect();
    let passed = labelled.iter().filter(|(id, _)| chosen(id));
    let passed: Items = passed.map(|(id, item)| (*id, *item)).collect();
    let (labelled, passed) = (set(&labelled), set(&passed));
    for _ in 0..4 {
        let query = [numbers.below(8) as u8, numbers.below(256) as u8];
        let k = 1 + numbers.below(12) as usize;
        let radius = numbers.below(9) as u32;
        let (flat, some) = (Flat::of(&all).unwrap(), Flat::of(&passed).unwrap());
        assert_eq!(index.knn(&query, k).unwrap(), flat.knn(&query, k).unwrap());
        assert_eq!(index.within(&query, radius).unwrap(), flat.within(&query, radius).unwrap());
        let (by_label, one) = (Filter::default().labels([label]), Flat::of(&labelled).unwrap());
        assert_eq!(index.select(&by_label).knn(&query, k).unwrap(), one.knn(&query, k).unwrap());
        let selection = index.select(&filter);
        assert_eq!(selection.knn(&query, k).unwrap(), some.knn(&query, k).unwrap());
        let within = some.within(&query, radius).unwrap();
        assert_eq!(selection.within(&query, radius).unwrap(), within);
        assert_eq!(selection.count_within(&query, radius).unwrap(), within.len());
    }
}

/// What a random change does to the model, and how it is made in the index.
#[derive(Debug)]
enum Action {
    Batch(Batch),
    Flush,
    Compact,
    Maintain,
    Checkpoint,
}

/// A change at random: the action, and the model after it.
fn action(items: &Items, numbers: &mut Numbers) -> (Action, Items) {
    let mut after = items.clone();
    let ids: Vec<u64> = items.keys().copied().filter(|_| numbers.below(4) == 0).collect();
    let next = items.keys().last().map_or(0, |last| last + 1 + numbers.below(3));
    let end = next + 1 + numbers.below(40);
    let new = some(numbers, next..end);
    let action = match numbers.below(12) {
        0..=2 => {
            after.extend(new.clone());
            Action::Batch(Batch::new().add(set(&new)))
        }
        3..=4 => {
            after.retain(|id, _| !ids.contains(id));
            Action::Batch(Batch::new().remove([&ids[..], &ids, &[u64::MAX]].concat()))
        }
        5..=6 => {
            // Some are replaced, some are new.
            let other = |id: u64| (id, ([numbers.below(9) as u8, 7], 2));
            let replaced: Items = ids.into_iter().chain([end + 3]).map(other).collect();
            after.extend(replaced.clone());
            Action::Batch(Batch::new().upsert(set(&replaced)))
        }
        7 => {
            after.retain(|id, _| !ids.contains(id));
            let back: Items =
                ids.iter().filter(|id| **id % 2 == 0).map(|id| (*id, ([3, 3], 0))).collect();
            after.extend(back.clone());
            after.extend(new.clone());
            Action::Batch(Batch::new().remove(ids).add(set(&back)).upsert(set(&new)))
        }
        8 => Action::Flush,
        9 => Action::Compact,
        10 => Action::Checkpoint,
        _ => Action::Maintain,
    };
    (action, after)
}

impl Action {
    fn make(&self, writer: &mut IndexWriter, checkpoint: &Path) -> Result<()> {
        match self {
            Self::Batch(batch) => writer.apply(batch).map(drop),
            Self::Flush => writer.flush(),
            Self::Compact => writer.compact(),
            Self::Maintain => writer.maintain(),
            Self::Checkpoint => writer.checkpoint(checkpoint),
        }
    }
}

/// Work of pools stays on this thread, where [`fault`] sees its steps, as long as this is kept.
fn on_this_thread() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap()
}

fn begin(dir: &Path, numbers: &mut Numbers) -> Items {
    let count = numbers.below(60);
    let items = some(numbers, 5..5 + count);
    IndexBuilder::default().build(&set(&items), dir).unwrap();
    items
}

/// The index of a directory after a writer has opened it. The writer moves away what an interrupted write left.
fn reopened(dir: &Path) -> Index {
    let index = IndexWriter::open(dir).unwrap().snapshot();
    index.verify().unwrap();
    index
}
