//! A primary and a copy without services around them: the same changes, crashes between catalogue and index, and what a journal keeps.

use std::path::Path;

use dhih_index::{CodeSet, Codes, IndexBuilder, Labels};

use super::*;
use crate::items::catalogue::{Change, Entry, Reach};
use crate::items::{Access, ItemId, NewItem, Opening};

const BYTES: u64 = 1 << 20;

fn build(dir: &Path, codes: Vec<u8>) {
    let labels = Some(Labels::Single(vec![0; codes.len()]));
    let classes = ["a", "b"].map(String::from).to_vec();
    let codes = Codes::new(8, codes).unwrap();
    let set = CodeSet { labels, classes, ..CodeSet::new(codes) };
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn opened(dir: &Path, access: Access) -> Result<Arc<LocalItems>> {
    let opening =
        Opening { dir, model_sha256: None, access, catalogue: None, makes_catalogue: true };
    LocalItems::open(opening, |_| Ok(())).map(Arc::new)
}

fn open(dir: &Path, access: Access) -> Arc<LocalItems> {
    opened(dir, access).unwrap()
}

fn item(id: u64, code: u8, label: i64) -> NewItem {
    let record = Record { code: format!("{code:02x}"), labels: vec![label], ..Record::default() };
    let id = ItemId::Upserted(Some(id));
    NewItem { id, record, thumbnail: vec![code], digest: None, attributes: None }
}

/// A primary and a copy of it.
fn pair(dir: &Path) -> (Arc<LocalItems>, Arc<LocalItems>) {
    build(&dir.join("primary"), vec![1, 2, 3]);
    let primary = open(&dir.join("primary"), Access::Writable);
    primary.keep_journal(BYTES).unwrap();
    primary.add(vec![item(3, 9, 1)]).unwrap();
    let copy = dir.join("copy");
    let position = primary.snapshot_to_follow(&copy).unwrap();
    let catalogue = Catalogue::open(&copy).unwrap();
    assert_eq!(catalogue.head().unwrap(), position);
    catalogue.set_primary("http://primary").unwrap();
    drop(catalogue);
    let copy = open(&copy, Access::Follower);
    assert_eq!(copy.position(), position);
    (primary, copy)
}

fn after(primary: &LocalItems, copy: &LocalItems) -> Vec<LoggedChange> {
    let (at, last) = (copy.position().unwrap(), primary.position().unwrap());
    let catalogue = primary.catalogue().unwrap();
    assert_eq!(catalogue.reach(&at).unwrap(), Reach::Here);
    catalogue.logged(at.number, last.number, usize::MAX).unwrap()
}

fn are_equal(a: &LocalItems, b: &LocalItems) {
    let (one, other) = (a.index(), b.index());
    assert_eq!(one.ids(), other.ids());
    for id in one.ids() {
        assert_eq!(one.code(id), other.code(id), "item {id}");
        assert_eq!(format!("{:?}", one.label(id)), format!("{:?}", other.label(id)));
    }
    assert_eq!(a.position(), b.position());
}

#[test]
fn a_copy_makes_the_same_changes_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (primary, copy) = pair(dir.path());
    primary.add(vec![item(4, 7, 0), item(1, 8, 1)]).unwrap();
    primary.remove(2).unwrap();
    // The same code with another label.
    primary.add(vec![item(4, 7, 1)]).unwrap();
    let changes = after(&primary, &copy);
    assert_eq!(changes.len(), 3);
    let position = copy.replay(changes.clone()).unwrap();
    assert_eq!(Some(position), primary.position());
    are_equal(&primary, &copy);
    assert_eq!(copy.catalogue().unwrap().thumbnail(1).unwrap(), Some(vec![8]));
    // What was made is not made again, nor is anything out of order or spoiled.
    let refused = copy.replay(changes);
    assert!(matches!(refused, Err(ReplayError::NotNext { .. })), "{refused:?}");
    primary.remove(0).unwrap();
    primary.remove(1).unwrap();
    let next = after(&primary, &copy);
    let refused = copy.replay(next[1..].to_vec());
    assert!(matches!(refused, Err(ReplayError::NotNext { .. })), "{refused:?}");
    let mut spoiled = next.clone();
    *spoiled[1].payload.last_mut().unwrap() ^= 1;
    assert!(matches!(copy.replay(spoiled), Err(ReplayError::NotNext { .. })));
    assert!(copy.index().contains(0), "of a group of which one is wrong none is made");
    copy.replay(next).unwrap();
    are_equal(&primary, &copy);
    for refused in [copy.add(vec![item(9, 9, 0)]).map(drop), copy.remove(3)] {
        assert!(matches!(refused, Err(ChangeError::Follows(ref at)) if at == "http://primary"));
    }
    assert!(
        !copy.is_writable() && matches!(primary.replay(Vec::new()), Err(ReplayError::NotFollowing))
    );
}

