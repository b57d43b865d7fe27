//! Changes against a map in memory.

use super::*;
use crate::store::disk::journal::Event;
use crate::{Changed, Error, Hit, IndexConfig, OpenOptions, SharedWriter, Verify};

#[test]
fn an_index_is_what_was_added_and_not_removed() {
    for seed in 0..40 {
        let (numbers, root) = (&mut Numbers(seed), folder());
        let dir = root.path().join("index");
        let mut items = begin(&dir, numbers);
        let mut writer = IndexWriter::open(&dir).unwrap();
        for round in 0..30 {
            let (held, follower) = (writer.snapshot(), Index::open(&dir).unwrap());
            let (action, after) = action(&items, numbers);
            let checkpoint = root.path().join(format!("checkpoint-{round}"));
            action.make(&mut writer, &checkpoint).unwrap();
            assert_holds(&held, &items, numbers);
            assert_holds(&writer.snapshot(), &after, numbers);
            let opened = Index::open(&dir).unwrap();
            assert_holds(&opened, &after, numbers);
            let refreshed = follower.refresh().unwrap();
            assert!(refreshed.is_some() || items == after);
            assert_holds(&refreshed.unwrap_or(follower), &after, numbers);
            if checkpoint.exists() {
                let copy = Index::open(&checkpoint).unwrap();
                copy.verify().unwrap();
                assert_holds(&copy, &after, numbers);
                assert_eq!(copy.id(), opened.id());
            }
            if numbers.below(4) == 0 {
                opened.verify().unwrap();
                drop(writer);
                writer = IndexWriter::open(&dir).unwrap();
            }
            items = after;
        }
        let snapshot = writer.snapshot();
        assert_eq!(snapshot.to_code_set().unwrap().codes.len(), items.len());
        let codes = items.iter().map(|(id, (code, _))| (*id, code.to_vec()));
        assert!(snapshot.iter().map(Result::unwrap).eq(codes));
    }
}

/// Each batch of a group is all or nothing, and all of them are one record and one sync.
#[test]
fn a_group_is_committed_at_once() {
    let (numbers, dir) = (&mut Numbers(2), folder());
    let mut items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    writer.remove(&[5]).unwrap();
    items.remove(&5);
    let one = |id: u64| set(&[(id, ([1, id as u8], 0))].into());
    let taken = *items.keys().next().unwrap();
    let batches = [
        Batch::new().add(one(900)),
        Batch::new().add(one(901)).add(one(900)),
        Batch::new().remove([900]).add(one(902)),
        Batch::new().add(one(taken)),
        Batch::new().upsert(one(902)).upsert(one(903)),
    ];
    crate::store::disk::journal::start(dir.path());
    let answers = writer.apply_all(&batches);
    let events = crate::store::disk::journal::stop(dir.path());
    let is_sync = |event: &&Event| matches!(event, Event::SyncFile(_));
    assert_eq!(events.iter().filter(is_sync).count(), 1, "{events:?}");
    assert_eq!(*answers[0].as_ref().unwrap(), Changed { added: 1, ..Changed::default() });
    assert!(matches!(answers[1], Err(Error::IdTaken { id: 900 })));
    assert_eq!(answers[2].as_ref().unwrap().removed, 1);
    assert!(matches!(answers[3], Err(Error::IdTaken { id }) if id == taken));
    let changed = answers[4].as_ref().unwrap();
    assert_eq!((changed.added, changed.replaced), (1, 1));
    for id in [902, 903] {
        items.insert(id, ([1, id as u8], 0));
    }
    assert_holds(&writer.snapshot(), &items, numbers);
    drop(writer);
    assert_holds(&Index::open(dir.path()).unwrap(), &items, numbers);
}

#[test]
fn threads_share_a_writer() {
    let (numbers, dir) = (&mut Numbers(4), folder());
    let mut items = begin(dir.path(), numbers);
    let writer = SharedWriter::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let writer = writer.clone();
            scope.spawn(move || {
                for i in 0..30 {
                    let id = 1000 + 100 * thread + i;
                    let item = [(id, ([thread as u8, i as u8], 1))].into();
                    assert_eq!(writer.upsert(set(&item)).unwrap().added, 1);
                    assert!(writer.snapshot().contains(id));
                }
            });
        }
    });
    for thread in 0..8_u64 {
        items.extend((0..30).map(|i| (1000 + 100 * thread + i, ([thread as u8, i as u8], 1))));
    }
    assert_holds(&writer.snapshot(), &items, numbers);
    drop(writer);
    assert_holds(&reopened(dir.path()), &items, numbers);
}

