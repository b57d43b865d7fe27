//! The log of changes since the data files were written: what was added and removed, one record a change. A record counts when it
//! is whole; each has a checksum that depends on those before it. The layout is in docs/src/FORMAT.md. What changes mean:
//! `index.rs` reads them, `writer.rs` writes them.

use std::path::Path;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::memtable::Chunk;

const MAGIC: [u8; 8] = *b"DHIHLOG\n";
const VERSION: u32 = 1;
const HEAD: usize = 32;
const RECORD: usize = 16;

/// A change.
#[derive(Debug)]
pub(crate) enum Change {
    /// Items that are new.
    Add(Chunk),
    /// Ids of items that are gone.
    Remove(Vec<u64>),
    /// Rows that are gone from the data file whose header has this checksum.
    Dropped(u64, RoaringBitmap),
}

/// What the items of a log look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) bits: u32,
    /// Bytes of the labels of an item: 8 for a number, else a byte a class; 0 where there are none.
    pub(crate) label_bytes: u32,
    pub(crate) multi_hot: bool,
}

/// The first bytes of a log.
pub(crate) fn head(shape: Shape) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(shape.bits.to_le_bytes());
    head.extend(shape.label_bytes.to_le_bytes());
    head.extend(u32::from(shape.multi_hot).to_le_bytes());
    head.extend(xxh3_64(&head).to_le_bytes());
    head
}

/// The checksum that the record after these bytes depends on.
pub(crate) fn chain(log: &[u8]) -> u64 {
    read_u64(log, HEAD - 8).unwrap_or(0)
}

/// The bytes of a record, and the checksum that the next depends on.
pub(crate) fn record(change: &Change, chain: u64) -> Result<(Vec<u8>, u64)> {
    let mut payload = Vec::new();
    match change {
        Change::Add(chunk) => {
            payload.push(1);
            payload.extend((chunk.len() as u64).to_le_bytes());
            payload.extend_from_slice(bytemuck::cast_slice(chunk.ids()));
            payload.extend_from_slice(chunk.codes().as_bytes());
            payload.extend_from_slice(chunk.label_bytes());
        }
        Change::Remove(ids) => {
            payload.push(2);
            payload.extend_from_slice(bytemuck::cast_slice(ids));
        }
        Change::Dropped(segment, rows) => {
            payload.push(3);
            payload.extend(segment.to_le_bytes());
            rows.serialize_into(&mut payload).map_err(Error::io("encode", Path::new("log")))?;
        }
    }
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let xxh3 = xxh3_64_with_seed(&payload, chain);
    let mut bytes = Vec::with_capacity(RECORD + payload.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(xxh3.to_le_bytes());
    bytes.extend(payload);
    Ok((bytes, xxh3))
}

/// A log as it is read.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) changes: Vec<Change>,
    /// Bytes that count.
    pub(crate) len: usize,
    /// Whether others follow: a record that was not written to its end, or damage.
    pub(crate) torn: bool,
    /// The checksum that the next record depends on.
    pub(crate) chain: u64,
}

/// Reads the changes of a log. A last record that is not whole does not count.
pub(crate) fn parse(path: &Path, bytes: &[u8], shape: Shape) -> Result<Log> {
    let corrupt = |what: &str| Error::corrupt(path, what);
    let first = bytes.get(..HEAD).ok_or_else(|| corrupt("it is shorter than its header"))?;
    if first[..8] != MAGIC {
        return Err(corrupt("it does not start as a log does"));
    }
    let version = u32::from_le_bytes(std::array::from_fn(|at| first[8 + at]));
    if version != VERSION {
        let path = path.to_path_buf();
        return Err(Error::Version { path, found: version, supported: VERSION });
    }
    if first != head(shape) {
        return Err(corrupt("it is not the log of this index, or its header is damaged"));
    }
    let mut log = Log { changes: Vec::new(), len: HEAD, torn: false, chain: chain(bytes) };
    while log.len < bytes.len() {
        let Some((payload, xxh3)) = next(&bytes[log.len..], log.chain) else {
            log.torn = true;
            break;
        };
        let change = change(payload, shape);
        log.changes.push(change.ok_or_else(|| corrupt("a whole record makes no sense"))?);
        log.len += RECORD + payload.len();
        log.chain = xxh3;
    }
    Ok(log)
}

/// The payload of the first record, if it is whole, and its checksum.
fn next(bytes: &[u8], chain: u64) -> Option<(&[u8], u64)> {
    let length = usize::try_from(read_u64(bytes, 0)?).ok()?;
    let xxh3 = read_u64(bytes, 8)?;
    let payload = bytes.get(RECORD..RECORD.checked_add(length)?)?;
    (xxh3_64_with_seed(payload, chain) == xxh3).then_some((payload, xxh3))
}