/// A change of these items begins, of which the index gets nothing.
fn begin(items: &LocalItems, touched: &[u64]) {
    let untouched = of_all_but(&items.index(), &touched.iter().copied().collect());
    items.catalogue().unwrap().set_untouched(untouched);
}

/// By its code alone it would not be seen that an item has another label.
#[test]
fn what_only_the_catalogue_has_after_a_crash_is_in_the_index_again() {
    let dir = tempfile::tempdir().unwrap();
    let (primary, copy) = pair(dir.path());
    primary.add(vec![item(3, 9, 0), item(4, 7, 1)]).unwrap();
    let changes = after(&primary, &copy);
    let at = copy.dir().to_owned();
    let read = changes.iter().map(|it| ReadChange::decode(&it.payload).unwrap());
    let read: Vec<_> = changes.iter().cloned().zip(read).collect();
    begin(&copy, &[3, 4]);
    copy.catalogue().unwrap().replay(&read).unwrap();
    assert_eq!(copy.position().map(|it| it.number), Some(1), "the index does not have it");
    drop(copy);
    are_equal(&primary, &open(&at, Access::Follower));
    // The same at the primary itself.
    let record = Record { code: "07".into(), labels: vec![0], ..Record::default() };
    let entry = Entry {
        id: 4,
        record,
        thumbnail: Vec::new(),
        digest: None,
        replaced: Some("07".into()),
        attributes: None,
    };
    let change = Change { added: &[entry], ..Change::default() };
    begin(&primary, &[4]);
    primary.catalogue().unwrap().commit(&change).unwrap();
    let at = primary.dir().to_owned();
    drop(primary);
    let primary = open(&at, Access::Writable);
    assert_eq!(format!("{:?}", primary.index().label(4)), "Some(Single(0))");
    assert_eq!(primary.position().map(|it| it.number), Some(3));
}

#[test]
fn another_index_in_its_place_begins_another_history() {
    let dir = tempfile::tempdir().unwrap();
    let (primary, copy) = pair(dir.path());
    let (at, position) = (primary.dir().to_owned(), copy.position().unwrap());
    drop(primary);
    build(&at, vec![5, 6]);
    let primary = open(&at, Access::Writable);
    assert_ne!(primary.catalogue().unwrap().reach(&position).unwrap(), Reach::Here);
    assert!(primary.position().unwrap().number > position.number, "numbers are not used again");
}

#[test]
fn a_copy_is_opened_for_what_it_is_until_it_is_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let (primary, copy) = pair(dir.path());
    let at = copy.dir().to_owned();
    drop(copy);
    assert!(matches!(opened(&at, Access::Writable), Err(Error::IsFollower { .. })));
    let of_primary = primary.dir().to_owned();
    drop(primary);
    assert!(matches!(opened(&of_primary, Access::Follower), Err(Error::NotAFollower { .. })));
    // An index that never had a catalogue was taken for a promoted copy, and gets none from being refused.
    let plain = dir.path().join("plain");
    build(&plain, vec![1]);
    assert!(matches!(opened(&plain, Access::Follower), Err(Error::NotAFollower { .. })));
    assert!(!Catalogue::is_in(&plain));
    let copy = open(&at, Access::Follower);
    let before = copy.position().unwrap();
    assert!(copy.promote().unwrap() && !copy.promote().unwrap());
    copy.add(vec![item(9, 9, 0)]).unwrap();
    assert_eq!(copy.position().map(|it| it.number), Some(before.number + 2));
    let catalogue = copy.catalogue().unwrap();
    assert_eq!(catalogue.reach(&before).unwrap(), Reach::Here, "others go on from where they are");
    drop(copy);
    for access in [Access::Follower, Access::Writable] {
        assert!(open(&at, access).is_writable());
    }
}

