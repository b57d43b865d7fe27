//! An open index: its components, their items, and how they change. A search within one segment: `search/`; the files: `store/`.
//!
//! The way of a change is `batch.rs` (what is wanted) -> `writer.rs` (the write-ahead log) -> `memtable.rs` -> `compaction.rs` (segments).
//! `open.rs` makes an index of its files, `checkpoint.rs` copies one, `salvage.rs` goes on without what is damaged.

pub(crate) mod batch;
pub(crate) mod candidates;
pub(crate) mod certificate;
pub(crate) mod checkpoint;
mod compaction;
pub(crate) mod component;
pub(crate) mod filter;
pub(crate) mod info;
mod listing;
mod log;
mod memtable;
mod merge_job;
pub(crate) mod merged;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod query;
pub(crate) mod rescore;
pub(crate) mod salvage;
pub(crate) mod scope;
pub(crate) mod selection;
pub(crate) mod shared;
pub(crate) mod sizes;
pub(crate) mod verify;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::build::rows::RowStream;
use crate::codes::items::Items;
use crate::codes::labels::Label;
use crate::codes::labels::Labels;
use crate::codes::set::{CodeKind, CodeSet};
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::index::candidates::SearchContext;
use crate::index::component::{Component, Data};
use crate::index::merged::Merged;
use crate::index::open::Opening;
use crate::index::options::OpenOptions;
use crate::store::format::Origin;
use crate::store::manifest::{Manifest, log_name};
use crate::store::segment::Metadata;
use crate::store::wal::LogState;
use crate::vectors::stored::VectorForm;

/// An open index: an immutable snapshot that any number of threads may search. Data files are mapped into memory. A clone is cheap: it
/// is another handle on the same files.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let index = Index::open(&dir)?;
/// assert_eq!(index.knn(&[0b0011], 1)?[0].id, 1);
/// assert_eq!(index.within(&[0b0000], 1)?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Index {
    pub(crate) dir: PathBuf,
    /// How its segments are opened.
    pub(crate) options: OpenOptions,
    pub(crate) manifest: Arc<Manifest>,
    /// Which index it is, and its generation.
    pub(crate) origin: Origin,
    /// The write-ahead log as it was read; `None` where there is none.
    pub(crate) log: Option<LogState>,
    /// Segments, and last the memtable where it has items.
    pub(crate) components: Vec<Component>,
    pub(crate) bits: u32,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) has_labels: bool,
    pub(crate) searches: SearchContext,
}

