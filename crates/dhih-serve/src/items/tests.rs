//! Tests of items without a service: changes that fail halfway, files that disappear, and handing the files over.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Labels};

use super::catalogue::{Change, Entry, Record};
use super::*;

const MODEL: &str = "model";

fn build(dir: &Path) {
    let codes = CodeSet {
        labels: Some(Labels::Single(vec![0, 1, 2])),
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        ..CodeSet::new(Codes::new(8, vec![1, 2, 3]).unwrap())
    };
    IndexBuilder::default().build(&codes, dir).unwrap();
}

fn open(dir: &Path) -> Arc<LocalItems> {
    let opening = Opening {
        dir,
        model_sha256: Some(MODEL),
        access: Access::Writable,
        catalogue: None,
        makes_catalogue: true,
    };
    Arc::new(LocalItems::open(opening, |_| Ok(())).unwrap())
}

fn item(code: u8, label: i64) -> NewItem {
    let record = Record { code: format!("{code:02x}"), labels: vec![label], ..Record::default() };
    NewItem { id: ItemId::Next, record, thumbnail: vec![code], digest: None, attributes: None }
}

#[test]
fn a_change_that_the_index_refuses_leaves_nothing_in_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    // The catalogue accepts the label of a class that does not exist; the index does not.
    let refused = items.add(vec![item(9, 0), item(8, 99)]);
    assert!(matches!(refused, Err(ChangeError::Failed(_))), "{refused:?}");
    let catalogue = items.catalogue().unwrap();
    assert!((3..6).all(|id| catalogue.record(id).unwrap().is_none()));
    assert_eq!(items.index().ids(), [0, 1, 2]);
    assert!(items.is_writable());
    let added = items.add(vec![item(9, 0)]).unwrap();
    assert_eq!(items.index().code(added.ids().next().unwrap()), Some(&[9][..]));
    assert_eq!(items.last_error(), None);
    drop(items);
    assert_eq!(open(dir.path()).index().len(), 4, "nor is anything there after a restart");
}

fn keyword(value: &str) -> Attributes {
    let metadata = metadata::Metadata::new(serde_json::json!({ "camera": value })).unwrap();
    Attributes { external_id: Some(value.into()), metadata, ..Attributes::default() }
}

#[test]
fn what_was_kept_with_an_item_that_is_refused_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    let fields = metadata::Fields::default().with(&["camera=keyword".parse().unwrap()]).unwrap();
    items.declare(&fields).unwrap();
    let with =
        |code, label, value| NewItem { attributes: Some(keyword(value)), ..item(code, label) };
    // The catalogue accepts the label of a class that does not exist; the index does not.
    assert!(matches!(
        items.add(vec![with(9, 0, "a"), with(8, 99, "b")]),
        Err(ChangeError::Failed(_))
    ));
    let catalogue = items.catalogue().unwrap();
    let kept = |items: &LocalItems| {
        let camera = items.catalogue().unwrap().field_counts(9).remove(0);
        camera
            .values
            .into_iter()
            .map(|(value, items)| format!("{value} {items}"))
            .collect::<Vec<_>>()
    };
    assert_eq!((kept(&items), catalogue.item_of("a").unwrap()), (vec![], None));
    // A replaced item keeps its attributes until the new item is added.
    let id = items.add(vec![with(9, 0, "a")]).unwrap().ids().next().unwrap();
    let replacing = NewItem { id: ItemId::Upserted(None), ..with(8, 99, "a") };
    assert!(items.add(vec![replacing]).is_err());
    assert_eq!(catalogue.item_of("a").unwrap().map(|(id, _)| id), Some(id));
    let taken = items.add(vec![with(7, 0, "a")]);
    assert!(matches!(taken, Err(ChangeError::ExternalIdTaken { .. })), "{taken:?}");
    drop(items);
    let items = open(dir.path());
    assert_eq!(items.catalogue().unwrap().fields(), fields);
    assert_eq!(kept(&items), ["\"a\" 1"]);
}