/// Every byte of a log of two changes is changed or cut off: the index is refused, or the second change, which cannot be told from one
/// that was torn, is not there and is kept beside the log.
#[test]
fn a_torn_end_of_the_log_is_moved_away_and_damage_is_refused() {
    let (numbers, dir) = (&mut Numbers(3), folder());
    let items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let log = |index: &Index| dir.path().join(format!("log-{}.dhih", index.generation()));
    writer.add(&set(&[(900, ([1, 2], 0))].into())).unwrap();
    let path = log(&writer.snapshot());
    let first = std::fs::read(&path).unwrap().len();
    writer.add(&set(&[(901, ([1, 2], 0))].into())).unwrap();
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    let torn =
        dir.path().join(format!("wal-{}.torn", Index::open(dir.path()).unwrap().generation()));
    for end in first..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let index = Index::open(dir.path()).unwrap();
        assert_eq!(index.len(), items.len() + 1);
        assert_eq!(index.verify().unwrap().torn_bytes, (end - first) as u64);
        drop(IndexWriter::open(dir.path()).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), whole[..first]);
        if end > first {
            assert_eq!(std::fs::read(&torn).unwrap(), whole[first..end]);
            std::fs::remove_file(&torn).unwrap();
        }
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        match Index::open(dir.path()) {
            Ok(index) => {
                assert!(at >= first && index.len() == items.len() + 1);
                drop(IndexWriter::open(dir.path()).unwrap());
                assert_eq!(std::fs::read(&torn).unwrap(), bytes[first..]);
                std::fs::remove_file(&torn).unwrap();
            }
            Err(_) => {
                assert!(IndexWriter::open(dir.path()).is_err());
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{at}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (numbers, dir) = (&mut Numbers(8), folder());
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
    let refused = writer.add(&wide).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "codes of 24 bits do not go with codes of 16 bits: encode all with one model"
    );
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
fn an_index_is_opened_with_options() {
    let (numbers, dir) = (&mut Numbers(4), folder());
    let items = begin(dir.path(), numbers);
    for verify in [Verify::Headers, Verify::Checksums, Verify::All] {
        for huge_pages in [false, true] {
            let options = OpenOptions::new().verify(verify).populate(true).huge_pages(huge_pages);
            assert_holds(&options.open(dir.path()).unwrap(), &items, numbers);
        }
    }
    assert_holds(&OpenOptions::new().on_disk(true).open(dir.path()).unwrap(), &items, numbers);
    // A few pages may be locked everywhere.
    assert_holds(&OpenOptions::new().lock(true).open(dir.path()).unwrap(), &items, numbers);
    let info = Index::open(dir.path()).unwrap().info();
    let path = dir.path().join(&info.segments[0].file);
    let section = info.segments[0].sections.iter().rfind(|section| section.bytes > 0).unwrap();
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[section.offset] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(OpenOptions::new().open(dir.path()).is_ok());
    let checked = OpenOptions::new().verify(Verify::Checksums).open(dir.path());
    assert!(matches!(checked, Err(Error::Corrupt { .. })));
}

/// The bug: what a refresh or a merge opened anew was opened without the options.
#[test]
fn options_hold_for_all_segments_that_come_later() {
    let (numbers, dir) = (&mut Numbers(4), folder());
    let mut items = begin(dir.path(), numbers);
    let mut on_disk = OpenOptions::new().on_disk(true).open(dir.path()).unwrap();
    let mut in_memory = Index::open(dir.path()).unwrap().into_memory().unwrap();
    let options = OpenOptions::new().on_disk(true).verify(Verify::All);
    let mut writer = options.open_writer(dir.path(), IndexConfig::default()).unwrap();
    for round in 1..4 {
        let new = some(numbers, 1000 * round..1000 * round + 100 / round);
        writer.add(&set(&new)).unwrap();
        items.extend(new);
        writer.flush().unwrap();
        on_disk = on_disk.refresh().unwrap().unwrap();
        in_memory = in_memory.refresh().unwrap().unwrap();
        for (index, is_on_disk) in
            [(&on_disk, true), (&writer.snapshot(), true), (&in_memory, false)]
        {
            let segments = index.components.iter().filter_map(|component| component.segment());
            let tables = segments.map(|segment| segment.tables_on_disk().count() > 0);
            assert!(tables.clone().count() > 0 && tables.clone().all(|it| it == is_on_disk));
            assert_holds(index, &items, numbers);
        }
    }
}

/// The bug: where a code could not be read, the iterator ended as if there were no more items.
#[test]
fn iteration_says_where_a_file_is_damaged() {
    let (numbers, dir) = (&mut Numbers(4), folder());
    let items = begin(dir.path(), numbers);
    let index = Index::open(dir.path()).unwrap();
    let all: Vec<(u64, Vec<u8>)> = index.iter().collect::<Result<_, _>>().unwrap();
    assert!(
        all.iter()
            .map(|(id, code)| (id, &code[..]))
            .eq(items.iter().map(|(id, (code, _))| (id, &code[..])))
    );
    let info = index.info();
    let sections = &info.segments[0].sections;
    let place = sections.iter().find(|section| format!("{:?}", section.kind) == "CodeOfRow");
    let path = dir.path().join(&info.segments[0].file);
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[place.unwrap().offset + 4 * (items.len() / 2) + 3] = 0xff;
    std::fs::write(&path, damaged).unwrap();
    let last = Index::open(dir.path()).unwrap().iter().last();
    assert!(matches!(last, Some(Err(Error::Corrupt { .. }))), "{last:?}");
}
