//! WALs behind a good data file, in three ways: records of a writer that are then cut, flipped or overwritten; records with checksums
//! that hold and payloads of the fuzzer's choice; a log of version 1, as earlier releases wrote it.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexWriter, Label, Labels};
use libfuzzer_sys::fuzz_target;
use support::{Input, WAL_HEADER, log_of_version_1, only_file, seal_wal_header, wal_record};

#[path = "../support.rs"]
mod support;

const BITS: u32 = 12;

fuzz_target!(|bytes: &[u8]| {
    let (dir, mut input) = (support::folder(), Input(bytes));
    match input.below(4) {
        0 => payloads_of_any_kind(&dir, &mut input),
        1 => a_log_of_version_1(&dir, &mut input),
        _ => a_damaged_wal(&dir, &mut input),
    }
});

/// Code and label by id.
type Items = BTreeMap<u64, ([u8; 2], i64)>;

fn set(items: &Items) -> CodeSet {
    let bytes = items.values().flat_map(|(code, _)| *code).collect();
    CodeSet {
        ids: Some(items.keys().copied().collect()),
        labels: Some(Labels::Single(items.values().map(|(_, label)| *label).collect())),
        ..CodeSet::new(Codes::new(BITS, bytes).expect("codes"))
    }
}

fn items_of(index: &Index) -> Items {
    let item = |id: u64| {
        let code = index.code(id).expect("a code").try_into().expect("two bytes");
        let Some(Label::Single(label)) = index.label(id) else { panic!("{id} has no label") };
        (id, (code, label))
    };
    index.ids().into_iter().map(item).collect()
}

fn item(input: &mut Input) -> ([u8; 2], i64) {
    ([input.byte(), input.byte() & 15], i64::from(input.byte() >> 1))
}

/// A writer's WAL: its bytes, where each record ends, and what the index holds without and with each record.
struct Written {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The end of the header, then of each record.
    ends: Vec<usize>,
    /// What the index holds before the first record, then after each.
    states: Vec<Items>,
}

/// Builds an index and makes some changes, one record each. Where the writer begins another WAL, the records start anew.
fn written(dir: &Path, input: &mut Input) -> Written {
    let mut items: Items =
        (0..30).map(|id| (id, ([id as u8 * 7, id as u8 & 3], id as i64 & 1))).collect();
    IndexBuilder::default().build(&set(&items), dir).expect("an index");
    let mut writer = IndexWriter::open(dir).expect("a writer");
    let mut written =
        Written { path: PathBuf::new(), bytes: Vec::new(), ends: Vec::new(), states: Vec::new() };
    for change in 0..2 + input.below(6) as u64 {
        let before = items.clone();
        if input.flag() || items.len() < 3 {
            let new = (0..1 + input.below(4) as u64).map(|i| (100 * (change + 1) + i, item(input)));
            let new: Items = new.collect();
            writer.add(&set(&new)).expect("a change");
            items.extend(new);
        } else {
            // One at a time: with more than a third removed, a merge would begin another log.
            let ids: Vec<u64> = items
                .keys()
                .copied()
                .skip(input.below(items.len()))
                .take(1)
                .collect();
            assert_eq!(writer.remove(&ids).expect("a change"), ids.len());
            items.retain(|id, _| !ids.contains(id));
        }
        let path = only_file(dir, "log-");
        let bytes = fs::read(&path).expect("a WAL");
        if path != written.path {
            written =
                Written { path, bytes: Vec::new(), ends: vec![WAL_HEADER], states: vec![before] };
        }
        assert!(bytes.starts_with(&written.bytes), "a record is appended to what is there");
        written.ends.push(bytes.len());
        written.states.push(items.clone());
        written.bytes = bytes;
    }
    written
}