/// The bug: the catalogue has a change before the index has it, so that a search in between found an item of the earlier index by metadata of
/// the later one, and a deleted item by a filter that excluded it.
#[test]
fn a_filter_selects_by_what_the_items_of_a_snapshot_had() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    let fields = metadata::Fields::default().with(&["camera=keyword".parse().unwrap()]).unwrap();
    items.declare(&fields).unwrap();
    let with = |id, code, value: Option<&str>| NewItem {
        id: ItemId::Upserted(Some(id)),
        attributes: Some(Attributes {
            external_id: None,
            ..value.map(keyword).unwrap_or_default()
        }),
        ..item(code, 0)
    };
    items.add(vec![with(0, 9, Some("a")), with(1, 8, None), with(2, 7, Some("a"))]).unwrap();
    let selected = |index: &Index, filter: &str| {
        let metadata = Some(metadata::MetadataFilter::parse(filter, &fields).unwrap());
        items.select(index, &Wanted { labels: None, metadata }).ids_from(0, 9)
    };
    let (a, not_a, b) = (
        r#"{"must": [{"field": "camera", "equals": "a"}]}"#,
        r#"{"must_not": [{"field": "camera", "equals": "a"}]}"#,
        r#"{"must": [{"field": "camera", "equals": "b"}]}"#,
    );
    let earlier = items.index();
    let found = |index: &Index| [a, not_a, b].map(|filter| selected(index, filter));
    let before = [vec![0, 2], vec![1], vec![]];
    assert_eq!(found(&earlier), before);
    items.remove(2).unwrap();
    assert_eq!(found(&earlier), before, "an item is deleted");
    items.add(vec![with(0, 6, Some("b")), with(1, 5, Some("b"))]).unwrap();
    assert_eq!(found(&earlier), before, "items are replaced");
    assert_eq!(found(&items.index()), [vec![], vec![0, 1], vec![0, 1]]);
    // Later metadata of an item that is the same count at once.
    let camera = metadata::Metadata::new(serde_json::json!({"camera": "a"})).unwrap();
    items.keep(vec![Kept { id: 1, external_id: None, metadata: camera }]).unwrap();
    assert_eq!(found(&items.index()), [vec![1], vec![0], vec![0]]);
}

/// The bug: each item was compared with the disk alone, so that an import gave one external id to two items.
#[test]
fn no_two_items_of_a_change_get_one_external_id() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    let kept = |id, external_id: &str| {
        let (external_id, metadata) = (Some(external_id.into()), metadata::Metadata::default());
        Kept { id, external_id, metadata }
    };
    let refused = items.keep(vec![kept(0, "x"), kept(1, "x")]);
    assert!(matches!(refused, Err(ChangeError::ExternalIdTaken { id: 0, .. })), "{refused:?}");
    items.keep(vec![kept(0, "x"), kept(1, "y")]).unwrap();
    let refused = items.keep(vec![kept(2, "x")]);
    assert!(matches!(refused, Err(ChangeError::ExternalIdTaken { id: 0, .. })), "{refused:?}");
    // Items may exchange external ids.
    items.keep(vec![kept(0, "y"), kept(1, "x")]).unwrap();
    let of = |external_id| items.find(&items.index(), external_id).unwrap();
    assert_eq!((of("x"), of("y")), (Some(1), Some(0)));
}

#[test]
fn what_the_catalogue_has_and_the_index_lacks_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    // This is the state after a crash between the catalogue and the index.
    let NewItem { record, thumbnail, .. } = item(9, 1);
    let added =
        [Entry { id: 7, record, thumbnail, digest: None, replaced: None, attributes: None }];
    let removed = [catalogue::Removal { id: 1, code: "02".into() }];
    let change = Change { added: &added, removed: &removed, ..Change::default() };
    items.catalogue().unwrap().commit(&change).unwrap();
    drop(items);
    let items = open(dir.path());
    assert_eq!(items.index().ids(), [0, 2, 7]);
    assert_eq!(items.index().code(7), Some(&[9][..]));
}

#[test]
fn items_that_are_given_away_refuse_changes_at_once_and_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let items = open(dir.path());
    assert!(items.is_current_at(dir.path()));
    items.close();
    assert!(matches!(items.add(vec![item(9, 0)]), Err(ChangeError::Reloading)));
    assert!(matches!(items.remove(0), Err(ChangeError::Reloading)));
    assert!(matches!(items.check_open(), Err(ChangeError::Reloading)));
    // Another writer can open the index meanwhile.
    drop(dhih_index::IndexWriter::open(dir.path()).unwrap());
    items.resume();
    items.add(vec![item(9, 0)]).unwrap();
    assert_eq!(items.index().len(), 4);
}

#[test]
fn files_that_are_away_for_a_while_are_changed_once_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let (index, away) = (dir.path().join("index"), dir.path().join("away"));
    build(&index);
    let items = open(&index);
    std::fs::rename(&index, &away).unwrap();
    let refused = items.add(vec![item(9, 0)]);
    assert!(matches!(refused, Err(ChangeError::NotWritable(_))), "{refused:?}");
    assert!(!items.is_writable() && items.last_error() == Some("replaced"));
    // A different index in the same place is not accepted.
    build(&index);
    assert!(matches!(items.remove(0), Err(ChangeError::NotWritable(_))));
    assert!(!items.is_current_at(&index));
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::rename(&away, &index).unwrap();
    let started = Instant::now();
    while !items.is_writable() {
        assert!(started.elapsed() < Duration::from_secs(60), "nobody has noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    items.add(vec![item(9, 0)]).unwrap();
    assert_eq!(items.index().len(), 4);
}
