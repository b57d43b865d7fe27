//! A log is read as it was written; whatever byte of it is changed, no acknowledged change is left out in silence.

use super::*;
use crate::codes::items::Items;

const SHAPE: Shape = Shape { bits: 12, label_bytes: 8, multi_hot: false, vectors: None };
const ORIGIN_HERE: Origin = Origin { id: 77, generation: 3 };

fn path() -> &'static Path {
    Path::new("x")
}

fn batch(removed: &[u64], ids: &[u64]) -> Change {
    let mut added = Items::default();
    for &id in ids {
        added.push(id, &[id as u8, 1], &(id as i64 % 3).to_le_bytes());
    }
    Change::Batch(BatchChange { removed: removed.to_vec(), added })
}

fn tombstones() -> Change {
    Change::Tombstones { segment: 9, rows: [1, 5, 900].into_iter().collect() }
}

/// A log of commits, and where each record begins.
fn log(commits: &[Vec<Change>]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut cursor) = begin(SHAPE, ORIGIN_HERE);
    let mut starts = Vec::new();
    for changes in commits {
        starts.push(bytes.len());
        let (record, next) = encode(changes, cursor).unwrap();
        bytes.extend(record);
        cursor = next;
    }
    (bytes, starts)
}

fn commits() -> Vec<Vec<Change>> {
    vec![
        vec![tombstones()],
        vec![batch(&[], &[3, 9])],
        vec![batch(&[3], &[4]), batch(&[9, 4], &[])],
        vec![batch(&[], &(100..150).collect::<Vec<_>>())],
        vec![batch(&[100], &[])],
    ]
}

#[test]
fn what_is_written_is_read_and_a_cut_leaves_the_records_before_it() {
    let commits = commits();
    let (bytes, starts) = log(&commits);
    let whole = parse(path(), &bytes, SHAPE, ORIGIN_HERE).unwrap();
    assert_eq!((whole.changes, whole.len), (commits.concat(), bytes.len()));
    assert!(whole.torn.is_none());
    for end in 0..bytes.len() {
        let read = parse(path(), &bytes[..end], SHAPE, ORIGIN_HERE);
        if end < starts[0] {
            assert!(read.is_err(), "{end}");
            continue;
        }
        let read = read.unwrap();
        let whole = starts.iter().skip(1).filter(|start| **start <= end).count();
        assert_eq!(read.changes, commits[..whole].concat(), "{end}");
        let torn = Torn { at: starts[whole], bytes: end - starts[whole] };
        assert_eq!(read.torn, Some(torn).filter(|torn| torn.bytes > 0), "{end}");
        // The file has its length, but the bytes were not written. If the bytes are zeros anyway, nothing is missing.
        let padded = [&bytes[..end], &vec![0; bytes.len() - end + 700][..]].concat();
        let read = parse(path(), &padded, SHAPE, ORIGIN_HERE).unwrap();
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        let same = ends.filter(|&end| padded[..end] == bytes[..end]).count();
        assert_eq!(read.changes, commits[..same].concat(), "{end}");
    }
}

/// Every byte of every record is changed in three ways. Each change is an error that says what is at stake, unless it is in the last
/// record, which cannot be distinguished from a torn one. All records before it are read in any case.
#[test]
fn no_changed_byte_leaves_a_change_out_in_silence() {
    let commits = commits();
    let (bytes, starts) = log(&commits);
    let last = *starts.last().unwrap();
    let mut torn = 0;
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            match parse(path(), &damaged, SHAPE, ORIGIN_HERE) {
                Ok(read) => {
                    assert!(at >= last, "byte {at} of a record that others follow");
                    assert_eq!(read.changes, commits[..commits.len() - 1].concat());
                    assert_eq!(read.torn, Some(Torn { at: last, bytes: bytes.len() - last }));
                    torn += 1;
                }
                Err(Error::CorruptLog { offset, bytes: stake, .. }) => {
                    let record = starts.iter().copied().rfind(|&start| start <= at);
                    let begins = record.unwrap_or(if at < HEADER { 0 } else { HEADER });
                    assert_eq!(offset, begins as u64, "{at}");
                    assert_eq!(stake, (bytes.len() - begins) as u64);
                }
                Err(Error::Version { .. }) => assert!((8..12).contains(&at)),
                Err(error) => panic!("{at}: {error}"),
            }
        }
    }
    assert!(torn > 0, "the last record's payload");
}

