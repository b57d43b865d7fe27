//! Compaction: what is due is merged, what was changed while a merge ran is kept, dead segments cost nothing, and damage is not copied.

use super::*;
use crate::index::merge_job::MEMTABLE;
use crate::{Error, IndexConfig};

/// Many items of random codes.
fn many(numbers: &mut Numbers, ids: std::ops::Range<u64>) -> Items {
    ids.map(|id| (id, ((numbers.next() as u16).to_le_bytes(), 1))).collect()
}

fn dir_of(root: &tempfile::TempDir) -> std::path::PathBuf {
    root.path().join("index")
}

#[test]
fn a_full_memtable_becomes_a_segment_and_segments_are_merged() {
    let (numbers, root) = (&mut Numbers(5), folder());
    let dir = dir_of(&root);
    let mut items = begin(&dir, numbers);
    let mut writer = IndexWriter::open(&dir).unwrap();
    // In two additions, neither of which is large enough to become a segment at once.
    for start in [100, 100 + MEMTABLE as u64 / 2] {
        let new = many(numbers, start..start + MEMTABLE as u64 / 2);
        writer.add(&set(&new)).unwrap();
        items.extend(new);
    }
    writer.maintain().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.logged, info.segments.len()), (0, 1), "the small segment went into the large");
    let new = many(numbers, 1 << 20..(1 << 20) + 500);
    writer.add(&set(&new)).unwrap();
    items.extend(new);
    writer.flush().unwrap();
    assert_eq!(writer.snapshot().info().segments.len(), 2);
    writer.remove(&[100, 1 << 20]).unwrap();
    assert_eq!(writer.snapshot().info().deleted, 2);
    writer.compact().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.segments.len(), info.deleted, info.codes), (1, 0, items.len() - 2));
    assert!(std::fs::read_dir(&dir).unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        !name.starts_with("log-")
    }));
}

#[test]
fn many_items_become_a_segment_at_once() {
    let (numbers, root) = (&mut Numbers(6), folder());
    let dir = dir_of(&root);
    let mut items = begin(&dir, numbers);
    let mut writer = IndexWriter::open(&dir).unwrap();
    writer.add(&set(&[(99, ([1, 1], 1))].into())).unwrap();
    items.insert(99, ([1, 1], 1));
    let new = many(numbers, 20..20 + 2 * MEMTABLE as u64);
    let mut replaced = items.clone();
    replaced.extend(new.clone());
    let changed = writer.upsert(&set(&new)).unwrap();
    assert_eq!(changed.added + changed.replaced, new.len());
    assert_eq!(changed.replaced, items.len() + new.len() - replaced.len());
    assert!(writer.snapshot().info().logged <= 1);
    assert_eq!(held(&writer.snapshot()), replaced);
    drop(writer);
    assert_eq!(held(&reopened(&dir)), replaced);
}

/// Everything that is changed while a merge reads its snapshot is there once its segment is installed.
#[test]
fn what_changes_while_a_merge_runs_is_kept() {
    for seed in 0..12 {
        let (numbers, root) = (&mut Numbers(seed), folder());
        let dir = dir_of(&root);
        let mut items = begin(&dir, numbers);
        let mut writer = IndexWriter::open(&dir).unwrap();
        for _ in 0..6 {
            for _ in 0..3 {
                let (action, after) = action(&items, numbers);
                if matches!(action, Action::Batch(_)) {
                    action.make(&mut writer, root.path()).unwrap();
                    items = after;
                }
            }
            let all: Vec<usize> = (0..writer.snapshot().components.len()).collect();
            let chosen = &all[..1 + numbers.below(all.len() as u64) as usize];
            writer.begin_merge(chosen);
            for _ in 0..4 {
                let (action, after) = action(&items, numbers);
                if let Action::Batch(batch) = &action {
                    let change = batch.prepare(&writer.snapshot()).unwrap().0;
                    writer.commit(change).unwrap();
                    items = after;
                }
            }
            assert_eq!(held(&writer.snapshot()), items);
            writer.maintain().unwrap();
            assert_holds(&writer.snapshot(), &items, numbers);
            assert_holds(&Index::open(&dir).unwrap(), &items, numbers);
        }
        drop(writer);
        assert_holds(&reopened(&dir), &items, numbers);
    }
}

#[test]
fn segments_of_removed_items_go() {
    let (numbers, root) = (&mut Numbers(9), folder());
    let dir = dir_of(&root);
    let old = many(numbers, 0..900);
    IndexBuilder::default().build(&set(&old), &dir).unwrap();
    let mut writer = IndexWriter::open(&dir).unwrap();
    writer.add(&set(&many(numbers, 5000..5300))).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.snapshot().info().segments.len(), 2);
    // A third may be removed before a segment is rewritten.
    writer.remove(&(0..300).collect::<Vec<_>>()).unwrap();
    writer.maintain().unwrap();
    assert_eq!(writer.snapshot().info().deleted, 300);
    writer.remove(&[300]).unwrap();
    writer.maintain().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.deleted, info.codes), (0, 899));
    writer.remove(&(0..900).collect::<Vec<_>>()).unwrap();
    writer.maintain().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.segments.len(), info.deleted, info.codes), (1, 0, 300));
    // An index without items still has a segment.
    writer.remove(&(5000..5300).collect::<Vec<_>>()).unwrap();
    writer.maintain().unwrap();
    let info = writer.snapshot().info();
    assert_eq!((info.segments.len(), info.deleted, info.codes), (1, 0, 0));
    writer.add(&set(&old)).unwrap();
    assert_eq!(writer.snapshot().len(), 900);
}

