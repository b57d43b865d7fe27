//! Checks every byte of an open index. `store/verify.rs` checks one segment.

use rayon::prelude::*;

use crate::build::rows::RowStream;
use crate::codes::items::Items;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::Component;
use crate::index::merged::Merged;
use crate::store::format::Kind;
use crate::store::{format, verify};

/// What [`Index::verify`] found to be sound.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let sound = Index::open(&dir)?.verify()?;
/// assert_eq!((sound.codes, sound.torn_bytes), (3, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Number of items.
    pub codes: usize,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Bytes at the end of the write-ahead log that an interrupted write left, and that are not part of the index. The next writer moves
    /// them to a file beside it.
    pub torn_bytes: u64,
}

impl Index {
    /// Checks every byte of what this handle has open: the manifest's text, all checksums, and that all contents agree with each other.
    /// On all threads of the current rayon pool, in memory that does not grow with the index. A writer may change the index meanwhile:
    /// what is checked is the snapshot that was opened.
    ///
    /// # Errors
    /// The first fault found.
    pub fn verify(&self) -> Result<Verification> {
        self.components.par_iter().try_for_each(|component| {
            let Some(segment) = component.segment() else { return Ok(()) };
            format::verify(&segment.path, segment.file(), &segment.header)?;
            verify::verify(segment)
        })?;
        self.verify_agreement()?;
        let torn = self.log.as_ref().and_then(|log| log.torn);
        Ok(Verification {
            codes: self.len(),
            bytes: self.info().bytes,
            torn_bytes: torn.map_or(0, |torn| torn.bytes as u64),
        })
    }

    /// Checks what is not in a single segment: the manifest's text, and that no two components have an item of the same id.
    pub(crate) fn verify_agreement(&self) -> Result<()> {
        self.manifest.verify(&self.dir)?;
        self.check_unique_ids()
    }

    /// No id is in two components.
    fn check_unique_ids(&self) -> Result<()> {
        if self.components.len() < 2 {
            return Ok(());
        }
        let (mut merged, mut last) = (Merged::new(self.shape(), &self.components), None);
        let mut batch = Items::default();
        while merged.next(&mut batch)? {
            for &id in &batch.ids {
                if last == Some(id) {
                    return Err(Error::corrupt(&self.dir, format!("the id {id} is there twice")));
                }
                last = Some(id);
            }
        }
        Ok(())
    }
}

/// Checks the checksums of the sections from which items are copied. A copy without this check would give damaged bytes new checksums, and
/// nobody could find the damage later. The metadata, which are copied as well, were checked when the segments were opened.
pub(crate) fn check_sources(components: &[Component]) -> Result<()> {
    let read = [Kind::Codes, Kind::CodeOfRow, Kind::Ids, Kind::Labels, Kind::Vectors];
    components.par_iter().filter_map(Component::segment).try_for_each(|segment| {
        format::verify_sections(&segment.path, segment.file(), &segment.header, |section| {
            read.contains(&section.kind)
        })
    })
}