fn change(payload: &[u8], shape: Shape) -> Option<Change> {
    let (kind, rest) = payload.split_first()?;
    match kind {
        1 => {
            let count = usize::try_from(read_u64(rest, 0)?).ok()?;
            let sizes = [8, bits::bytes_per_code(shape.bits), shape.label_bytes as usize];
            let mut at = 8_usize;
            let mut part = |width: usize| {
                let end = at.checked_add(count.checked_mul(width)?)?;
                let part = rest.get(at..end);
                at = end;
                part
            };
            let (ids, codes, labels) = (part(sizes[0])?, part(sizes[1])?, part(sizes[2])?);
            if at != rest.len() {
                return None;
            }
            let labels = match (shape.label_bytes, shape.multi_hot) {
                (0, _) => None,
                (_, false) => Some(Labels::Single(words(labels).map(|id| id as i64).collect())),
                (classes, true) => {
                    Some(Labels::MultiHot { classes: classes as usize, values: labels.to_vec() })
                }
            };
            let codes = Codes::new(shape.bits, codes.to_vec()).ok()?;
            let ids = Some(words(ids).collect());
            let set = CodeSet { ids, labels, ..CodeSet::new(codes) };
            set.check().ok()?;
            Some(Change::Add(Chunk::new(&set)))
        }
        2 if rest.len().is_multiple_of(8) => Some(Change::Remove(words(rest).collect())),
        3 => {
            let rows = RoaringBitmap::deserialize_from(rest.get(8..)?).ok()?;
            Some(Change::Dropped(read_u64(rest, 0)?, rows))
        }
        _ => None,
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { bits: 12, label_bytes: 8, multi_hot: false };

    fn log() -> Vec<u8> {
        let set = CodeSet {
            ids: Some(vec![9, 3]),
            labels: Some(Labels::Single(vec![1, -2])),
            ..CodeSet::new(Codes::new(12, vec![1, 2, 3, 4]).unwrap())
        };
        let changes = [
            Change::Add(Chunk::new(&set)),
            Change::Remove(vec![3, 4]),
            Change::Dropped(77, [1, 5].into_iter().collect()),
        ];
        let mut bytes = head(SHAPE);
        let mut chain = chain(&bytes);
        for change in &changes {
            let (record, next) = record(change, chain).unwrap();
            bytes.extend(record);
            chain = next;
        }
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_a_cut_leaves_the_records_before_it() {
        let (bytes, path) = (log(), Path::new("x"));
        let whole = parse(path, &bytes, SHAPE).unwrap();
        assert_eq!((whole.changes.len(), whole.len, whole.torn), (3, bytes.len(), false));
        let Change::Add(chunk) = &whole.changes[0] else { panic!() };
        assert_eq!((chunk.ids(), chunk.codes().get(0)), (&[3, 9][..], &[3, 4][..]));
        assert!(matches!(&whole.changes[1], Change::Remove(ids) if *ids == [3, 4]));
        assert!(matches!(&whole.changes[2], Change::Dropped(77, rows) if rows.len() == 2));
        for end in 0..bytes.len() {
            match parse(path, &bytes[..end], SHAPE) {
                Ok(log) => {
                    assert!(end >= HEAD && log.changes.len() < 3 && log.len <= end);
                    assert_eq!(log.torn, log.len < end);
                }
                Err(_) => assert!(end < HEAD),
            }
        }
    }

    #[test]
    fn a_flip_is_found_or_makes_a_record_not_whole() {
        let (bytes, path) = (log(), Path::new("x"));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            let found = parse(path, &bytes, SHAPE);
            assert!(found.is_err() || found.is_ok_and(|log| log.torn && at >= HEAD), "{at}");
        }
        let other = Shape { bits: 13, ..SHAPE };
        assert!(matches!(parse(path, &bytes, other), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn whole_records_without_sense_are_refused() {
        for payload in [&[][..], &[0], &[2, 1], &[1, 1, 0, 0, 0, 0, 0, 0, 0], &[3, 1]] {
            let mut bytes = head(SHAPE);
            let xxh3 = xxh3_64_with_seed(payload, chain(&bytes));
            bytes.extend((payload.len() as u64).to_le_bytes());
            bytes.extend(xxh3.to_le_bytes());
            bytes.extend(payload);
            let error = parse(Path::new("x"), &bytes, SHAPE).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{payload:?}");
        }
    }
}