/// A snapshot replaces a copy. A promotion that came between the two was undone, and the changes after it were deleted.
#[test]
fn a_copy_is_either_replaced_or_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let (_primary, copy) = pair(dir.path());
    assert!(copy.close_copy());
    assert!(matches!(copy.promote(), Err(ChangeError::Reloading)));
    copy.resume();
    assert!(copy.promote().unwrap());
    assert!(!copy.close_copy());
    copy.add(vec![item(9, 9, 0)]).unwrap();
}

#[test]
fn a_journal_keeps_the_last_changes_and_says_what_it_does_not_keep() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), vec![1]);
    let primary = open(dir.path(), Access::Writable);
    let catalogue = primary.catalogue().unwrap().clone();
    assert_eq!((primary.position(), catalogue.logged(0, 9, 9).unwrap()), (None, Vec::new()));
    primary.keep_journal(4096).unwrap();
    let begin = primary.position().unwrap();
    let reach = |at: &Position| catalogue.reach(at).unwrap();
    let mut positions = vec![begin];
    for n in 0..40 {
        primary.add(vec![item(n, n as u8, 0)]).unwrap();
        positions.push(primary.position().unwrap());
    }
    assert_eq!(reach(&begin), Reach::TooFarBehind);
    assert_eq!(reach(&positions[40]), Reach::Here);
    assert_eq!(reach(&Position { number: 41, ..positions[40] }), Reach::OtherHistory);
    assert_eq!(reach(&Position { number: 39, ..positions[40] }), Reach::OtherHistory);
    let kept = positions.iter().filter(|at| reach(at) == Reach::Here).count();
    assert!((5..40).contains(&kept), "{kept}");
    let rows = catalogue.logged(40 - kept as u64 + 1, 40, usize::MAX).unwrap();
    assert!(rows.iter().zip(&positions[41 - kept + 1..]).all(|(row, at)| row.position() == *at));
    // A compaction drops what was changed, and whoever has all of it goes on.
    primary.compact(crate::items::Copied::All).unwrap();
    assert_eq!((reach(&positions[40]), reach(&positions[39])), (Reach::Here, Reach::TooFarBehind));
    primary.add(vec![item(50, 50, 0)]).unwrap();
    assert_eq!(catalogue.logged(40, 41, usize::MAX).unwrap().len(), 1);
    // A snapshot to restore has no part in the history, and neither has who ended it.
    primary.snapshot(&dir.path().join("snapshot")).unwrap();
    assert_eq!(open(&dir.path().join("snapshot"), Access::Writable).position(), None);
    primary.keep_journal(0).unwrap();
    assert_eq!((primary.position(), reach(&positions[40])), (None, Reach::NoJournal));
    primary.keep_journal(4096).unwrap();
    assert_eq!(reach(&begin), Reach::OtherHistory, "the same number, and another history");
}

/// `dhih-index upsert` and others write no journal, and items may be as many as before.
#[test]
fn a_change_by_another_program_begins_another_history() {
    let dir = tempfile::tempdir().unwrap();
    let (primary, copy) = pair(dir.path());
    let (at, copied) = (primary.dir().to_owned(), copy.dir().to_owned());
    let changed = |dir: &Path| {
        let mut writer = dhih_index::IndexWriter::open(dir).unwrap();
        let codes = Codes::new(8, vec![0xee]).unwrap();
        let labels = Some(Labels::Single(vec![0]));
        writer.upsert(&CodeSet { ids: Some(vec![1]), labels, ..CodeSet::new(codes) }).unwrap();
    };
    let reach = |items: &LocalItems, at: &Position| items.catalogue().unwrap().reach(at).unwrap();
    let position = primary.position().unwrap();
    drop(primary);
    for access in [Access::Writable, Access::Writable] {
        let primary = open(&at, access);
        assert_eq!(primary.position(), Some(position), "nothing has changed");
    }
    changed(&at);
    let primary = open(&at, Access::Writable);
    assert_ne!(reach(&primary, &position), Reach::Here);
    let position = primary.position().unwrap();
    primary.remove(0).unwrap();
    drop(primary);
    assert_eq!(reach(&open(&at, Access::Writable), &position), Reach::Here, "and no other one");
    // Of a copy, too.
    let position = copy.position().unwrap();
    drop(copy);
    changed(&copied);
    assert_ne!(open(&copied, Access::Follower).position().unwrap(), position);
}