/// What was acknowledged before the damage is there, or the WAL is refused and left as it is. A record that is whole and has damage
/// before it is never left out in silence.
fn a_damaged_wal(dir: &Path, input: &mut Input) {
    let Written { path, bytes, ends, states } = written(dir, input);
    let (damaged, range) = damaged(&bytes, input);
    if damaged == bytes {
        return;
    }
    fs::write(&path, &damaged).expect("a file");
    let intact = ends.iter().take_while(|&&end| end <= range.start).count();
    let follows =
        ends.windows(2).any(|record| range.end <= record[0] && record[1] <= damaged.len());
    let (index, writer) = (Index::open(dir), IndexWriter::open(dir));
    assert_eq!(index.is_ok(), writer.is_ok(), "reader and writer disagree");
    let (Ok(index), Ok(mut writer)) = (index, writer) else {
        assert!(
            intact == 0 || damaged.len() >= bytes.len(),
            "a WAL that was cut behind its header is refused"
        );
        assert_eq!(fs::read(&path).expect("the WAL"), damaged, "a WAL that is refused was changed");
        return;
    };
    assert!(intact > 0, "a damaged header is accepted");
    assert!(!follows, "damage before a whole record is taken for the end of the WAL");
    let mut items = states[intact - 1].clone();
    assert_eq!(items_of(&index), items, "the reader");
    assert_eq!(items_of(&writer.snapshot()), items, "the writer");
    // The writer goes on behind what counts.
    let new = Items::from([(1 << 40, item(input))]);
    writer.add(&set(&new)).expect("a change");
    items.extend(new);
    drop(writer);
    let index = Index::open(dir).expect("an index");
    index.verify().expect("a sound index");
    assert_eq!(items_of(&index), items, "after another change");
}

/// The bytes after damage, and which of them it touched: of a cut, all behind it.
fn damaged(bytes: &[u8], input: &mut Input) -> (Vec<u8>, Range<usize>) {
    let (mut damaged, at) = (bytes.to_vec(), input.below(bytes.len()));
    match input.below(5) {
        0 => {
            damaged.truncate(at);
            (damaged, at..bytes.len())
        }
        1 => {
            // What a file system may leave behind the end: zeros, or what was in a block before.
            damaged.extend_from_slice(input.take(200));
            damaged.resize(damaged.len() + input.below(100), 0);
            (damaged, bytes.len()..usize::MAX)
        }
        2 => {
            let garbage = input.take(1 + at % 60);
            let end = (at + garbage.len()).min(bytes.len());
            damaged[at..end].copy_from_slice(&garbage[..end - at]);
            let differs = |at: &usize| damaged[*at] != bytes[*at];
            let (first, last) = ((at..end).find(differs), (at..end).rev().find(differs));
            (damaged, first.unwrap_or(at)..last.map_or(at, |last| last + 1))
        }
        _ => {
            damaged[at] ^= 1 << input.below(8);
            (damaged, at..at + 1)
        }
    }
}

/// Records with checksums that hold, behind those of a writer. Whether they make sense or not, nothing panics; what is opened can be
/// searched and written on.
fn payloads_of_any_kind(dir: &Path, input: &mut Input) {
    let Written { path, mut bytes, ends, .. } = written(dir, input);
    let segment = only_file(dir, "segment-").file_stem().expect("a name").to_string_lossy()
        ["segment-".len()..]
        .to_owned();
    let segment = u64::from_str_radix(&segment, 16).expect("a checksum");
    if input.below(4) == 0 {
        // The header alone, with some other fields.
        bytes.truncate(WAL_HEADER);
        for _ in 0..1 + input.below(3) {
            bytes[input.below(WAL_HEADER - 8)] = input.byte();
        }
        seal_wal_header(&mut bytes);
    }
    let first = if bytes.len() == WAL_HEADER { 1 } else { ends.len() as u64 };
    for number in 0..1 + input.below(3) as u64 {
        let seq = if input.below(8) == 0 { input.number() } else { first + number };
        let payload = payload(input, segment);
        let record = wal_record(seq, &payload, &bytes);
        bytes.extend(record);
    }
    fs::write(&path, &bytes).expect("a file");
    use_all(dir);
}

