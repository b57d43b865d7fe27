//! Reading a write-ahead log: telling a record that was torn by a loss of power from damage, and recovering what is sound.

use std::path::Path;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::parsed::{Log, Torn, items};
use super::{
    BatchChange, COMMIT, Change, Cursor, HEADER, MAGIC, ORIGIN, RECORD, TOMBSTONES, UNCOUNTED,
    VERSION, header, header_checksum, read_u64, version_1, words,
};
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::store::format::{self, Origin};

/// Bytes that a disk writes as a whole: a write is torn at a multiple of it.
const SECTOR: usize = 512;

/// Reads all changes of a log. Only its last record may be torn.
///
/// # Errors
/// The log of another index, of another version, or damaged.
pub(crate) fn parse(path: &Path, bytes: &[u8], shape: Shape, origin: Origin) -> Result<Log> {
    match version(path, bytes, shape)? {
        1 => version_1::parse(path, bytes, shape),
        _ => {
            let mut records = Records::open(path, bytes, shape, origin)?;
            let mut changes = Vec::new();
            let torn = loop {
                match records.next() {
                    Record::End => break None,
                    Record::Torn => {
                        break Some(Torn { at: records.at, bytes: bytes.len() - records.at });
                    }
                    Record::Sound(payload) => {
                        let read = read_payload(payload, shape);
                        let nonsense =
                            || damaged(path, bytes, records.at, "a record of no known kind");
                        changes.extend(read.ok_or_else(nonsense)?);
                        records.advance(payload);
                    }
                    Record::Damaged(what) => return Err(damaged(path, bytes, records.at, what)),
                }
            };
            let cursor = Some(Cursor { key: records.key, sequence: records.sequence });
            Ok(Log { changes, len: records.at, cursor, torn })
        }
    }
}

/// The readable content of a damaged log.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The changes of sound records, before and behind the damage.
    pub(crate) changes: Vec<Change>,
    /// Sound records.
    pub(crate) records: usize,
    /// The parts that cannot be read.
    pub(crate) lost: Vec<Lost>,
}

/// A stretch of a log that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Where it begins in the file.
    pub(crate) at: usize,
    /// Its length in bytes.
    pub(crate) bytes: usize,
    /// The number of records in it, as far as the sequence numbers around it tell.
    pub(crate) records: Option<u64>,
}

/// Reads all sound records of a log, even if damage lies between them.
///
/// # Errors
/// A header or a first record that does not show which index the log belongs to, and a damaged log of version 1 in which nothing behind the
/// damage can be found.
pub(crate) fn recover(
    path: &Path,
    bytes: &[u8],
    shape: Shape,
    origin: Origin,
) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    if version(path, bytes, shape)? == 1 {
        let log = version_1::recover(path, bytes, shape)?;
        recovered.records = log.changes.len();
        recovered.changes = log.changes;
        if log.len < bytes.len() {
            recovered.lost.push(Lost { at: log.len, bytes: bytes.len() - log.len, records: None });
        }
        return Ok(recovered);
    }
    let mut records = Records::open(path, bytes, shape, origin)?;
    loop {
        match records.next() {
            Record::End => return Ok(recovered),
            Record::Sound(payload) => {
                match read_payload(payload, shape) {
                    Some(changes) => {
                        recovered.changes.extend(changes);
                        recovered.records += 1;
                    }
                    None => recovered.lost.push(Lost {
                        at: records.at,
                        bytes: RECORD + payload.len(),
                        records: Some(1),
                    }),
                }
                records.advance(payload);
            }
            Record::Torn | Record::Damaged(_) => {
                let (at, sequence) = (records.at, records.sequence);
                let next = records.next_sound(at + 1);
                let (end, found) = next.unwrap_or((bytes.len(), sequence));
                let lost = next.map(|_| found.saturating_sub(sequence));
                recovered.lost.push(Lost { at, bytes: end - at, records: lost });
                (records.at, records.sequence) = (end, found);
            }
        }
    }
}

/// Checks the header and returns the version.
fn version(path: &Path, bytes: &[u8], shape: Shape) -> Result<u32> {
    let wrong = |what: &str| Error::corrupt_log(path, 0, bytes.len(), what);
    let first = bytes.get(..HEADER).ok_or_else(|| wrong("it is shorter than its header"))?;
    if first[..8] != MAGIC {
        return Err(wrong("it does not begin as a write-ahead log does"));
    }
    let version = u32::from_le_bytes(std::array::from_fn(|at| first[8 + at]));
    if !(1..=VERSION).contains(&version) {
        let path = path.to_path_buf();
        return Err(Error::Version { path, found: version, supported: VERSION });
    }
    if first != header(version, shape) {
        return Err(wrong(
            "its header is damaged, or it belongs to an index of other codes or labels",
        ));
    }
    Ok(version)
}

fn damaged(path: &Path, bytes: &[u8], at: usize, what: &str) -> Error {
    Error::corrupt_log(path, at, bytes.len() - at, what)
}

/// The content at a place where a record should begin.
enum Record<'a> {
    /// Nothing: the log ends.
    End,
    Sound(&'a [u8]),
    /// A write that a loss of power interrupted.
    Torn,
    Damaged(&'static str),
}

/// The records of a log of version 2, one after the other.
struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    key: u64,
    sequence: u64,
}

