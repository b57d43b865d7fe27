//! Codes files: what is written is read, and each file that is not as its format demands is refused with a reason.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use common::{cut, poke, small_set};
use dhih_index::{CodeSet, Codes, Error, Index, IndexBuilder, Labels};
use safetensors::tensor::{Dtype, TensorView, serialize};

#[test]
fn sets_come_back_as_they_were_and_equal_sets_make_equal_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.safetensors");
    let set = small_set();
    let multi = Labels::MultiHot { classes: 3, values: vec![1; 36] };
    let empty = CodeSet::new(Codes::new(48, vec![]).unwrap());
    let bare = CodeSet::new(set.codes.clone());
    for set in [CodeSet { labels: Some(multi), ..set.clone() }, empty, bare, set] {
        set.write(&path).unwrap();
        assert_eq!(CodeSet::read(&path, None).unwrap(), set);
        let first = fs::read(&path).unwrap();
        set.write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }
}

#[test]
fn npy_holds_the_codes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.npy");
    small_set().write(&path).unwrap();
    assert_eq!(CodeSet::read(&path, Some(20)).unwrap(), CodeSet::new(small_set().codes));
    assert!(matches!(CodeSet::read(&path, None), Err(Error::BitsNeeded { .. })));
    assert!(matches!(CodeSet::read(&path, Some(48)), Err(Error::CodesFile { .. })));
    assert!(matches!(CodeSet::read(&path, Some(0)), Err(Error::Bits { bits: 0 })));
    assert!(matches!(CodeSet::read(&path, Some(17)), Err(Error::Padding { .. })));
}

/// Codes are the same in memory and in a mapped file, and so are the indexes that are built of them.
#[test]
fn codes_that_stay_in_their_file_are_the_codes() {
    let dir = tempfile::tempdir().unwrap();
    let codes = CodeSet::new(small_set().codes);
    for (name, set) in
        [("c.safetensors", small_set()), ("c.parquet", small_set()), ("c.npy", codes)]
    {
        let path = dir.path().join(name);
        set.write(&path).unwrap();
        let mapped = CodeSet::map(&path, Some(20)).unwrap();
        assert_eq!(mapped, set, "{name}");
        // Another file that takes the name does not change the mapped one.
        CodeSet::new(Codes::new(20, vec![0; 3]).unwrap()).write(&path).unwrap();
        assert_eq!(mapped.clone(), set, "{name}");
        let [one, other] = ["one", "other"].map(|index| dir.path().join(index));
        let indexes = [common::build(&mapped, &one, None), common::build(&set, &other, None)];
        assert_eq!(
            fs::read(one.join("manifest.json")).unwrap(),
            fs::read(other.join("manifest.json")).unwrap()
        );
        for index in &indexes {
            index.verify().unwrap();
        }
    }
}

#[test]
fn a_mapped_file_that_was_cut_or_overwritten_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let set = CodeSet::new(Codes::new(64, vec![7; 8 << 12]).unwrap());
    for name in ["codes.npy", "codes.safetensors"] {
        let path = dir.path().join(name);
        let refused = |change: &dyn Fn(&fs::File)| {
            set.write(&path).unwrap();
            let mapped = CodeSet::map(&path, Some(64)).unwrap();
            mapped.check().unwrap();
            change(&fs::File::options().write(true).open(&path).unwrap());
            let error = mapped.check().unwrap_err();
            assert!(error.to_string().contains("it was overwritten or cut"), "{error}");
            let index = dir.path().join("index");
            let built = IndexBuilder::default().build(&mapped, &index);
            assert!(matches!(built, Err(Error::CodesFile { .. })) && Index::open(&index).is_err());
        };
        refused(&|file| file.set_len(4096).unwrap());
        refused(&|file| file.set_modified(SystemTime::UNIX_EPOCH).unwrap());
    }
}

#[test]
fn missing_empty_cut_and_flipped_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(CodeSet::read(dir.path().join("none"), None), Err(Error::Io { .. })));
    assert!(matches!(CodeSet::map(dir.path().join("none"), None), Err(Error::Io { .. })));
    for (name, bits) in [("codes.safetensors", None), ("codes.npy", Some(20))] {
        let path = dir.path().join(name);
        fs::write(&path, b"").unwrap();
        assert!(matches!(CodeSet::read(&path, bits), Err(Error::CodesFile { .. })));
        assert!(matches!(CodeSet::map(&path, bits), Err(Error::CodesFile { .. })));
        small_set().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in (0..whole.len()).rev() {
            cut(&path, end);
            assert!(CodeSet::read(&path, bits).is_err(), "{name} cut at {end}");
            assert!(CodeSet::map(&path, bits).is_err(), "{name} cut at {end}");
        }
        fs::write(&path, &whole).unwrap();
        // Codes files have no checksum, so that a flipped bit in a code gives another code. It must neither panic nor give a set
        // that does not fit together.
        for (at, &byte) in whole.iter().enumerate() {
            for flip in [1, 0x80] {
                poke(&path, at, byte ^ flip);
                if let Ok(set) = CodeSet::read(&path, bits) {
                    set.check().unwrap();
                    assert_eq!(set.codes.len(), 12);
                }
            }
            poke(&path, at, byte);
        }
    }
}

