//! `Index`: an open index directory, to search and to look into. How a search goes: `search.rs`;
//! how an index is made: `builder.rs`; how it is changed: `writer.rs`.

pub(crate) mod candidates;
pub(crate) mod component;
pub(crate) mod filter;
pub(crate) mod info;
pub(crate) mod items;
pub(crate) mod memtable;
pub(crate) mod open;
pub(crate) mod query;
pub(crate) mod selection;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codes::Codes;
use crate::codes::labels::Label;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::candidates::SearchContext;
use crate::index::component::{Component, Data};
use crate::store::manifest::Manifest;
use crate::store::segment::Metadata;
use crate::store::wal::Shape;
use crate::store::{format, verify};

/// An open index: an immutable snapshot that any number of threads may search. Data files are mapped into memory. A clone is cheap: it
/// is another handle on the same files.
#[derive(Debug, Clone)]
pub struct Index {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) components: Vec<Component>,
    pub(crate) bits: u32,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) has_labels: bool,
    pub(crate) searches: SearchContext,
}

impl Index {
    /// Opens the index in a directory. Reads and checks the header, not the contents:
    /// [`verify`](Self::verify) does. The log of changes is read.
    ///
    /// # Errors
    /// No index there, one of another version, a header that is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with_log(dir).map(|(index, _)| index)
    }

    /// The same index with a copy of its data files in memory, on large pages where the system has them: searches that look in many
    /// places take up to a quarter less time than in mapped files, and opening takes as long as reading the files does.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn into_memory(mut self) -> Result<Self> {
        for part in &mut self.components {
            if let Data::Segment(segment) = &mut part.data {
                *segment = Arc::new(segment.in_memory()?);
            }
        }
        Ok(self)
    }

    /// What the items of its log look like.
    pub(crate) fn shape(&self) -> Shape {
        let columns = self.metadata.label_columns;
        let label_bytes = if self.has_labels { columns.unwrap_or(8) as u32 } else { 0 };
        Shape { bits: self.bits, label_bytes, multi_hot: columns.is_some() }
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
    /// As said.
    pub fn check_queries(&self, queries: &CodeSet) -> Result<()> {
        queries.codes.check_bits(self.bits())?;
        match (self.model_sha256(), &queries.model_sha256) {
            (Some(expected), Some(found)) if expected != found => {
                Err(Error::OtherModel { expected: expected.into(), found: found.clone() })
            }
            _ => Ok(()),
        }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<u64> {
        let of_part = |part: &Component| part.live().map(|row| part.id(row)).collect::<Vec<_>>();
        let mut ids = self.components.iter().map(of_part).collect::<Vec<_>>().concat();
        if self.components.len() > 1 {
            ids.sort_unstable();
        }
        ids
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

    /// All items: codes, ids, labels and where they are from. Copies them.
    ///
    /// # Errors
    /// A damaged file.
    pub fn to_code_set(&self) -> Result<CodeSet> {
        self.set_of(&self.components)
    }

    /// The items of some parts, by id.
    pub(crate) fn set_of(&self, parts: &[Component]) -> Result<CodeSet> {
        let mut all =
            CodeSet { ids: Some(Vec::new()), ..CodeSet::new(Codes::new(self.bits, Vec::new())?) };
        for part in parts.iter().filter(|part| part.len() > 0) {
            let set = part.set(self.bits)?;
            if all.codes.is_empty() {
                all = set;
            } else {
                all.append(set);
            }
        }
        let Metadata { model_sha256, classes, .. } = &*self.metadata;
        let (model_sha256, classes) = (model_sha256.clone(), classes.clone());
        Ok(CodeSet { model_sha256, classes, ..all })
    }

    /// Checks every byte: all checksums, and that all contents agree with each other.
    ///
    /// # Errors
    /// The first fault found.
    pub fn verify(&self) -> Result<()> {
        self.manifest.verify(&self.dir)?;
        for part in &self.components {
            if let Data::Segment(segment) = &part.data {
                format::verify(&segment.path, segment.file(), &segment.header)?;
                verify::verify(segment)?;
            }
        }
        let ids = self.ids();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::corrupt(&self.dir, "an id is there twice"));
        }
        // What was read when it was opened, read again.
        let (again, log) = Self::of_manifest(&self.dir, &self.manifest)?;
        if log.is_some_and(|log| log.torn) {
            let what = "its log ends within a record: a write was interrupted, or it is damaged; \
                        the next `add`, `remove` or `compact` cuts it off";
            return Err(Error::corrupt(&again.dir, what));
        }
        Ok(())
    }
}