impl<'a> Records<'a> {
    /// Reads the first record, which names the index.
    fn open(path: &Path, bytes: &'a [u8], shape: Shape, origin: Origin) -> Result<Self> {
        let mut records = Self { bytes, at: HEADER, key: header_checksum(bytes), sequence: 0 };
        // The file got its name when this record was durable, so it cannot be torn.
        let Record::Sound(payload) = records.next() else {
            return Err(damaged(path, bytes, HEADER, "the checksum of its first record is wrong"));
        };
        let fields = payload.split_first().and_then(|(kind, rest)| {
            let id = u128::from_le_bytes(*rest.first_chunk()?);
            let features = (*kind == ORIGIN && rest.len() == 32).then(|| read_u64(rest, 24))??;
            Some((Origin { id, generation: read_u64(rest, 16)? }, features as u32))
        });
        let Some((found, required)) = fields else {
            return Err(damaged(path, bytes, HEADER, "its first record does not name an index"));
        };
        if let Some(unknown) = format::unknown(required) {
            return Err(Error::Features { path: path.to_path_buf(), unknown });
        }
        if required != format::features(shape.bits, shape.vectors.is_some()) {
            let what = "it has other features than its index";
            return Err(damaged(path, bytes, HEADER, what));
        }
        if found.id != origin.id || found.generation > origin.generation {
            return Err(Error::OtherIndex { path: path.to_path_buf() });
        }
        let key = xxh3_64_with_seed(payload, records.key);
        debug_assert_eq!(header(VERSION, shape).len(), HEADER);
        records.advance(payload);
        records.key = key;
        Ok(records)
    }

    fn advance(&mut self, payload: &[u8]) {
        self.at += RECORD + payload.len();
        self.sequence += 1;
    }

    fn next(&self) -> Record<'a> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Record::End;
        }
        // A file can be longer than what was written to it, if its length became durable and its bytes did not.
        if rest.len() < RECORD || is_zero(rest) {
            return Record::Torn;
        }
        let Some((sequence, length)) = self.head(self.at) else {
            let may_be_torn = self.head_may_be_torn() && self.next_sound(self.at + 1).is_none();
            return match may_be_torn {
                true => Record::Torn,
                false => Record::Damaged("the checksum of a record's header is wrong"),
            };
        };
        if sequence != self.sequence {
            return Record::Damaged("a record is missing");
        }
        let end = RECORD.checked_add(length).filter(|&end| end <= rest.len());
        let Some(end) = end else { return Record::Torn };
        let payload = &rest[RECORD..end];
        if read_u64(rest, 8) == Some(xxh3_64_with_seed(payload, self.key)) {
            return Record::Sound(payload);
        }
        match is_zero(&rest[end..]) {
            true => Record::Torn,
            false => Record::Damaged("the checksum of a record is wrong"),
        }
    }

    /// Sequence number and payload length of the record that begins at a place, if its header's checksum is right.
    fn head(&self, at: usize) -> Option<(u64, usize)> {
        let head = self.bytes.get(at..at + RECORD)?;
        let length = usize::try_from(read_u64(head, 0)?).ok()?;
        let payload = length.checked_sub(RECORD - UNCOUNTED)?;
        let sound = xxh3_64_with_seed(&head[..24], self.key) == read_u64(head, 24)?;
        sound.then_some((read_u64(head, 16)?, payload))
    }

    /// Whether the header of the record can be the remains of a loss of power that kept only some sectors: a lost sector contains zeros, or
    /// only zeros follow.
    fn head_may_be_torn(&self) -> bool {
        if is_zero(&self.bytes[self.at + RECORD..]) {
            return true;
        }
        let bound = self.at.next_multiple_of(SECTOR).clamp(self.at, self.at + RECORD) - self.at;
        let (before, behind) = self.bytes[self.at..self.at + RECORD].split_at(bound);
        [before, behind].iter().any(|part| !part.is_empty() && is_zero(part))
    }

    /// The place and sequence number of the first record, from a place on, whose checksums are right.
    fn next_sound(&self, from: usize) -> Option<(usize, u64)> {
        (from..self.bytes.len().saturating_sub(RECORD - 1)).find_map(|at| {
            let (sequence, length) = self.head(at)?;
            let payload = self.bytes.get(at + RECORD..(at + RECORD).checked_add(length)?)?;
            let sound = read_u64(self.bytes, at + 8)? == xxh3_64_with_seed(payload, self.key);
            (sound && sequence > self.sequence).then_some((at, sequence))
        })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The changes of a record's payload; `None` where it makes no sense.
fn read_payload(payload: &[u8], shape: Shape) -> Option<Vec<Change>> {
    let (kind, rest) = payload.split_first()?;
    match *kind {
        COMMIT => read_commit(rest, shape),
        TOMBSTONES => {
            let rows = RoaringBitmap::deserialize_from(rest.get(8..)?).ok()?;
            Some(vec![Change::Tombstones { segment: read_u64(rest, 0)?, rows }])
        }
        _ => None,
    }
}

fn read_commit(mut rest: &[u8], shape: Shape) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let removed = words(take_counted(&mut rest, &[8])?[0]).collect();
        let added = take_counted(&mut rest, &[8, shape.width(), shape.attribute_width()])?;
        let added = items(added[0], added[1], added[2], shape)?;
        changes.push(Change::Batch(BatchChange { removed, added }));
    }
    Some(changes)
}

/// Takes a count, and then, for each width, that number of values.
fn take_counted<'a>(rest: &mut &'a [u8], widths: &[usize]) -> Option<Vec<&'a [u8]>> {
    let count = usize::try_from(read_u64(rest, 0)?).ok()?;
    *rest = &rest[8..];
    let mut take = |width: &usize| {
        let (taken, others) = rest.split_at_checked(count.checked_mul(*width)?)?;
        *rest = others;
        Some(taken)
    };
    widths.iter().map(&mut take).collect()
}