#[test]
fn safetensors_that_hold_no_codes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.safetensors");
    type Tensors<'a> = Vec<(&'a str, Dtype, Vec<usize>)>;
    let read = |metadata: &[(&str, &str)], tensors: Tensors| {
        let zeros = vec![0; 1024];
        let views = tensors.into_iter().map(|(name, dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (name, TensorView::new(dtype, shape, &zeros[..bytes]).unwrap())
        });
        let metadata: HashMap<_, _> =
            metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        fs::write(&path, serialize(views, Some(metadata)).unwrap()).unwrap();
        CodeSet::read(&path, None)
    };
    let bits = ("dhih.bits", "16");
    let codes = ("codes", Dtype::U8, vec![3, 2]);
    assert_eq!(read(&[bits], vec![codes.clone()]).unwrap().codes.len(), 3);
    let bad: [(&[_], Tensors); 12] = [
        (&[], vec![codes.clone()]),
        (&[("dhih.bits", "many")], vec![codes.clone()]),
        (&[("dhih.bits", "-1")], vec![codes.clone()]),
        (&[("dhih.bits", "17")], vec![codes.clone()]),
        (&[bits], vec![]),
        (&[bits], vec![("codes", Dtype::I8, vec![3, 2])]),
        (&[bits], vec![("codes", Dtype::U8, vec![6])]),
        (&[bits], vec![codes.clone(), ("ids", Dtype::F64, vec![3])]),
        (&[bits], vec![codes.clone(), ("ids", Dtype::U64, vec![3, 1])]),
        (&[bits], vec![codes.clone(), ("labels", Dtype::F32, vec![3])]),
        (&[bits], vec![codes.clone(), ("labels", Dtype::I32, vec![3, 2])]),
        (&[bits, ("dhih.classes", "cat")], vec![codes.clone()]),
    ];
    for (case, (metadata, tensors)) in bad.into_iter().enumerate() {
        let error = read(metadata, tensors).unwrap_err();
        assert!(matches!(error, Error::CodesFile { .. }), "case {case}: {error}");
    }
    for count in ["0", "4097"] {
        let error = read(&[("dhih.bits", count)], vec![codes.clone()]).unwrap_err();
        assert!(matches!(error, Error::Bits { .. }));
    }
    let with =
        |name, dtype, shape| read(&[bits], vec![codes.clone(), (name, dtype, shape)]).unwrap_err();
    assert!(matches!(
        with("ids", Dtype::U64, vec![2]),
        Error::Count { what: "ids", codes: 3, found: 2 }
    ));
    assert!(matches!(
        with("ids", Dtype::U64, vec![3]),
        Error::DuplicateId { id: 0, first: 0, second: 1 }
    ));
    assert!(matches!(with("labels", Dtype::I64, vec![4]), Error::Count { what: "labels", .. }));
    assert!(matches!(with("labels", Dtype::U8, vec![4, 2]), Error::Count { what: "labels", .. }));
    assert!(matches!(with("labels", Dtype::U8, vec![3, 0]), Error::MultiHot { .. }));
}

#[test]
fn sets_whose_parts_do_not_fit_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.safetensors");
    let refused = |set: CodeSet, what: fn(&Error) -> bool| {
        let error = set.write(&path).unwrap_err();
        assert!(what(&error), "{error}");
        assert!(!path.exists());
    };
    let set = small_set;
    let single = |label| Some(Labels::Single([vec![0; 11], vec![label]].concat()));
    let multi = |classes, values| Some(Labels::MultiHot { classes, values });
    refused(CodeSet { ids: Some(vec![1]), ..set() }, |e| matches!(e, Error::Count { .. }));
    refused(CodeSet { ids: Some(vec![9; 12]), ..set() }, |e| {
        matches!(e, Error::DuplicateId { id: 9, first: 0, second: 1 })
    });
    refused(CodeSet { labels: single(3), ..set() }, |e| {
        matches!(e, Error::Label { row: 11, label: 3, classes: 3 })
    });
    refused(CodeSet { labels: single(-2), ..set() }, |e| {
        matches!(e, Error::Label { label: -2, .. })
    });
    refused(CodeSet { labels: Some(Labels::Single(vec![])), ..set() }, |e| {
        matches!(e, Error::Count { .. })
    });
    refused(CodeSet { labels: multi(2, vec![0; 24]), ..set() }, |e| {
        matches!(e, Error::MultiHot { .. })
    });
    refused(CodeSet { labels: multi(3, vec![2; 36]), ..set() }, |e| {
        matches!(e, Error::MultiHot { .. })
    });
    refused(CodeSet { labels: multi(3, vec![0; 35]), ..set() }, |e| {
        matches!(e, Error::MultiHot { .. })
    });
    refused(CodeSet { labels: multi(3, vec![0; 33]), ..set() }, |e| {
        matches!(e, Error::Count { .. })
    });
    let lost = set().write(Path::new("/nowhere/at/all/codes.safetensors")).unwrap_err();
    assert!(matches!(lost, Error::Io { action: "write", .. }));
}

#[test]
fn a_wrong_number_of_bits_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.safetensors");
    small_set().write(&path).unwrap();
    assert!(CodeSet::read(&path, Some(20)).is_ok());
    let error = CodeSet::read(&path, Some(24)).unwrap_err();
    assert!(matches!(error, Error::BitsDiffer { expected: 24, found: 20, .. }));
}
