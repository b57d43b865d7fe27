//! Salvage: a damaged log loses what is damaged and nothing else, and says so.

use super::*;
use crate::{Error, salvage};

#[test]
fn all_but_the_damaged_change_is_saved() {
    let (numbers, dir) = (&mut Numbers(3), folder());
    let items = begin(dir.path(), numbers);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let mut starts = Vec::new();
    for id in 900..904 {
        writer.add(&set(&[(id, ([1, 2], 0))].into())).unwrap();
        starts.push(writer.snapshot().log.unwrap().len as usize);
    }
    let generation = writer.snapshot().generation();
    drop(writer);
    let path = dir.path().join(format!("log-{generation}.dhih"));
    let whole = std::fs::read(&path).unwrap();
    let sound = salvage(dir.path(), false).unwrap();
    assert!(sound.is_sound() && sound.kept.is_none() && sound.records == 4, "{sound:?}");
    // The third change.
    let mut damaged = whole.clone();
    damaged[starts[1] + 40] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(Index::open(dir.path()), Err(Error::CorruptLog { .. })));
    let dry = salvage(dir.path(), true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
    assert_eq!((dry.codes, dry.records, dry.lost.len()), (items.len() + 3, 3, 1));
    let lost = &dry.lost[0];
    assert_eq!((lost.offset, lost.records), (starts[1] as u64, Some(1)));
    assert_eq!(lost.bytes, (starts[2] - starts[1]) as u64);
    let saved = salvage(dir.path(), false).unwrap();
    assert_eq!(saved.lost, dry.lost);
    assert_eq!(std::fs::read(saved.kept.unwrap()).unwrap(), damaged);
    let index = reopened(dir.path());
    assert_eq!((index.len(), index.contains(902)), (items.len() + 3, false));
    assert!(salvage(dir.path(), false).unwrap().is_sound());
}

#[test]
fn a_log_that_is_missing_or_of_another_index_is_lost_as_a_whole() {
    for missing in [true, false] {
        let (numbers, dir) = (&mut Numbers(3), folder());
        let items = begin(dir.path(), numbers);
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        writer.add(&set(&[(900, ([1, 2], 0))].into())).unwrap();
        let path = dir.path().join(format!("log-{}.dhih", writer.snapshot().generation()));
        drop(writer);
        match missing {
            true => std::fs::remove_file(&path).unwrap(),
            false => std::fs::write(&path, b"something else").unwrap(),
        }
        assert!(Index::open(dir.path()).is_err());
        let saved = salvage(dir.path(), false).unwrap();
        assert_eq!((saved.lost.len(), saved.records, saved.codes), (1, 0, items.len()));
        assert_eq!(held(&reopened(dir.path())), items);
    }
}

#[test]
fn damaged_tables_are_made_anew_and_damaged_codes_are_not_made_up() {
    let (numbers, dir) = (&mut Numbers(3), folder());
    let items = begin(dir.path(), numbers);
    let info = Index::open(dir.path()).unwrap().info();
    let path = dir.path().join(&info.segments[0].file);
    let sound = std::fs::read(&path).unwrap();
    let sections = info.segments[0].sections.iter().filter(|section| section.bytes > 0);
    for (section, at) in sections.flat_map(|section| [(section, 0), (section, section.bytes / 2)]) {
        let mut damaged = sound.clone();
        damaged[section.offset + at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let kind = format!("{:?}", section.kind);
        let result = salvage(dir.path(), true);
        match &*kind {
            "Codes" | "CodeOfRow" | "Ids" | "Labels" | "Vectors" | "Metadata" | "Substrings" => {
                assert!(result.is_err(), "{kind}");
            }
            _ => {
                let salvage = result.unwrap();
                assert_eq!((salvage.rebuilt.len(), salvage.codes), (1, items.len()), "{kind}");
            }
        }
    }
    let tables = info.segments[0]
        .sections
        .iter()
        .find(|section| format!("{:?}", section.kind) == "Directory");
    let mut damaged = sound;
    damaged[tables.unwrap().offset] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(!salvage(dir.path(), false).unwrap().is_sound());
    assert_eq!(held(&reopened(dir.path())), items);
}

/// The bug: of a manifest with a line feed too many, `verify` said that it is damaged and `salvage` that nothing is.
#[test]
fn a_manifest_of_another_text_is_written_anew() {
    let (numbers, dir) = (&mut Numbers(3), folder());
    let items = begin(dir.path(), numbers);
    let path = dir.path().join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n")).unwrap();
    let verify = || Index::open(dir.path()).unwrap().verify();
    assert!(verify().is_err());
    assert_eq!(salvage(dir.path(), true).unwrap().rebuilt, [path]);
    assert!(verify().is_err() && !salvage(dir.path(), false).unwrap().is_sound());
    verify().unwrap();
    assert!(salvage(dir.path(), false).unwrap().is_sound());
    assert_eq!(held(&reopened(dir.path())), items);
}

/// The bug: a class name with a flipped bit was kept, and got a new checksum with every merge.
#[test]
fn a_damaged_class_name_is_not_saved_under_a_new_checksum() {
    let dir = folder();
    let many =
        |ids: std::ops::Range<u64>| -> Items { ids.map(|id| (id, ([id as u8, 1], 1))).collect() };
    IndexBuilder::default().build(&set(&many(0..900)), dir.path()).unwrap();
    let first = Index::open(dir.path()).unwrap().info().segments[0].file.clone();
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    writer.add(&set(&many(1000..1300))).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.snapshot().info().segments.len(), 2);
    drop(writer);
    // The first of two segments, with which the other was compared.
    let path = dir.path().join(&first);
    let mut damaged = std::fs::read(&path).unwrap();
    let name = damaged.windows(3).position(|bytes| bytes == b"\"b\"").unwrap() + 1;
    damaged[name] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    for refused in [
        Index::open(dir.path()).map(drop),
        IndexWriter::open(dir.path()).map(drop),
        salvage(dir.path(), true).map(drop),
    ] {
        let Err(Error::Corrupt { path: named, what }) = refused else { panic!("{refused:?}") };
        assert!(named.ends_with(&first) && what.contains("Metadata"), "{named:?}: {what}");
    }
}
