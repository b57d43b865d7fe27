//! The write-ahead log: every change since the segments were written, one record for each commit. A change is acknowledged once its
//! record is synced. The layout is in docs/src/FORMAT.md, logs of version 1 are read by `version_1.rs`. Who writes records:
//! `index/writer.rs`; who applies them: `index/open.rs`.
//!
//! A record is synced before the next one is begun, so only the last can be torn by a loss of power. Everything else that does not
//! fit its checksums is damage, and is reported instead of being left out.

mod parsed;
mod reader;
mod version_1;

use std::path::Path;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::codes::items::Items;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::store::format::{self, Origin};

pub(crate) use parsed::Torn;
pub(crate) use reader::{Lost, Recovered, parse, recover};

#[cfg(test)]
mod tests;

const MAGIC: [u8; 8] = *b"DHIHLOG\n";
const VERSION: u32 = 2;
/// Bytes of the header, which is followed by the record that names the index.
const HEADER: usize = 32;
/// Bytes of a record before its payload.
const RECORD: usize = 32;
/// Bytes of a record that its length does not count.
const UNCOUNTED: usize = 16;

/// Kinds of payloads.
const ORIGIN: u8 = 0;
const COMMIT: u8 = 1;
const TOMBSTONES: u8 = 2;

/// A change of an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Items that go and items that come. The removals take place first, so an item that is replaced stands in both.
    Batch(BatchChange),
    /// Rows of a segment that were removed.
    Tombstones {
        /// The checksum of the segment's header.
        segment: u64,
        /// The rows.
        rows: RoaringBitmap,
    },
}

/// Items that go and items that come, together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BatchChange {
    /// Ids of items that are removed, if they are there.
    pub(crate) removed: Vec<u64>,
    /// Items that are there afterwards.
    pub(crate) added: Items,
}

/// The seed of the checksums of a log's records, and the number of the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    key: u64,
    sequence: u64,
}

/// A write-ahead log as it was found.
#[derive(Debug, Clone)]
pub(crate) struct LogState {
    /// The number in its name.
    pub(crate) number: u64,
    /// Bytes of sound records.
    pub(crate) len: u64,
    /// Where the next record is appended; `None` in a log of version 1.
    pub(crate) cursor: Option<Cursor>,
    /// The bytes that an interrupted write left behind the sound records.
    pub(crate) torn: Option<Torn>,
}

/// The first bytes of a new log (its header and the record that names the index), and the cursor behind them.
pub(crate) fn begin(shape: Shape, origin: Origin) -> (Vec<u8>, Cursor) {
    let mut bytes = header(VERSION, shape);
    let mut payload = vec![ORIGIN];
    payload.extend(origin.id.to_le_bytes());
    payload.extend(origin.generation.to_le_bytes());
    // Features that a reader must know, and those that it may ignore, of which there are none yet.
    payload.extend(format::features(shape.bits, shape.vectors.is_some()).to_le_bytes());
    payload.extend([0; 4]);
    let first = Cursor { key: header_checksum(&bytes), sequence: 0 };
    bytes.extend(record(&payload, first));
    let key = xxh3_64_with_seed(&payload, first.key);
    (bytes, Cursor { key, sequence: 1 })
}

/// The record of changes that are committed together, all of them batches, or one list of tombstones.
pub(crate) fn encode(changes: &[Change], cursor: Cursor) -> Result<(Vec<u8>, Cursor)> {
    let mut payload = Vec::new();
    for change in changes {
        match change {
            Change::Batch(BatchChange { removed, added }) => {
                if payload.is_empty() {
                    payload.push(COMMIT);
                }
                payload.extend((removed.len() as u64).to_le_bytes());
                payload.extend_from_slice(bytemuck::cast_slice(removed));
                payload.extend((added.len() as u64).to_le_bytes());
                payload.extend_from_slice(bytemuck::cast_slice(&added.ids));
                payload.extend_from_slice(&added.codes);
                payload.extend_from_slice(&added.attributes);
            }
            Change::Tombstones { segment, rows } => {
                payload.push(TOMBSTONES);
                payload.extend(segment.to_le_bytes());
                rows.serialize_into(&mut payload)
                    .map_err(Error::io("encode", Path::new("tombstones")))?;
            }
        }
    }
    Ok((record(&payload, cursor), Cursor { sequence: cursor.sequence + 1, ..cursor }))
}

fn record(payload: &[u8], cursor: Cursor) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD + payload.len());
    bytes.extend(((RECORD - UNCOUNTED + payload.len()) as u64).to_le_bytes());
    bytes.extend(xxh3_64_with_seed(payload, cursor.key).to_le_bytes());
    bytes.extend(cursor.sequence.to_le_bytes());
    bytes.extend(xxh3_64_with_seed(&bytes, cursor.key).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header of a log of some version.
fn header(version: u32, shape: Shape) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(version.to_le_bytes());
    header.extend(shape.bits.to_le_bytes());
    header.extend(shape.label_bytes.to_le_bytes());
    header.extend(u32::from(shape.multi_hot).to_le_bytes());
    header.extend(xxh3_64(&header).to_le_bytes());
    header
}

fn header_checksum(log: &[u8]) -> u64 {
    read_u64(log, HEADER - 8).unwrap_or(0)
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}
