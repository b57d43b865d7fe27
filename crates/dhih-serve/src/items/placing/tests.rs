//! Several items in one change: what they share of ids and external ids, and whether the change can be undone.

use std::path::Path;
use std::sync::Arc;

use dhih_index::{CodeSet, Codes, Index, IndexBuilder};

use super::super::catalogue::Record;
use super::super::metadata::{Attributes, Metadata};
use super::super::{Access, Changed, ItemId, LocalItems, NewItem, Opening};
use super::*;

fn open(dir: &Path) -> Arc<LocalItems> {
    let codes = Codes::new(8, vec![1, 2, 3]).unwrap();
    IndexBuilder::default().build(&CodeSet::new(codes), dir).unwrap();
    let (model_sha256, catalogue, access) = (None, None, Access::Writable);
    let opening = Opening { dir, model_sha256, access, catalogue, makes_catalogue: true };
    Arc::new(LocalItems::open(opening, |_| Ok(())).unwrap())
}

fn upsert(id: Option<u64>, external_id: Option<&str>) -> NewItem {
    let record = Record { code: "09".into(), ..Record::default() };
    let attributes = external_id.map(|external_id| Attributes {
        external_id: Some(external_id.into()),
        metadata: Metadata::new(serde_json::json!({ "of": external_id })).unwrap(),
        ..Attributes::default()
    });
    let id = ItemId::Upserted(id);
    NewItem { id, record, thumbnail: Vec::new(), digest: None, attributes }
}

fn ids(changed: &Changed) -> Vec<u64> {
    changed.ids().collect()
}

fn item_of(items: &LocalItems, external_id: &str) -> Option<u64> {
    items.find(&items.index(), external_id).unwrap()
}

#[test]
fn an_external_id_that_an_item_gives_up_in_the_same_change_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    let changed = items.add(vec![
        upsert(Some(10), Some("x")),
        upsert(Some(10), Some("y")),
        upsert(None, Some("x")),
    ]);
    assert_eq!(ids(&changed.unwrap()), [10, 10, 11]);
    assert_eq!((item_of(&items, "x"), item_of(&items, "y")), (Some(11), Some(10)));
    // The same where the item was there before.
    let changed = items.add(vec![upsert(Some(11), Some("z")), upsert(None, Some("x"))]);
    assert_eq!(ids(&changed.unwrap()), [11, 12]);
    let changed = items.add(vec![upsert(None, Some("x")), upsert(None, Some("x"))]);
    assert_eq!(ids(&changed.unwrap()), [12, 12]);
}

#[test]
fn an_item_without_attributes_keeps_those_of_the_one_before_it_in_the_same_change() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    items.add(vec![upsert(Some(10), Some("x")), upsert(Some(10), None)]).unwrap();
    assert_eq!(item_of(&items, "x"), Some(10));
    let kept = items.catalogue().unwrap().attributes(10, "09").unwrap().unwrap();
    assert!(!kept.metadata.is_empty());
}

/// What a change is undone by, after these items were placed.
fn undone(items: &LocalItems, index: &Index, new: Vec<NewItem>) -> Vec<bool> {
    let writing = items.writing.as_ref().unwrap();
    let mut placing = Placing::new(items, index, writing, writing.changes().numbers);
    for item in new {
        placing.place(item).unwrap();
    }
    placing.placed().touched.iter().map(|item| item.undo.is_some()).collect()
}

/// The bug: a batch that failed halfway was undone for its new items and completed for the others.
#[test]
fn a_change_is_undone_or_completed_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    let index = items.index();
    let new = || vec![upsert(Some(20), None), upsert(None, None)];
    assert_eq!(undone(&items, &index, new()), [true, true]);
    let mixed = [new(), vec![upsert(Some(1), None)]].concat();
    assert_eq!(undone(&items, &index, mixed), [false, false, false]);
}

/// The bug: such an item was not checked before the catalogue had it, after which there is no way back.
#[test]
fn an_item_in_the_place_of_one_of_another_request_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    let (index, writing) = (items.index(), items.writing.as_ref().unwrap());
    let mut placing = Placing::new(&items, &index, writing, writing.changes().numbers);
    placing.place(upsert(Some(10), None)).unwrap();
    placing.place(upsert(Some(11), None)).unwrap();
    let mark = placing.mark();
    placing.place(upsert(Some(12), None)).unwrap();
    placing.place(upsert(Some(10), None)).unwrap();
    let ids: Vec<u64> = placing.since(mark).iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [10, 12]);
}
