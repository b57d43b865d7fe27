//! Changes that end between catalogue and index, by a crash or by an error of the disk. The items keep their codes, which therefore do not
//! show what the index lacks.

use std::path::Path;
use std::sync::Arc;

use dhih_index::{CodeSet, Codes, IndexBuilder, Labels, VectorSet};

use super::super::catalogue::{Catalogue, Change, Entry, Record};
use super::super::check_index;
use super::super::metadata::Fields;
use super::super::writing::{Failed, Unsettled};
use super::super::{Access, LocalItems, Opening};

/// Two items with labels and vectors.
fn build(dir: &Path, labels: [i64; 2]) {
    let set = CodeSet {
        labels: Some(Labels::Single(labels.to_vec())),
        classes: ["a", "b"].map(String::from).to_vec(),
        vectors: Some(VectorSet::from_f32(2, &[1.0, 2.0, 3.0, 4.0]).unwrap()),
        ..CodeSet::new(Codes::new(8, vec![1, 2]).unwrap())
    };
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn open(dir: &Path) -> Arc<LocalItems> {
    let (model_sha256, catalogue, access) = (None, None, Access::Writable);
    let opening = Opening { dir, model_sha256, access, catalogue, makes_catalogue: true };
    Arc::new(LocalItems::open(opening, |_| Ok(())).unwrap())
}

/// An item in place of that with the id 0, which has the same code.
fn entry(label: i64, vector: [f32; 2]) -> Entry {
    let (labels, vector) = (vec![label], Some(vector.to_vec()));
    let record = Record { code: "01".into(), labels, vector, ..Record::default() };
    let replaced = Some("01".into());
    Entry { id: 0, record, thumbnail: Vec::new(), digest: None, replaced, attributes: None }
}

fn commit(catalogue: &Catalogue, entry: Entry) {
    catalogue.commit(&Change { added: &[entry], ..Change::default() }).unwrap();
}

/// Label and vector of the item 0 in the index.
fn found(items: &LocalItems) -> (String, Vec<f32>) {
    let index = items.index();
    (format!("{:?}", index.label(0).unwrap()), index.vector(0).unwrap())
}

#[test]
fn after_a_crash_the_index_gets_the_last_change_though_its_code_is_there() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), [0, 0]);
    let mut items = open(dir.path());
    for (label, vector) in [(1, [1.0, 2.0]), (1, [5.0, 6.0]), (0, [7.0, 8.0])] {
        let before = found(&items);
        commit(items.catalogue().unwrap(), entry(label, vector));
        drop(items);
        assert_eq!(check_index(dir.path()).unwrap().outdated, [0]);
        items = open(dir.path());
        assert_ne!(found(&items), before);
        assert_eq!(found(&items), (format!("Single({label})"), vector.to_vec()));
    }
    drop(items);
    // Labels of an index that was built anew are those of its maker.
    build(dir.path(), [1, 1]);
    let checked = check_index(dir.path()).unwrap();
    assert_eq!((&checked.outdated[..], &checked.differing[..]), (&[][..], &[0][..]));
    for _ in 0..2 {
        assert_eq!(found(&open(dir.path())), ("Single(1)".into(), vec![1.0, 2.0]));
    }
}

#[test]
fn the_next_change_completes_one_that_failed_though_its_code_is_there() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), [0, 0]);
    let items = open(dir.path());
    for (label, vector) in [(1, [1.0, 2.0]), (1, [5.0, 6.0])] {
        commit(items.catalogue().unwrap(), entry(label, vector));
        let failed = Failed { items: vec![Unsettled { id: 0, undo: None }], keys: Vec::new() };
        items.writing.as_ref().unwrap().changes().unsettled = Some(failed);
        items.remove(1).unwrap_or_default();
        assert_eq!(found(&items), (format!("Single({label})"), vector.to_vec()));
    }
}

#[test]
fn fields_that_are_on_disk_after_an_error_are_used() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), [0, 0]);
    let items = open(dir.path());
    let catalogue = items.catalogue().unwrap();
    let fields = Fields::default().with(&["camera=keyword".parse().unwrap()]).unwrap();
    catalogue.commit(&Change { fields: Some(&fields), ..Change::default() }).unwrap();
    assert_ne!(catalogue.fields(), fields);
    items.writing.as_ref().unwrap().changes().unsettled = Some(Failed::default());
    items.remove(1).unwrap();
    assert_eq!(catalogue.fields(), fields);
}
