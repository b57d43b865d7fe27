//! Tests of the catalogue alone: committed changes are read back, format 1 is migrated, and files of others are refused.

use super::*;

fn entry(id: u64, code: &str, source: &str) -> Entry {
    let import = Some(import_key("cam", source));
    let record = Record {
        code: code.into(),
        labels: vec![1],
        source: Some(source.into()),
        import,
        ..Record::default()
    };
    let digest = Some(format!("digest of {source}"));
    Entry { id, record, thumbnail: vec![id as u8], digest, replaced: None, attributes: None }
}

fn removal(id: u64, code: &str) -> Removal {
    Removal { id, code: code.into() }
}

fn change<'a>(added: &'a [Entry], removed: &'a [Removal]) -> Change<'a> {
    Change { added, removed, ..Change::default() }
}

#[test]
fn what_is_committed_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).unwrap();
    let (a, c) = (entry(7, "0a", "a.png"), entry(9, "0c", "b/c.png"));
    catalogue.commit(&change(&[a, c.clone()], &[])).unwrap();
    catalogue.commit(&change(&[], &[removal(7, "0a"), removal(3, "03")])).unwrap();
    assert!(matches!(Catalogue::open(dir.path()), Err(Error::Locked { .. })));
    drop(catalogue);
    let catalogue = Catalogue::open(dir.path()).unwrap();
    assert_eq!(catalogue.record(9).unwrap(), Some(c.record));
    assert_eq!(catalogue.thumbnail(9).unwrap(), Some(vec![9]));
    assert_eq!((catalogue.record(7).unwrap(), catalogue.thumbnail(7).unwrap()), (None, None));
    let imported = |source| catalogue.imported(&import_key("cam", source)).unwrap().unwrap();
    assert_eq!((imported("a.png").item, imported("b/c.png").item), (None, Some(9)));
    assert_eq!(imported("a.png").digest.as_deref(), Some("digest of a.png"));
    assert!(catalogue.imported(&import_key("other", "a.png")).unwrap().is_none());
    assert_eq!(catalogue.last_id_below(u64::MAX).unwrap(), Some(9));
    assert_eq!(catalogue.last_id_below(9).unwrap(), Some(7), "ids of removed items count");
    assert!([3, 7, 9].iter().all(|id| catalogue.knows(*id).unwrap()));
    assert!(catalogue.former_codes(3).unwrap().contains("03"));
}

#[test]
fn an_item_that_is_replaced_or_moved_leaves_its_code_behind() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).unwrap();
    catalogue.commit(&change(&[entry(7, "0a", "a.png")], &[])).unwrap();
    catalogue.commit(&change(&[entry(7, "0b", "a.png")], &[])).unwrap();
    let former = catalogue.former_codes(7).unwrap();
    assert!(former.contains("0a") && !former.contains("0b"));
    // The item is added again, so its code is not a former one any more.
    catalogue.commit(&change(&[entry(7, "0a", "a.png")], &[])).unwrap();
    assert!(!catalogue.former_codes(7).unwrap().contains("0a"));
    catalogue.commit(&Change { moved: &[(7, 12)], ..Change::default() }).unwrap();
    let record = catalogue.record(12).unwrap().unwrap();
    assert_eq!((&*record.code, record.former_id), ("0a", Some(7)));
    assert_eq!(catalogue.thumbnail(12).unwrap(), Some(vec![7]));
    assert_eq!(catalogue.imported(&import_key("cam", "a.png")).unwrap().unwrap().item, Some(12));
    assert!(catalogue.record(7).unwrap().is_none());
    assert!(catalogue.former_codes(7).unwrap().contains("0a"));
}

