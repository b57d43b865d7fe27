//! The sizes of the parts of an index, which cost nothing to read, for metrics. `info.rs` has figures that need a look at the codes.

use serde::Serialize;

use crate::index::Index;
use crate::index::component::Data;

/// The sizes of the parts of an index.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let sizes = Index::open(&dir)?.sizes();
/// assert_eq!((sizes.items, sizes.segments, sizes.memtable), (3, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sizes {
    /// Number of items.
    pub items: usize,
    /// Number of segments, which are the data files.
    pub segments: usize,
    /// Length of the segments.
    pub segment_bytes: u64,
    /// Number of removed items that are still in a segment, each with a tombstone.
    pub tombstones: usize,
    /// Number of items in the memtable: they are in the log and in no segment.
    pub memtable: usize,
    /// Length of the write-ahead log.
    pub log_bytes: u64,
}

impl Index {
    /// The sizes of the parts of the index.
    pub fn sizes(&self) -> Sizes {
        let mut sizes = Sizes {
            items: self.len(),
            log_bytes: self.log.as_ref().map_or(0, |log| log.len),
            ..Sizes::default()
        };
        for part in &self.components {
            sizes.tombstones += part.rows() - part.len();
            match &part.data {
                Data::MemTable(_) => sizes.memtable += part.len(),
                Data::Segment(segment) => {
                    sizes.segments += 1;
                    sizes.segment_bytes += segment.header.file_bytes;
                }
            }
        }
        sizes
    }
}