impl Index {
    /// Opens the index in a directory. Of each segment the header and the metadata are read and checked, not the contents, which
    /// [`verify`](Self::verify) does. The write-ahead log is read as a whole. [`OpenOptions`] does more.
    ///
    /// # Errors
    /// No index there, one of a newer version, a damaged manifest, header, metadata or log.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open(dir)
    }

    /// Opens the index of the same directory again if it was changed meanwhile; `None` where it was not. Segments that are still part of
    /// the index are not mapped again; others are opened with the [`OpenOptions`] of this index.
    ///
    /// # Errors
    /// As for [`OpenOptions::open`].
    pub fn refresh(&self) -> Result<Option<Self>> {
        if self.is_current()? {
            return Ok(None);
        }
        let opening = Opening { dir: &self.dir, mapped: &self.components, options: self.options };
        let index = opening.run()?;
        let state = |index: &Self| {
            let log = index.log.as_ref().map(|log| (log.number, log.len));
            (index.origin, log, Arc::clone(&index.manifest))
        };
        Ok((state(&index) != state(self)).then_some(index))
    }

    /// Whether nothing was published since, and nothing appended to the log. Whole records are never taken back, so a log that is as long
    /// as it was is the same.
    fn is_current(&self) -> Result<bool> {
        if Manifest::read(&self.dir)? != *self.manifest {
            return Ok(false);
        }
        let Some(log) = &self.log else { return Ok(true) };
        let path = self.dir.join(log_name(log.number));
        // A log that is gone was replaced together with the manifest.
        let len = std::fs::metadata(path).ok().map(|file| file.len());
        Ok(log.torn.is_none() && len == Some(log.len))
    }

    /// How often the index was replaced by another build, a merge or a new log. The number never decreases, even if another index is built
    /// in the same directory. It is 0 for an index of a version without this count.
    pub fn generation(&self) -> u64 {
        self.origin.generation
    }

    /// The identity of the index, which checkpoints and later generations share: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.origin.id)
    }

    /// The same index with a copy of its data files in memory, on large pages if the system has them. Searches with many random accesses
    /// take up to a quarter less time than in mapped files. Opening takes as long as reading the files. What [`refresh`](Self::refresh) makes
    /// of it is in memory, too.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn into_memory(mut self) -> Result<Self> {
        self.options = self.options.huge_pages(true);
        for part in &mut self.components {
            if let Data::Segment(segment) = &mut part.data {
                *segment = Arc::new(segment.in_memory()?);
            }
        }
        Ok(self)
    }

    /// The shape of its items.
    pub(crate) fn shape(&self) -> Shape {
        open::shape(self.bits, &self.metadata, self.has_labels)
    }

    /// Component and row of an item.
    pub(crate) fn find(&self, id: u64) -> Option<(usize, usize)> {
        let row = |(at, part): (usize, &Component)| part.row(id).map(|row| (at, row));
        self.components.iter().enumerate().rev().find_map(row)
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.components.iter().map(Component::len).sum()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of a code in bits.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// SHA-256 of the model that made the codes, if known.
    pub fn model_sha256(&self) -> Option<&str> {
        self.metadata.model_sha256.as_deref()
    }

    /// Names of the classes; empty where they have none.
    pub fn classes(&self) -> &[String] {
        &self.metadata.classes
    }

    /// Refuses queries that cannot be compared with this index: of another length, or encoded by
    /// another model. Where either side does not know its model, only the length is compared.
    ///
    /// # Errors
    /// Queries of another length, or encoded by another model.
    pub fn check_queries(&self, queries: &CodeSet) -> Result<()> {
        queries.codes.check_bits(self.bits())?;
        match self.code_kind().other_model(queries.kind()) {
            Some((expected, found)) => {
                Err(Error::OtherModel { expected: expected.into(), found: found.into() })
            }
            None => Ok(()),
        }
    }

    /// The kind of its codes.
    pub(crate) fn code_kind(&self) -> CodeKind<'_> {
        CodeKind { bits: self.bits, model: self.model_sha256() }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids = self.components.iter().map(Component::ids).collect::<Vec<_>>().concat();
        if self.components.len() > 1 {
            ids.sort_unstable();
        }
        ids
    }

    /// The greatest id of an item; `None` if there is no item.
    pub fn last_id(&self) -> Option<u64> {
        self.components.iter().filter_map(Component::last_id).max()
    }

    /// All items by ascending id: id and code. If a file is damaged, the last item of the iterator is the error.
    pub fn iter(&self) -> impl Iterator<Item = Result<(u64, Vec<u8>)>> + '_ {
        let width = self.shape().width();
        let mut merged = Some(Merged::new(self.shape(), &self.components));
        let mut batch = Items::default();
        std::iter::from_fn(move || {
            let more = merged.as_mut()?.next(&mut batch);
            if !matches!(more, Ok(true)) {
                merged = None;
            }
            match more {
                Ok(false) => None,
                Ok(true) => {
                    let codes = batch.codes.chunks_exact(width).map(<[u8]>::to_vec);
                    let items = batch.ids.iter().copied().zip(codes);
                    Some(items.map(Ok).collect::<Vec<_>>())
                }
                Err(error) => Some(vec![Err(error)]),
            }
        })
        .flatten()
    }

    /// Whether there is an item of this id.
    pub fn contains(&self, id: u64) -> bool {
        self.find(id).is_some()
    }

    /// The label of an item; `None` where there is no such item, or it has none.
    pub fn label(&self, id: u64) -> Option<Label<'_>> {
        let (part, row) = self.find(id).filter(|_| self.has_labels)?;
        self.components[part].label(row).filter(|label| *label != Label::Single(Labels::NONE))
    }

    /// The code of an item; `None` where there is no such item.
    pub fn code(&self, id: u64) -> Option<&[u8]> {
        let (part, row) = self.find(id)?;
        self.components[part].code(row)
    }

    /// The vector of an item, as it is stored; `None` if there is no such item, or items have no vectors.
    pub fn vector(&self, id: u64) -> Option<Vec<f32>> {
        let (form, mut numbers) = (self.metadata.vectors?, Vec::new());
        form.decode(self.stored_vector(id)?, &mut numbers);
        Some(numbers)
    }

    /// The stored vector of an item; `None` where there is no such item, or the file contradicts itself.
    pub(crate) fn stored_vector(&self, id: u64) -> Option<&[u8]> {
        let (part, row) = self.find(id)?;
        self.components[part].vector(row)
    }

    /// The number of numbers of each item's vector; `None` where items have no vectors.
    pub fn vector_dims(&self) -> Option<usize> {
        self.metadata.vectors.map(VectorForm::dims)
    }

    /// All items: codes, ids, labels, vectors and origin. Copies them, after the checksums of the sections that are read were checked;
    /// those of the metadata were when the index was opened.
    ///
    /// # Errors
    /// A damaged file.
    pub fn to_code_set(&self) -> Result<CodeSet> {
        verify::check_sources(&self.components)?;
        self.set_of(&self.components)
    }

    /// The items of some components, by id.
    pub(crate) fn set_of(&self, components: &[Component]) -> Result<CodeSet> {
        let items = Merged::new(self.shape(), components).collect()?;
        let set = items.into_set(self.shape())?;
        let Metadata { model_sha256, classes, .. } = &*self.metadata;
        Ok(CodeSet { model_sha256: model_sha256.clone(), classes: classes.clone(), ..set })
    }
}

#[cfg(test)]
mod tests;