/// A payload that is mostly as it should be, but for ids, codes and counts of the fuzzer's choice.
fn payload(input: &mut Input, segment: u64) -> Vec<u8> {
    let kind = input.below(4);
    if kind == 3 {
        return input.take(80).to_vec();
    }
    let count = |input: &mut Input, count: usize| match input.below(16) {
        0 => input.number(),
        _ => count as u64,
    };
    let mut payload = vec![if input.below(16) == 0 {
        input.byte()
    } else if kind == 2 {
        2
    } else {
        1
    }];
    if kind == 2 {
        payload.extend(if input.below(8) == 0 { input.u64() } else { segment }.to_le_bytes());
        let rows = (0..input.below(5)).map(|_| input.byte()).collect::<Vec<_>>();
        payload.extend(bitmap(rows));
        return payload;
    }
    for kind in [Some("removed"), None] {
        let mut ids: Vec<u64> = (0..input.below(4)).map(|_| input.number()).collect();
        if input.below(4) > 0 {
            ids.sort_unstable();
            ids.dedup();
        }
        payload.extend(count(input, ids.len()).to_le_bytes());
        payload.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        if kind.is_none() {
            let mask = if input.below(8) == 0 { 255 } else { 15 };
            payload.extend(ids.iter().flat_map(|_| [input.byte(), input.byte() & mask]));
            payload.extend(ids.iter().flat_map(|_| i64::from(input.byte()).to_le_bytes()));
        }
    }
    payload.extend_from_slice(if input.below(16) == 0 { input.take(9) } else { &[] });
    payload
}

/// Roaring's portable format: one container, an array of 16-bit numbers.
fn bitmap(mut rows: Vec<u8>) -> Vec<u8> {
    rows.sort_unstable();
    rows.dedup();
    if rows.is_empty() {
        return [12346_u32, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    }
    let mut bytes: Vec<u8> = [12346_u32, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend([0, rows.len() as u16 - 1].iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(rows.iter().flat_map(|&row| u16::from(row).to_le_bytes()));
    bytes
}

/// An index of format version 2 with a log, as an earlier release left it.
fn a_log_of_version_1(dir: &Path, input: &mut Input) {
    const SEGMENT: &[u8] = include_bytes!(
        "../../crates/dhih-index/tests/golden/v2/built/segment-001088590f8526a2.dhih"
    );
    const ENTRY: &str =
        r#"{"file":"segment-001088590f8526a2.dhih","bytes":3712,"xxh3":"001088590f8526a2"}"#;
    let checksum = xxhash_rust::xxh3::xxh3_64(format!(r#"[[{ENTRY}],"log-1.dhih"]"#).as_bytes());
    let manifest = format!(
        r#"{{"format":"dhih-index","version":2,"segments":[{ENTRY}],"log":"log-1.dhih","xxh3":"{checksum:016x}"}}"#
    );
    let payloads: Vec<Vec<u8>> = (0..input.below(4)).map(|_| payload_of_version_1(input)).collect();
    let mut log = log_of_version_1(20, 8, &payloads);
    log.extend_from_slice(input.take(40));
    for (name, bytes) in [
        ("segment-001088590f8526a2.dhih", SEGMENT),
        ("manifest.json", manifest.as_bytes()),
        ("log-1.dhih", &log),
    ] {
        fs::write(dir.join(name), bytes).expect("a file");
    }
    use_all(dir);
}

fn payload_of_version_1(input: &mut Input) -> Vec<u8> {
    let ids: Vec<u64> = (0..input.below(4)).map(|_| input.number()).collect();
    let words = ids.iter().flat_map(|id| id.to_le_bytes());
    match input.below(4) {
        0 => [2].into_iter().chain(words).collect(),
        1 => {
            let rows = (0..input.below(4)).map(|_| input.byte() % 16).collect();
            let segment = 0x0010_8859_0f85_26a2_u64.to_le_bytes();
            [3].into_iter().chain(segment).chain(bitmap(rows)).collect()
        }
        2 => input.take(60).to_vec(),
        _ => {
            let mut payload = vec![1];
            payload.extend((ids.len() as u64).to_le_bytes());
            payload.extend(words);
            payload
                .extend(ids.iter().flat_map(|_| [input.byte(), input.byte(), input.byte() & 15]));
            payload.extend(ids.iter().flat_map(|_| i64::from(input.byte() % 3).to_le_bytes()));
            payload
        }
    }
}

fn use_all(dir: &Path) {
    if let Ok(index) = Index::open(dir) {
        let query = vec![0; index.bits().div_ceil(8) as usize];
        let _ = (
            index.knn(&query, 3),
            index.within(&query, 2),
            index.ids(),
            index.info(),
            index.verify(),
        );
    }
    if let Ok(mut writer) = IndexWriter::open(dir) {
        writer.compact().expect("what was opened can be compacted");
        Index::open(dir).and_then(|index| index.verify()).expect("a sound index after compaction");
    }
}
