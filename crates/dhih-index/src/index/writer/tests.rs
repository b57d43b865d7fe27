//! Changes against a map in memory, at random; and a disk that fails at every step there is.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::store::disk::fault::{self, Fault};
use crate::{Codes, Filter, Flat, Hit};

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What should be in the index: code and label by id.
type Items = BTreeMap<u64, ([u8; 2], i64)>;

fn set(items: &Items) -> CodeSet {
    let bytes = items.values().flat_map(|(code, _)| *code).collect();
    CodeSet {
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
    let label = numbers.below(4) as i64;
    let odd = |id: &u64| id % 2 == 1;
    let filter = Filter::default().labels([label]).ids(items.keys().copied().filter(odd));
    let labelled = items.iter().filter(|(_, item)| item.1 == label);
    let labelled: Items = labelled.map(|(id, item)| (*id, *item)).collect();
    let passed = labelled.iter().filter(|(id, _)| odd(id));
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
        assert_eq!(selection.within(&query, radius).unwrap(), some.within(&query, radius).unwrap());
    }
}

/// One change at random, made in the index and in the map. `states` are those that the index may be in meanwhile.
fn change(
    writer: &mut IndexWriter,
    items: &mut Items,
    numbers: &mut Numbers,
    states: &mut Vec<Items>,
) -> Result<()> {
    *states = vec![items.clone()];
    match numbers.below(8) {
        0..=2 => {
            let start = items.keys().last().map_or(0, |last| last + 1 + numbers.below(3));
            let end = start + 1 + numbers.below(40);
            let new = some(numbers, start..end);
            items.extend(new.clone());
            states.push(items.clone());
            writer.add(&set(&new))?;
        }
        3..=5 => {
            let ids: Vec<u64> = items.keys().copied().filter(|_| numbers.below(4) == 0).collect();
            items.retain(|id, _| !ids.contains(id));
            states.push(items.clone());
            let removed = writer.remove(&[&ids[..], &ids, &[u64::MAX]].concat())?;
            assert_eq!(removed, ids.len());
            // Some come back with other codes.
            let back = ids.into_iter().filter(|id| id % 3 == 0).map(|id| (id, ([7, 7], 2)));
            let back: Items = back.collect();
            items.extend(back.clone());
            states.push(items.clone());
            writer.add(&set(&back))?;
        }
        6 => writer.flush()?,
        _ => writer.compact()?,
    }
    Ok(())
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

#[test]
fn an_index_is_what_was_added_and_not_removed() {
    for seed in 0..40 {
        let (numbers, dir) = (&mut Numbers(seed), tempfile::tempdir().unwrap());
        let mut items = begin(dir.path(), numbers);
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        for _ in 0..30 {
            let (before, held) = (items.clone(), writer.snapshot());
            change(&mut writer, &mut items, numbers, &mut Vec::new()).unwrap();
            assert_holds(&writer.snapshot(), &items, numbers);
            assert_holds(&held, &before, numbers);
            let opened = Index::open(dir.path()).unwrap();
            assert_holds(&opened, &items, numbers);
            if numbers.below(4) == 0 {
                opened.verify().unwrap();
                drop(writer);
                writer = IndexWriter::open(dir.path()).unwrap();
            }
        }
        assert_eq!(writer.snapshot().to_code_set().unwrap().codes.len(), items.len());
    }
}

/// The disk fails at a step, once or from then on, for every step of some changes: what is there afterwards is the index before
/// or after the change under way, and everything that was acknowledged.
#[test]
fn a_failing_disk_leaves_the_index_before_or_after_the_change() {
    let _pool = on_this_thread();
    let mut failures = 0;
    for kind in [Fault::Once, Fault::Crash] {
        for seed in 0..3 {
            let mut at = 0;
            loop {
                let (numbers, dir) = (&mut Numbers(seed), tempfile::tempdir().unwrap());
                let mut items = begin(dir.path(), numbers);
                let mut writer = IndexWriter::open(dir.path()).unwrap();
                fault::set(Some((at, kind)));
                let mut states = Vec::new();
                let failed =
                    (0..8).any(|_| change(&mut writer, &mut items, numbers, &mut states).is_err());
                let steps = fault::steps();
                fault::set(None);
                if failed {
                    failures += 1;
                    let seen = writer.snapshot().ids();
                    let is = |items: &Items| items.keys().copied().eq(seen.iter().copied());
                    assert!(states.iter().any(is), "{kind:?} {seed} {at}");
                    // The same handle goes on, or says that it does not know.
                    match writer.add(&set(&[(1 << 40, ([1, 1], 1))].into())) {
                        Ok(()) => assert!(writer.snapshot().contains(1 << 40)),
                        Err(Error::WriterUnsure { .. } | Error::Io { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                } else {
                    states = vec![items.clone()];
                }
                drop(writer);
                let mut opened = IndexWriter::open(dir.path()).unwrap();
                opened.remove(&[1 << 40]).unwrap();
                let index = opened.snapshot();
                let now = states.iter().find(|items| **items == held(&index));
                assert_holds(&index, now.unwrap(), numbers);
                index.verify().unwrap();
                // A file that could not be removed is no failure.
                if at >= steps {
                    assert!(!failed);
                    break;
                }
                at += 1;
            }
        }
    }
    assert!(failures > 150, "{failures}");
}

/// The same where an index is built in the place of another: each write of the data file is a step of its own.
#[test]
fn a_failing_disk_leaves_the_index_before_or_after_it_is_built_anew() {
    let _pool = on_this_thread();
    for kind in [Fault::Once, Fault::Crash] {
        let mut failures = 0;
        for at in 0.. {
            let (numbers, dir) = (&mut Numbers(at), tempfile::tempdir().unwrap());
            let (old, new) = (begin(dir.path(), numbers), some(numbers, 2..600));
            fault::set(Some((at, kind)));
            let built = IndexBuilder::default().build(&set(&new), dir.path());
            let steps = fault::steps();
            fault::set(None);
            let index = Index::open(dir.path()).unwrap();
            index.verify().unwrap();
            let now = held(&index);
            assert!(now == new || (now == old && built.is_err()), "{kind:?} {at}");
            failures += u64::from(built.is_err());
            drop(index);
            // What was left half-written does not stand in the way, and goes.
            IndexBuilder::default().build(&set(&old), dir.path()).unwrap();
            assert_eq!(held(&Index::open(dir.path()).unwrap()), old);
            let segments = std::fs::read_dir(dir.path()).unwrap().filter(|entry| {
                entry.as_ref().unwrap().file_name().to_string_lossy().contains("segment-")
            });
            assert_eq!(segments.count(), 1, "{kind:?} {at}");
            if at >= steps {
                break;
            }
        }
        // Writes, syncs, renames; not removing what was replaced.
        assert!(failures > 15, "{kind:?}: {failures}");
    }
}

#[test]
fn a_torn_end_of_the_log_does_not_count_and_is_cut_off() {
    let (numbers, dir) = (&mut Numbers(3), tempfile::tempdir().unwrap());
    let items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    writer.add(&set(&[(900, ([1, 2], 0))].into())).unwrap();
    drop(writer);
    let path = dir.path().join("log-1.dhih");
    let whole = std::fs::read(&path).unwrap();
    for end in 32..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let index = Index::open(dir.path()).unwrap();
        assert_eq!(index.len(), items.len());
        assert_eq!(index.verify().is_err(), end > 32, "{end}");
    }
    drop(IndexWriter::open(dir.path()).unwrap());
    Index::open(dir.path()).unwrap().verify().unwrap();
    for at in 32..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Index::open(dir.path()).and_then(|index| index.verify()).is_err(), "{at}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (numbers, dir) = (&mut Numbers(8), tempfile::tempdir().unwrap());
    let items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    assert!(matches!(IndexWriter::open(dir.path()), Err(Error::Locked { .. })));
    let good = set(&[(900, ([1, 2], 0))].into());
    let taken = *items.keys().next().unwrap();
    let refused = |set: CodeSet| writer.snapshot().len() == items.len() && set.codes.len() < 9;
    assert!(refused(good.clone()));
    let wide = CodeSet {
        labels: Some(Labels::Single(vec![0])),
        ..CodeSet::new(Codes::new(24, vec![0; 3]).unwrap())
    };
    assert!(matches!(writer.add(&wide), Err(Error::QueryBits { expected: 16, found: 24 })));
    let again = CodeSet { ids: Some(vec![taken]), ..good.clone() };
    assert!(matches!(writer.add(&again), Err(Error::IdTaken { id }) if id == taken));
    let plain = CodeSet { labels: None, ..good.clone() };
    assert!(matches!(writer.add(&plain), Err(Error::LabelKind { .. })));
    let labels = Some(Labels::MultiHot { classes: 3, values: vec![1, 0, 0] });
    assert!(matches!(
        writer.add(&CodeSet { labels, ..good.clone() }),
        Err(Error::LabelKind { .. })
    ));
    let classes = vec!["x".to_owned()];
    assert!(matches!(
        writer.add(&CodeSet { classes, ..good.clone() }),
        Err(Error::LabelKind { .. })
    ));
    let far =
        CodeSet { labels: Some(Labels::Single(vec![3])), classes: Vec::new(), ..good.clone() };
    assert!(matches!(writer.add(&far), Err(Error::Label { label: 3, .. })));
    assert_eq!(writer.snapshot().len(), items.len());
    // Items without ids go behind the last.
    writer.add(&CodeSet { ids: None, ..good.clone() }).unwrap();
    assert_eq!(writer.snapshot().ids().last(), Some(&(items.keys().last().unwrap() + 1)));
    writer.add(&CodeSet { ids: Some(vec![u64::MAX]), ..good.clone() }).unwrap();
    assert!(matches!(writer.add(&CodeSet { ids: None, ..good }), Err(Error::IdsExhausted { .. })));
    let hits: Vec<Hit> = writer.snapshot().knn(&[1, 2], 3).unwrap();
    assert_eq!(hits.len(), 3);
}

#[test]
fn a_long_log_becomes_a_data_file_and_files_are_merged() {
    let (numbers, dir) = (&mut Numbers(5), tempfile::tempdir().unwrap());
    let mut items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let new = some(numbers, 100..100 + LOGGED as u64);
    writer.add(&set(&new)).unwrap();
    items.extend(new);
    let info = writer.snapshot().info();
    assert_eq!(
        (info.logged, info.segments.len()),
        (0, 1),
        "the small file went into the large one"
    );
    let new = some(numbers, 1 << 20..(1 << 20) + 500);
    writer.add(&set(&new)).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.snapshot().info().segments.len(), 2);
    writer.remove(&[100, 1 << 20]).unwrap();
    assert_eq!(writer.snapshot().info().deleted, 2);
    writer.compact().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.segments.len(), info.deleted, info.codes), (1, 0, items.len() + 498));
    assert!(!dir.path().join("log-1.dhih").exists());
}
