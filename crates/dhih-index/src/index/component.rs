//! A component of an index: a segment without the rows that have tombstones, or the memtable. Rows are numbered in ascending order of ids.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::codes::items::Items;
use crate::codes::labels::Label;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::hamming;
use crate::index::memtable::MemTable;
use crate::store::segment::Segment;

/// Rows whose codes are on their way into the cache while rows are read one after the other.
const AHEAD: usize = 16;

/// The place of a component's items.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Segment(Arc<Segment>),
    MemTable(Arc<MemTable>),
}

/// A component. It is cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) data: Data,
    /// Rows of a segment that were removed. A memtable has none.
    pub(crate) tombstones: Arc<RoaringBitmap>,
    shape: Shape,
}

impl Component {
    pub(crate) fn new(data: Data, shape: Shape) -> Self {
        Self { data, tombstones: Arc::default(), shape }
    }

    /// The segment; `None` for a memtable.
    pub(crate) fn segment(&self) -> Option<&Arc<Segment>> {
        match &self.data {
            Data::Segment(segment) => Some(segment),
            Data::MemTable(_) => None,
        }
    }

    /// Number of rows, those with tombstones included.
    pub(crate) fn rows(&self) -> usize {
        match &self.data {
            Data::Segment(segment) => segment.rows,
            Data::MemTable(table) => table.len(),
        }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.rows() - (self.tombstones.len() as usize).min(self.rows())
    }

    /// Whether a row has no tombstone.
    pub(crate) fn is_live(&self, row: usize) -> bool {
        !self.tombstones.contains(row as u32)
    }

    /// The id of a row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub(crate) fn id(&self, row: usize) -> u64 {
        match &self.data {
            Data::Segment(segment) => segment.ids().map_or(row as u64, |ids| ids[row]),
            Data::MemTable(table) => table.id(row).unwrap_or_default(),
        }
    }

    /// The first row whose id is `id` or greater; the number of rows where there is none.
    pub(crate) fn first_row(&self, id: u64) -> usize {
        match &self.data {
            Data::Segment(segment) => match segment.ids() {
                Some(ids) => ids.partition_point(|&of| of < id),
                None => usize::try_from(id).map_or(segment.rows, |row| row.min(segment.rows)),
            },
            Data::MemTable(table) => table.first_row(id),
        }
    }

    /// The rows that have no tombstone, ascending.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.rows()).filter(|&row| self.is_live(row))
    }

    /// The ids of the items, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        match &self.data {
            Data::Segment(_) => self.live().map(|row| self.id(row)).collect(),
            Data::MemTable(table) => table.iter().map(|(id, ..)| id).collect(),
        }
    }

    /// The greatest id of an item.
    pub(crate) fn last_id(&self) -> Option<u64> {
        match &self.data {
            Data::Segment(_) => {
                let last = (0..self.rows()).rev().find(|&row| self.is_live(row));
                last.map(|row| self.id(row))
            }
            Data::MemTable(table) => table.last_id(),
        }
    }

    /// The row of an item; `None` where it is not here, or was removed.
    pub(crate) fn row(&self, id: u64) -> Option<usize> {
        let row = match &self.data {
            Data::Segment(segment) => match segment.ids() {
                Some(ids) => ids.binary_search(&id).ok(),
                None => usize::try_from(id).ok().filter(|&row| row < segment.rows),
            },
            Data::MemTable(table) => table.row(id),
        };
        row.filter(|&row| self.is_live(row))
    }

    /// The code of a row; `None` where there is no such row, or the file contradicts itself.
    pub(crate) fn code(&self, row: usize) -> Option<&[u8]> {
        match &self.data {
            Data::Segment(segment) => segment.code(*segment.code_of_row().get(row)?).ok(),
            Data::MemTable(table) => table.item(row).map(|(code, _)| code),
        }
    }

    /// The code of a row.
    ///
    /// # Errors
    /// A file that contradicts itself.
    pub(crate) fn checked_code(&self, row: usize) -> Result<&[u8]> {
        let no_code = || {
            let path = self.segment().map(|segment| segment.path.clone()).unwrap_or_default();
            Error::corrupt(&path, format!("row {row} has no code"))
        };
        self.code(row).ok_or_else(no_code)
    }

    /// The label bytes of a row, as they are stored; empty where items have no labels.
    fn label_bytes(&self, row: usize) -> Option<&[u8]> {
        let width = self.shape.label_width();
        match &self.data {
            Data::Segment(segment) => {
                segment.labels().unwrap_or_default().get(row * width..(row + 1) * width)
            }
            Data::MemTable(table) => table.item(row).map(|(_, attributes)| &attributes[..width]),
        }
    }

    /// The stored vector of a row; empty where items have none.
    pub(crate) fn vector(&self, row: usize) -> Option<&[u8]> {
        let width = self.shape.vector_width();
        match &self.data {
            Data::Segment(segment) => {
                segment.vectors().unwrap_or_default().get(row * width..(row + 1) * width)
            }
            Data::MemTable(table) => {
                table.item(row).map(|(_, attributes)| &attributes[self.shape.label_width()..])
            }
        }
    }

    /// Appends an item; `None` where there is no such row, or the file contradicts itself.
    pub(crate) fn append_item(&self, row: usize, items: &mut Items) -> Option<()> {
        self.prefetch(row + AHEAD);
        let (code, labels, vector) = (self.code(row)?, self.label_bytes(row)?, self.vector(row)?);
        items.push(self.id(row), code, labels);
        items.attributes.extend_from_slice(vector);
        Some(())
    }

    /// Begins to bring the code of a row into the cache. Rows that are read one after the other have their codes anywhere.
    fn prefetch(&self, row: usize) {
        if let Data::Segment(segment) = &self.data
            && let Some(&number) = segment.code_of_row().get(row)
        {
            hamming::prefetch(segment.codes(), number as usize * self.shape.width());
        }
    }

    /// The label of a row.
    pub(crate) fn label(&self, row: usize) -> Option<Label<'_>> {
        let bytes = self.label_bytes(row)?;
        match self.shape.multi_hot {
            true => Some(Label::MultiHot(bytes)),
            false => bytes.first_chunk().map(|label| Label::Single(i64::from_le_bytes(*label))),
        }
    }
}
