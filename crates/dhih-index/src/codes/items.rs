//! Items in ascending order of ids, with their parts as bytes. The write-ahead log, the memtable and merges exchange items in this form.
//! `set.rs` has the sets of codes that users see.

use std::ops::Range;

use crate::codes::Codes;
use crate::codes::attributes::AttributeReader;
use crate::codes::labels::{Labels, check_labels};
use crate::codes::set::CodeSet;
use crate::codes::shape::Shape;
use crate::error::Result;
use crate::vectors::set::VectorSet;

/// Items of one shape, strictly ascending by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) ids: Vec<u64>,
    /// Packed codes, one after the other.
    pub(crate) codes: Vec<u8>,
    /// The attributes of each item, as a segment stores them: its labels, an i64 or a byte a class, and then its vector.
    pub(crate) attributes: Vec<u8>,
}

impl Items {
    /// The items of a set that was checked, in a shape whose labels are those of the set. Items without ids are numbered from 0.
    ///
    /// # Errors
    /// A vector that cannot be kept as the shape wants it.
    pub(crate) fn of(set: &CodeSet, shape: Shape) -> Result<Self> {
        let count = set.codes.len();
        let mut order: Vec<usize> = (0..count).collect();
        if let Some(ids) = set.ids.as_ref().filter(|ids| !ids.is_sorted()) {
            order.sort_unstable_by_key(|&row| ids[row]);
        }
        let id = |&row: &usize| set.ids.as_ref().map_or(row as u64, |ids| ids[row]);
        let (mut reader, mut attributes) = (AttributeReader::new(set, shape.vectors), Vec::new());
        order.iter().try_for_each(|&row| reader.append(row, &mut attributes))?;
        Ok(Self {
            ids: order.iter().map(id).collect(),
            codes: set.codes.select(&order).into_bytes(),
            attributes,
        })
    }

    /// The items as a set, without model and names of classes.
    ///
    /// # Errors
    /// Bytes that are no codes or no labels of this shape.
    pub(crate) fn into_set(self, shape: Shape) -> Result<CodeSet> {
        let mut items = self;
        let [labels, vectors] = items.take_attributes(shape);
        let labels = match (shape.label_width(), shape.multi_hot) {
            (0, _) => None,
            (classes, true) => Some(Labels::MultiHot { classes, values: labels }),
            (_, false) => {
                let words = labels.as_chunks::<8>().0;
                Some(Labels::Single(words.iter().map(|word| i64::from_le_bytes(*word)).collect()))
            }
        };
        if let Some(labels) = &labels {
            check_labels(labels, 0)?;
        }
        let vectors = shape.vectors.map(|form| VectorSet::of_stored(form, vectors));
        let codes = Codes::new(shape.bits, items.codes)?;
        Ok(CodeSet { ids: Some(items.ids), labels, vectors, ..CodeSet::new(codes) })
    }

    /// Removes and returns the attributes: the labels of all items, and their vectors.
    pub(crate) fn take_attributes(&mut self, shape: Shape) -> [Vec<u8>; 2] {
        let attributes = std::mem::take(&mut self.attributes);
        let (labels, width) = (shape.label_width(), shape.attribute_width());
        match (labels, width - labels) {
            (_, 0) => [attributes, Vec::new()],
            (0, _) => [Vec::new(), attributes],
            (_, vectors) => {
                let count = self.ids.len();
                let mut all =
                    [Vec::with_capacity(count * labels), Vec::with_capacity(count * vectors)];
                for item in attributes.chunks_exact(width) {
                    let (labels, vector) = item.split_at(labels);
                    all[0].extend_from_slice(labels);
                    all[1].extend_from_slice(vector);
                }
                all
            }
        }
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
    pub(crate) fn push(&mut self, id: u64, code: &[u8], attributes: &[u8]) {
        self.ids.push(id);
        self.codes.extend_from_slice(code);
        self.attributes.extend_from_slice(attributes);
    }

    /// Code and attributes of item `at`.
    ///
    /// # Panics
    /// Where there is no such item, as slices do.
    pub(crate) fn get(&self, at: usize, shape: Shape) -> (&[u8], &[u8]) {
        let (width, attributes) = (shape.width(), shape.attribute_width());
        (&self.codes[at * width..][..width], &self.attributes[at * attributes..][..attributes])
    }

    /// Replaces the items of a range by one item or by none.
    pub(crate) fn splice(
        &mut self,
        range: Range<usize>,
        item: Option<(u64, &[u8], &[u8])>,
        shape: Shape,
    ) {
        let bytes = |width: usize| range.start * width..range.end * width;
        let (code, attributes) = item.map_or((&[][..], &[][..]), |(_, code, rest)| (code, rest));
        self.codes.splice(bytes(shape.width()), code.iter().copied());
        self.attributes.splice(bytes(shape.attribute_width()), attributes.iter().copied());
        self.ids.splice(range, item.map(|(id, ..)| id));
    }

    /// Removes and returns the items from `at` on.
    pub(crate) fn split_off(&mut self, at: usize, shape: Shape) -> Self {
        Self {
            ids: self.ids.split_off(at),
            codes: self.codes.split_off(at * shape.width()),
            attributes: self.attributes.split_off(at * shape.attribute_width()),
        }
    }

    /// Removes all items but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.codes.clear();
        self.attributes.clear();
    }
}
