//! Logs of version 1, which are read and not written any more. The checksum of a record depends on that of the record before it, and
//! does not protect the record's length.

use std::path::Path;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::parsed::{Log, Torn, items};
use super::{BatchChange, Change, HEADER, header_checksum, read_u64, words};
use crate::codes::items::Items;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};

/// Bytes of a record before its payload.
const RECORD: usize = 16;

/// Reads the changes of a log. Only its last record may be torn.
pub(super) fn parse(path: &Path, bytes: &[u8], shape: Shape) -> Result<Log> {
    let Sound { changes, len, chain } = recover(path, bytes, shape)?;
    let torn = (len < bytes.len()).then(|| Torn { at: len, bytes: bytes.len() - len });
    if torn.is_some() && !is_torn(bytes, len, chain) {
        let what = "the checksum of a record is wrong";
        return Err(Error::corrupt_log(path, len, bytes.len() - len, what));
    }
    Ok(Log { changes, len, cursor: None, torn })
}

/// The sound records at the start of a log.
pub(super) struct Sound {
    pub(super) changes: Vec<Change>,
    /// Bytes of header and sound records.
    pub(super) len: usize,
    /// The checksum that the next record's depends on.
    chain: u64,
}

/// Reads the records before the first one that is not sound. The records after that cannot be found, because their place depends on a
/// length that is not protected by a checksum.
pub(super) fn recover(path: &Path, bytes: &[u8], shape: Shape) -> Result<Sound> {
    let mut sound = Sound { changes: Vec::new(), len: HEADER, chain: header_checksum(bytes) };
    while let Some((payload, xxh3)) = next(&bytes[sound.len..], sound.chain) {
        let nonsense = || {
            let what = "a record of no known kind";
            Error::corrupt_log(path, sound.len, bytes.len() - sound.len, what)
        };
        let change = read_payload(payload, shape).ok_or_else(nonsense)?;
        sound.changes.push(change);
        sound.len += RECORD + payload.len();
        sound.chain = xxh3;
    }
    Ok(sound)
}

/// Whether the bytes at a place, which are not a sound record, are the end of an interrupted write: the record extends to the end of the
/// file or beyond, or only zeros follow, and no sound record follows it.
fn is_torn(bytes: &[u8], at: usize, chain: u64) -> bool {
    let rest = &bytes[at..];
    if rest.len() < RECORD || rest.iter().all(|&byte| byte == 0) {
        return true;
    }
    let length = read_u64(rest, 0).and_then(|length| usize::try_from(length).ok());
    let end = length.and_then(|length| RECORD.checked_add(length)).unwrap_or(usize::MAX);
    let payload = rest.get(RECORD..end);
    // The next record's checksum depends on this one's, as it is stored, or as it is computed where the stored one is damaged.
    let seeds = [read_u64(rest, 8), payload.map(|payload| xxh3_64_with_seed(payload, chain))];
    let follows = |seed: u64| (1..rest.len()).any(|from| next(&rest[from..], seed).is_some());
    if seeds.into_iter().flatten().any(follows) {
        return false;
    }
    rest.get(end..).is_none_or(|behind| behind.iter().all(|&byte| byte == 0))
}

/// The payload of the first record, if it is sound, and its checksum.
fn next(bytes: &[u8], chain: u64) -> Option<(&[u8], u64)> {
    let length = usize::try_from(read_u64(bytes, 0)?).ok()?;
    let xxh3 = read_u64(bytes, 8)?;
    let payload = bytes.get(RECORD..RECORD.checked_add(length)?)?;
    (xxh3_64_with_seed(payload, chain) == xxh3).then_some((payload, xxh3))
}

fn read_payload(payload: &[u8], shape: Shape) -> Option<Change> {
    let (kind, rest) = payload.split_first()?;
    match kind {
        1 => {
            let count = usize::try_from(read_u64(rest, 0)?).ok()?;
            let widths = [8, shape.width(), shape.attribute_width()];
            let (mut rest, mut taken) = (&rest[8..], [&[][..]; 3]);
            for (taken, width) in taken.iter_mut().zip(widths) {
                (*taken, rest) = rest.split_at_checked(count.checked_mul(width)?)?;
            }
            let [ids, codes, attributes] = taken;
            let added = items(ids, codes, attributes, shape).filter(|_| rest.is_empty())?;
            Some(Change::Batch(BatchChange { removed: Vec::new(), added }))
        }
        2 if rest.len().is_multiple_of(8) => {
            let removed = words(rest).collect();
            Some(Change::Batch(BatchChange { removed, added: Items::default() }))
        }
        3 => {
            let rows = RoaringBitmap::deserialize_from(rest.get(8..)?).ok()?;
            Some(Change::Tombstones { segment: read_u64(rest, 0)?, rows })
        }
        _ => None,
    }
}