/// Sectors of the last record that a loss of power did not write, wherever the record lies.
#[test]
fn a_last_record_of_which_sectors_are_missing_is_torn() {
    for before in 0..40 {
        let first = batch(&(0..100 + before).collect::<Vec<_>>(), &[]);
        let long = batch(&[], &(0..100).collect::<Vec<_>>());
        let commits = [vec![first], vec![long]];
        let (bytes, starts) = log(&commits);
        let last = starts[1];
        for lost in last / 512..bytes.len().div_ceil(512) {
            let mut torn = bytes.clone();
            torn[(lost * 512).max(last)..((lost + 1) * 512).min(bytes.len())].fill(0);
            let read = parse(path(), &torn, SHAPE, ORIGIN_HERE).unwrap();
            // Zeros may have been there before.
            if torn != bytes {
                assert_eq!((&read.changes, read.len), (&commits[0], last));
                assert!(read.torn.is_some(), "{before} {lost}");
            }
        }
    }
}

#[test]
fn what_is_sound_behind_damage_is_recovered() {
    let commits = commits();
    let (bytes, starts) = log(&commits);
    for damaged in 0..commits.len() {
        for at in [0, 9, 17, RECORD] {
            let mut bytes = bytes.clone();
            bytes[starts[damaged] + at] ^= 4;
            let recovered = recover(path(), &bytes, SHAPE, ORIGIN_HERE).unwrap();
            let mut expected = commits.clone();
            expected.remove(damaged);
            assert_eq!(recovered.changes, expected.concat(), "{damaged} {at}");
            let end = starts.get(damaged + 1).copied();
            let lost = Lost {
                at: starts[damaged],
                bytes: end.unwrap_or(bytes.len()) - starts[damaged],
                records: end.map(|_| 1),
            };
            assert_eq!((recovered.lost, recovered.records), (vec![lost], commits.len() - 1));
        }
    }
}

#[test]
fn the_log_of_another_index_is_refused() {
    let (bytes, _) = log(&commits());
    let other = Shape { bits: 13, ..SHAPE };
    assert!(matches!(parse(path(), &bytes, other, ORIGIN_HERE), Err(Error::CorruptLog { .. })));
    for origin in [Origin { id: 78, generation: 3 }, Origin { id: 77, generation: 2 }] {
        let read = parse(path(), &bytes, SHAPE, origin);
        assert!(matches!(read, Err(Error::OtherIndex { .. })), "{origin:?}");
    }
    // A checkpoint has a later generation than the log that it copied.
    assert!(parse(path(), &bytes, SHAPE, Origin { id: 77, generation: 4 }).is_ok());
}

#[test]
fn sound_records_that_make_no_sense_are_refused() {
    let wide = batch(&[], &[1]);
    let Change::Batch(mut twice) = wide else { panic!() };
    twice.added.push(1, &[1, 1], &[0; 8]);
    let (bytes, cursor) = begin(SHAPE, ORIGIN_HERE);
    let (twice, _) = encode(&[Change::Batch(twice)], cursor).unwrap();
    let payloads = [&[][..], &[9], &[COMMIT, 1], &[TOMBSTONES, 1], &[ORIGIN; 33]];
    let records = payloads.map(|payload| record(payload, cursor)).into_iter().chain([twice]);
    for record in records {
        let read = parse(path(), &[&bytes[..], &record].concat(), SHAPE, ORIGIN_HERE);
        assert!(matches!(read, Err(Error::CorruptLog { .. })), "{record:?}");
    }
}

/// The log of version 1 that the test below damages: its records as they were written then.
fn log_of_version_1() -> (Vec<u8>, Vec<usize>) {
    let mut bytes = header(1, SHAPE);
    let (mut chain, mut starts) = (header_checksum(&bytes), Vec::new());
    let mut added = vec![1, 2, 0, 0, 0, 0, 0, 0, 0];
    added.extend([3_u64, 9].map(u64::to_le_bytes).concat());
    added.extend([3, 1, 9, 1]);
    added.extend([0_i64, 1].map(i64::to_le_bytes).concat());
    let removed = |id: u64| [&[2][..], &id.to_le_bytes()].concat();
    for payload in [added, removed(3), removed(9)] {
        starts.push(bytes.len());
        bytes.extend((payload.len() as u64).to_le_bytes());
        chain = xxh3_64_with_seed(&payload, chain);
        bytes.extend(chain.to_le_bytes());
        bytes.extend(payload);
    }
    (bytes, starts)
}

#[test]
fn damage_in_a_log_of_version_1_is_told_from_a_torn_end() {
    let (bytes, starts) = log_of_version_1();
    let whole = parse(path(), &bytes, SHAPE, Origin::default()).unwrap();
    assert_eq!((whole.changes.len(), whole.len, whole.torn), (3, bytes.len(), None));
    for end in HEADER..bytes.len() {
        let read = parse(path(), &bytes[..end], SHAPE, Origin::default()).unwrap();
        let records = starts.iter().skip(1).filter(|start| **start <= end).count();
        assert_eq!(read.changes, whole.changes[..records], "{end}");
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        match parse(path(), &damaged, SHAPE, Origin::default()) {
            Ok(read) => {
                assert!(at >= starts[2], "{at}");
                assert_eq!((read.changes.len(), read.torn.is_some()), (2, true));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= starts[2]);
}
