//! Items ascending by id, their parts as bytes: what the write-ahead log, the memtable and merges pass on to each other. Sets of codes
//! as users have them: `set.rs`.

use std::ops::Range;

use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::labels::{Labels, check_labels};
use crate::codes::set::CodeSet;
use crate::error::Result;

/// What the items of an index look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Length of a code in bits.
    pub(crate) bits: u32,
    /// Bytes of an item's labels: 8 for the number of its class, one a class for multi-hot labels, 0 where there are none.
    pub(crate) label_bytes: u32,
    /// Whether labels are multi-hot.
    pub(crate) multi_hot: bool,
}

impl Shape {
    /// The shape of a set's items.
    pub(crate) fn of(set: &CodeSet) -> Self {
        let (label_bytes, multi_hot) = match &set.labels {
            None => (0, false),
            Some(Labels::Single(_)) => (8, false),
            Some(Labels::MultiHot { classes, .. }) => (*classes as u32, true),
        };
        Self { bits: set.codes.bits(), label_bytes, multi_hot }
    }

    /// Bytes of a code.
    pub(crate) fn width(self) -> usize {
        bits::bytes_per_code(self.bits)
    }

    /// Bytes of an item's labels.
    pub(crate) fn label_width(self) -> usize {
        self.label_bytes as usize
    }
}

/// Items of one shape, strictly ascending by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) ids: Vec<u64>,
    /// Packed codes, one after the other.
    pub(crate) codes: Vec<u8>,
    /// Labels as a segment stores them: an i64 an item, or a byte a class.
    pub(crate) labels: Vec<u8>,
}

impl Items {
    /// The items of a set that was checked. Items without ids are numbered from 0.
    pub(crate) fn of(set: &CodeSet) -> Self {
        let count = set.codes.len();
        let mut order: Vec<usize> = (0..count).collect();
        if let Some(ids) = set.ids.as_ref().filter(|ids| !ids.is_sorted()) {
            order.sort_unstable_by_key(|&row| ids[row]);
        }
        let id = |&row: &usize| set.ids.as_ref().map_or(row as u64, |ids| ids[row]);
        let labels = match &set.labels {
            None => Vec::new(),
            Some(Labels::Single(labels)) => {
                order.iter().flat_map(|&row| labels[row].to_le_bytes()).collect()
            }
            Some(Labels::MultiHot { classes, values }) => {
                let row = |&row: &usize| &values[row * classes..(row + 1) * classes];
                order.iter().flat_map(row).copied().collect()
            }
        };
        Self {
            ids: order.iter().map(id).collect(),
            codes: set.codes.select(&order).into_bytes(),
            labels,
        }
    }

    /// The items as a set, without model and names of classes.
    ///
    /// # Errors
    /// Bytes that are no codes or no labels of this shape.
    pub(crate) fn into_set(self, shape: Shape) -> Result<CodeSet> {
        let labels = match (shape.label_width(), shape.multi_hot) {
            (0, _) => None,
            (classes, true) => Some(Labels::MultiHot { classes, values: self.labels }),
            (_, false) => {
                let words = self.labels.as_chunks::<8>().0;
                Some(Labels::Single(words.iter().map(|word| i64::from_le_bytes(*word)).collect()))
            }
        };
        if let Some(labels) = &labels {
            check_labels(labels, 0)?;
        }
        let codes = Codes::new(shape.bits, self.codes)?;
        Ok(CodeSet { ids: Some(self.ids), labels, ..CodeSet::new(codes) })
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no item.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Adds an item behind the others.
    pub(crate) fn push(&mut self, id: u64, code: &[u8], labels: &[u8]) {
        self.ids.push(id);
        self.codes.extend_from_slice(code);
        self.labels.extend_from_slice(labels);
    }

    /// Code and labels of item `at`.
    ///
    /// # Panics
    /// Where there is no such item, as slices do.
    pub(crate) fn get(&self, at: usize, shape: Shape) -> (&[u8], &[u8]) {
        let (width, labels) = (shape.width(), shape.label_width());
        (&self.codes[at * width..][..width], &self.labels[at * labels..][..labels])
    }

    /// Replaces the items of a range by one item or by none.
    pub(crate) fn splice(
        &mut self,
        range: Range<usize>,
        item: Option<(u64, &[u8], &[u8])>,
        shape: Shape,
    ) {
        let bytes = |width: usize| range.start * width..range.end * width;
        let (code, labels) = item.map_or((&[][..], &[][..]), |(_, code, labels)| (code, labels));
        self.codes.splice(bytes(shape.width()), code.iter().copied());
        self.labels.splice(bytes(shape.label_width()), labels.iter().copied());
        self.ids.splice(range, item.map(|(id, ..)| id));
    }

    /// Takes the items from `at` on away and returns them.
    pub(crate) fn split_off(&mut self, at: usize, shape: Shape) -> Self {
        Self {
            ids: self.ids.split_off(at),
            codes: self.codes.split_off(at * shape.width()),
            labels: self.labels.split_off(at * shape.label_width()),
        }
    }

    /// Forgets all items and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.codes.clear();
        self.labels.clear();
    }
}