/// Writes a catalogue in format 1.
fn write_format_1(dir: &Path) {
    let database = redb::Database::create(dir.join(FILE)).unwrap();
    let change = database.begin_write().unwrap();
    {
        let record = br#"{"code":"0a","labels":[1],"source":"a.png"}"#;
        change.open_table(ITEMS).unwrap().insert(7, &record[..]).unwrap();
        change.open_table(THUMBNAILS).unwrap().insert(7, &[7][..]).unwrap();
        change.open_table(SOURCES_1).unwrap().insert("a.png", 7).unwrap();
        change.open_table(REMOVED_1).unwrap().insert(3, ()).unwrap();
        change.open_table(META).unwrap().insert(MODEL, "model").unwrap();
    }
    change.commit().unwrap();
}

#[test]
fn a_catalogue_of_format_1_is_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    write_format_1(dir.path());
    for _ in 0..2 {
        let catalogue = Catalogue::open(dir.path()).unwrap();
        catalogue.check_model("model").unwrap();
        assert_eq!(catalogue.record(7).unwrap().unwrap().code, "0a");
        assert_eq!(catalogue.imported(&legacy_import_key("a.png")).unwrap().unwrap().item, Some(7));
        let former = catalogue.former_codes(3).unwrap();
        assert!(former.has_unknown && !former.contains("03"));
    }
    // A file of format 1 gets its own key once.
    let catalogue = Catalogue::open(dir.path()).unwrap();
    let key = import_key("cam", "a.png");
    let claim = Claim { path: "a.png".into(), key: key.clone(), digest: "d".into() };
    catalogue.commit(&Change { claimed: &[claim], ..Change::default() }).unwrap();
    assert!(catalogue.imported(&legacy_import_key("a.png")).unwrap().is_none());
    let file = catalogue.imported(&key).unwrap().unwrap();
    assert_eq!((file.item, file.digest.as_deref()), (Some(7), Some("d")));
    assert_eq!(catalogue.record(7).unwrap().unwrap().import, Some(key));
}

#[test]
fn a_catalogue_of_another_model_a_newer_one_or_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).unwrap();
    catalogue.check_model("model").unwrap();
    let error = catalogue.check_model("other").unwrap_err().to_string();
    assert!(error.contains("sha256 model") && error.contains("sha256 other"), "{error}");
    drop(catalogue);
    {
        let database = redb::Database::create(dir.path().join(FILE)).unwrap();
        let change = database.begin_write().unwrap();
        change.open_table(META).unwrap().insert(FORMAT_KEY, "4").unwrap();
        change.commit().unwrap();
    }
    let error = Catalogue::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("format 4") && error.contains("update the program"), "{error}");
    std::fs::write(dir.path().join(FILE), b"no catalogue").unwrap();
    let error = Catalogue::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(FILE), "{error}");
}

/// The bug: a restored snapshot of a former primary refused changes, and named a promotion that was not its own.
#[test]
fn a_copy_with_a_history_of_its_own_has_none_of_the_marks_of_the_former_one() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).unwrap();
    catalogue.keep_journal(1 << 20).unwrap();
    assert!(catalogue.supersede(3).unwrap() && catalogue.promote().unwrap());
    assert!(catalogue.supersede(9).unwrap());
    let snapshot = catalogue.snapshot().unwrap();
    snapshot.write_to(&copy.path().join(FILE), Copied::All, History::Dropped).unwrap();
    let lineage = |dir: &Path| Catalogue::open(dir).unwrap().lineage().unwrap();
    let former = catalogue.lineage().unwrap();
    assert!(former.superseded_by == 9 && former.fork.is_some());
    let copied = lineage(copy.path());
    assert!(copied.superseded_by == 0 && copied.fork.is_none(), "{copied:?}");
}

#[test]
fn a_file_that_took_the_place_of_an_open_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path()).unwrap();
    assert!(catalogue.is_current());
    std::fs::copy(dir.path().join(FILE), dir.path().join("copy")).unwrap();
    std::fs::rename(dir.path().join("copy"), dir.path().join(FILE)).unwrap();
    assert!(!catalogue.is_current());
}
