//! A part of an index: a data file or items of the log, without what was removed from it. Its rows are numbered by ascending
//! id.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::codes::Codes;
use crate::codes::labels::{Label, Labels};
use crate::codes::set::CodeSet;
use crate::error::Result;
use crate::index::memtable::Chunk;
use crate::store::segment::Segment;

/// Where a part's items are.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Segment(Arc<Segment>),
    Chunk(Arc<Chunk>),
}

/// A part; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) data: Data,
    /// Rows that were removed.
    pub(crate) deleted: Arc<RoaringBitmap>,
    /// Columns of multi-hot labels.
    label_columns: Option<usize>,
}

impl Component {
    pub(crate) fn new(data: Data, label_columns: Option<usize>) -> Self {
        Self { data, deleted: Arc::default(), label_columns }
    }

    /// Number of rows, removed ones too.
    pub(crate) fn rows(&self) -> usize {
        match &self.data {
            Data::Segment(segment) => segment.rows,
            Data::Chunk(chunk) => chunk.len(),
        }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.rows() - (self.deleted.len() as usize).min(self.rows())
    }

    /// The id of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub(crate) fn id(&self, row: usize) -> u64 {
        match &self.data {
            Data::Segment(segment) => segment.ids().map_or(row as u64, |ids| ids[row]),
            Data::Chunk(chunk) => chunk.ids()[row],
        }
    }

    /// The rows that were not removed, ascending.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.rows()).filter(|&row| !self.deleted.contains(row as u32))
    }

    /// The greatest id of an item.
    pub(crate) fn last_id(&self) -> Option<u64> {
        let last = (0..self.rows()).rev().find(|&row| !self.deleted.contains(row as u32));
        last.map(|row| self.id(row))
    }

    /// The row of an item; `None` where it is not here, or was removed.
    pub(crate) fn row(&self, id: u64) -> Option<usize> {
        let row = match &self.data {
            Data::Segment(segment) => match segment.ids() {
                Some(ids) => ids.binary_search(&id).ok(),
                None => usize::try_from(id).ok().filter(|&row| row < segment.rows),
            },
            Data::Chunk(chunk) => chunk.ids().binary_search(&id).ok(),
        };
        row.filter(|&row| !self.deleted.contains(row as u32))
    }

    /// The code of a row; `None` where there is no such row, or the file contradicts itself.
    pub(crate) fn code(&self, row: usize) -> Option<&[u8]> {
        match &self.data {
            Data::Segment(segment) => segment.code(*segment.code_of_row().get(row)?).ok(),
            Data::Chunk(chunk) => (row < chunk.len()).then(|| chunk.codes().get(row)),
        }
    }

    /// The label of a row.
    pub(crate) fn label(&self, row: usize) -> Option<Label<'_>> {
        let bytes = match &self.data {
            Data::Segment(segment) => segment.labels()?,
            Data::Chunk(chunk) => chunk.label_bytes(),
        };
        match self.label_columns {
            Some(columns) => bytes.get(row * columns..(row + 1) * columns).map(Label::MultiHot),
            None => bytes
                .get(8 * row..)
                .and_then(<[u8]>::first_chunk)
                .map(|label| Label::Single(i64::from_le_bytes(*label))),
        }
    }

    /// All items, as they would be written to a file.
    pub(crate) fn set(&self, bits: u32) -> Result<CodeSet> {
        let live: Vec<usize> = self.live().collect();
        let mut codes = Vec::with_capacity(live.len() * crate::codes::bits::bytes_per_code(bits));
        live.iter().for_each(|&row| codes.extend_from_slice(self.code(row).unwrap_or_default()));
        let mut labels = match (live.first().and_then(|&row| self.label(row)), self.label_columns) {
            (None, _) => None,
            (_, None) => Some(Labels::Single(Vec::with_capacity(live.len()))),
            (_, Some(classes)) => Some(Labels::MultiHot { classes, values: Vec::new() }),
        };
        for label in live.iter().filter_map(|&row| self.label(row)) {
            match (&mut labels, label) {
                (Some(Labels::Single(labels)), Label::Single(label)) => labels.push(label),
                (Some(Labels::MultiHot { values, .. }), Label::MultiHot(row)) => values.extend(row),
                _ => {}
            }
        }
        let ids = Some(live.iter().map(|&row| self.id(row)).collect());
        Ok(CodeSet { ids, labels, ..CodeSet::new(Codes::new(bits, codes)?) })
    }
}
