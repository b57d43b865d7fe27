//! The content of a run directory beside its model: its codes and queries, thumbnails, and records of its training. An index that is served
//! without a run has none of this.

use std::path::Path;

use dhih_index::CodeSet;
use dhih_model::Encoder;

use crate::Result;
use crate::run::checks;
use crate::run::facts::Facts;
use crate::run::gallery::{Gallery, Set};
use crate::run::source::Rows;

/// The content of a run directory beside its model.
pub(crate) struct RunData {
    /// The codes of the run. The rows of the gallery are in the same order.
    pub(super) database: CodeSet,
    pub(super) queries: CodeSet,
    pub(super) gallery: Option<Gallery>,
    pub(super) facts: Facts,
    rows: Rows,
}

impl RunData {
    /// Reads and checks the files.
    pub(super) fn open(dir: &Path, encoder: &Encoder) -> Result<Self> {
        let database = checks::code_set(&dir.join("codes.safetensors"), encoder)?;
        let queries = checks::code_set(&dir.join("queries.safetensors"), encoder)?;
        let gallery = checks::gallery(&dir.join("gallery.safetensors"), &database, &queries)?;
        let facts = Facts::read(dir)?;
        Ok(Self { rows: Rows::of(database.ids.as_deref()), database, queries, gallery, facts })
    }

    /// The row of an item of the run.
    pub(super) fn row(&self, id: u64) -> Option<usize> {
        self.rows.row(id)
    }

    /// The row of an item of the run, if it has this code.
    pub(super) fn row_of(&self, id: u64, code: &[u8]) -> Option<usize> {
        let codes = &self.database.codes;
        self.row(id).filter(|&row| row < codes.len() && codes.get(row) == code)
    }

    /// Whether there is a thumbnail in this row.
    pub(super) fn has_thumbnail(&self, set: Set, row: usize) -> bool {
        self.gallery.as_ref().is_some_and(|gallery| row < gallery.len(set))
    }
}