#[test]
fn a_long_log_of_what_is_obsolete_is_begun_anew() {
    let (numbers, root) = (&mut Numbers(9), folder());
    let dir = dir_of(&root);
    IndexBuilder::default().build(&set(&many(numbers, 0..10)), &dir).unwrap();
    let mut writer = IndexWriter::open(&dir).unwrap();
    let items = many(numbers, 100..100 + MEMTABLE as u64 / 5);
    for _ in 0..80 {
        writer.upsert(&set(&items)).unwrap();
    }
    let log = dir.join(format!("log-{}.dhih", writer.snapshot().generation()));
    assert!(std::fs::metadata(log).unwrap().len() < 20 << 20);
    assert_eq!(writer.snapshot().len(), 10 + items.len());
    assert_eq!(reopened_len(writer, &dir), 10 + items.len());
}

fn reopened_len(writer: IndexWriter, dir: &Path) -> usize {
    drop(writer);
    reopened(dir).len()
}

/// The bug: `compact` copied a flipped bit under a new checksum, after which `verify` found no fault.
#[test]
fn damage_is_refused_and_not_copied() {
    let (numbers, root) = (&mut Numbers(4), folder());
    let dir = dir_of(&root);
    IndexBuilder::default().build(&set(&many(numbers, 7..400)), &dir).unwrap();
    let info = Index::open(&dir).unwrap().info();
    let path = dir.join(&info.segments[0].file);
    let sound = std::fs::read(&path).unwrap();
    let read = ["Codes", "CodeOfRow", "Ids", "Labels", "Vectors", "Metadata"];
    for section in &info.segments[0].sections {
        let kind = format!("{:?}", section.kind);
        if section.bytes == 0 || !read.contains(&&*kind) {
            continue;
        }
        let mut damaged = sound.clone();
        damaged[section.offset + section.bytes / 2] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        if kind == "Metadata" {
            assert!(matches!(IndexWriter::open(&dir), Err(Error::Corrupt { .. })));
            continue;
        }
        let mut writer = IndexWriter::open(&dir).unwrap();
        writer.add(&set(&many(numbers, 5000..5003))).unwrap();
        for done in [writer.snapshot().to_code_set().map(drop), writer.compact()] {
            assert!(matches!(done, Err(Error::Corrupt { .. })), "{kind}: {done:?}");
        }
        // A failure in the background is kept for `merge_error`.
        assert!(writer.merge_error().is_none());
        writer.begin_merge(&[0, 1]);
        writer.wait_for_merge();
        assert!(matches!(writer.merge_error(), Some(Error::Corrupt { .. })));
        // The change itself is kept, and so is the damaged file.
        assert!(writer.snapshot().contains(5002));
        writer.remove(&[5000, 5001, 5002]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "{kind}");
        assert!(Index::open(&dir).unwrap().verify().is_err());
    }
    std::fs::write(&path, &sound).unwrap();
    reopened(&dir);
}

#[test]
fn compaction_keeps_the_substrings() {
    let (numbers, root) = (&mut Numbers(4), folder());
    let dir = dir_of(&root);
    let config = IndexConfig::default().with_substrings(5);
    IndexBuilder::new(config).build(&set(&many(numbers, 0..4000)), &dir).unwrap();
    let mut writer = IndexWriter::open(&dir).unwrap();
    writer.remove(&[7]).unwrap();
    writer.compact().unwrap();
    assert_eq!(writer.snapshot().info().substrings.len(), 5);
}

#[test]
fn a_writer_whose_index_another_replaced_publishes_nothing() {
    let (numbers, root) = (&mut Numbers(4), folder());
    let dir = dir_of(&root);
    let items = begin(&dir, numbers);
    let mut writer = IndexWriter::open(&dir).unwrap();
    // This also happens if the lock file was removed, or the file system has no locks.
    std::fs::remove_file(dir.join("lock")).unwrap();
    let mut other = IndexWriter::open(&dir).unwrap();
    other.add(&set(&[(900, ([1, 2], 0))].into())).unwrap();
    assert!(matches!(writer.compact(), Err(Error::Fenced { .. })));
    let new = set(&[(901, ([1, 2], 0))].into());
    assert!(matches!(writer.add(&new), Err(Error::Fenced { .. })));
    drop((writer, other));
    assert_eq!(reopened(&dir).len(), items.len() + 1);
}

#[test]
fn the_generation_only_grows() {
    let (numbers, root) = (&mut Numbers(4), folder());
    let dir = dir_of(&root);
    let mut last = 0;
    for round in 0..3 {
        let items = many(numbers, 0..50);
        IndexBuilder::default().build(&set(&items), &dir).unwrap();
        let generation = Index::open(&dir).unwrap().generation();
        assert!(generation > last, "{round}");
        let mut writer = IndexWriter::open(&dir).unwrap();
        writer.remove(&[*items.keys().next().unwrap()]).unwrap();
        writer.compact().unwrap();
        last = writer.snapshot().generation();
        assert_eq!(last, generation + 2);
    }
    // Equal codes in new directories give equal bytes, and so equal identities.
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let items = many(numbers, 0..50);
    IndexBuilder::default().build(&set(&items), &a).unwrap();
    IndexBuilder::default().build(&set(&items), &b).unwrap();
    let ids = [&a, &b, &dir].map(|dir| Index::open(dir).unwrap().id());
    assert!(ids[0] == ids[1] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(
        std::fs::read(a.join("manifest.json")).unwrap(),
        std::fs::read(b.join("manifest.json")).unwrap()
    );
}
