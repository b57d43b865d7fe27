//! A disk that is full, or has an I/O error, at every step there is: what was acknowledged is there, and what was refused is not.

use super::*;
use crate::Error;
use crate::store::disk::fault::{self, Fault};

/// The disk fails at a step, once or from then on, for every step of some changes: what is there afterwards is the index before
/// or after the change under way, and everything that was acknowledged. A change that failed and left the writer usable was not made.
#[test]
fn a_failing_disk_leaves_the_index_before_or_after_the_change() {
    let _pool = on_this_thread();
    let mut failures = 0;
    for kind in [Fault::Once, Fault::OnceIo, Fault::Crash] {
        for seed in 0..3 {
            for at in 0.. {
                let (numbers, root) = (&mut Numbers(seed), folder());
                let dir = root.path().join("index");
                let mut items = begin(&dir, numbers);
                let mut writer = IndexWriter::open(&dir).unwrap();
                fault::set(Some((at, kind)));
                let mut states = vec![items.clone()];
                for round in 0..10 {
                    let (action, after) = action(&items, numbers);
                    let to = root.path().join(format!("checkpoint-{round}"));
                    match action.make(&mut writer, &to) {
                        Ok(()) => items = after,
                        Err(error) => {
                            // A poisoned writer does not know whether the change is there.
                            let unknown = matches!(error, Error::Poisoned { .. })
                                || writer.check_usable().is_err();
                            states = vec![items.clone()];
                            states.extend(unknown.then_some(after));
                            break;
                        }
                    }
                    states = vec![items.clone()];
                }
                let steps = fault::steps();
                fault::set(None);
                failures += u64::from(at < steps);
                assert!(states.iter().any(|items| *items == held(&writer.snapshot())));
                // The same handle continues, or says that it does not know what the disk holds.
                match writer.add(&set(&[(1 << 40, ([1, 1], 1))].into())) {
                    Ok(()) => assert!(writer.snapshot().contains(1 << 40)),
                    Err(Error::Poisoned { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                drop(writer);
                let mut opened = IndexWriter::open(&dir).unwrap();
                opened.remove(&[1 << 40]).unwrap();
                let index = opened.snapshot();
                let now = states.iter().find(|items| **items == held(&index));
                let now = now.unwrap_or_else(|| panic!("{kind:?} {seed} {at}"));
                assert_holds(&index, now, numbers);
                index.verify().unwrap();
                if at >= steps {
                    break;
                }
            }
        }
    }
    assert!(failures > 300, "{failures}");
}

/// The bug: an addition was in the log, then merging the log met a full disk, and the program reported that nothing was added. Repeating
/// the command added everything twice.
#[test]
fn an_addition_whose_merge_meets_a_full_disk_is_made() {
    let _pool = on_this_thread();
    let (numbers, dir) = (&mut Numbers(1), folder());
    let mut items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let new = some(numbers, 1000..1040);
    writer.add(&set(&new)).unwrap();
    items.extend(new.clone());
    fault::set(Some((0, Fault::Crash)));
    assert!(matches!(writer.flush(), Err(Error::Io { .. })));
    fault::set(None);
    assert_holds(&writer.snapshot(), &items, numbers);
    assert!(matches!(writer.add(&set(&new)), Err(Error::IdTaken { id: 1000 })));
    writer.flush().unwrap();
    assert_holds(&reopened_after(writer, dir.path()), &items, numbers);
}

fn reopened_after(writer: IndexWriter, dir: &Path) -> Index {
    drop(writer);
    reopened(dir)
}

/// A checkpoint that could not be completed is no index, and can be made again in its place.
#[test]
fn a_checkpoint_that_meets_a_full_disk_can_be_made_again() {
    let _pool = on_this_thread();
    let (numbers, root) = (&mut Numbers(6), folder());
    let dir = root.path().join("index");
    let mut items = begin(&dir, numbers);
    let mut writer = IndexWriter::open(&dir).unwrap();
    writer.flush().unwrap();
    let new = some(numbers, 1000..1040);
    writer.add(&set(&new)).unwrap();
    items.extend(new);
    for at in 0.. {
        let to = root.path().join(format!("checkpoint-{at}"));
        fault::set(Some((at, Fault::Once)));
        let made = writer.checkpoint(&to);
        let steps = fault::steps();
        fault::set(None);
        if made.is_err() {
            writer.checkpoint(&to).unwrap();
        }
        assert_holds(&reopened(&to), &items, numbers);
        assert!(matches!(writer.checkpoint(&to), Err(Error::CheckpointExists { .. })));
        if at >= steps {
            break;
        }
    }
}

/// The same where an index is built in the place of another: each write of the data file is a step of its own.
#[test]
fn a_failing_disk_leaves_the_index_before_or_after_it_is_built_anew() {
    let _pool = on_this_thread();
    for kind in [Fault::Once, Fault::Crash] {
        let mut failures = 0;
        for at in 0.. {
            let (numbers, dir) = (&mut Numbers(at), folder());
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
            // Half-written files do not prevent the next change, and are removed.
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
