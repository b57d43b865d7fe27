//! `Shape`: the form of the items of an index.

use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::vectors::set::VectorSet;
use crate::vectors::stored::VectorForm;

/// The shape of the items of an index: the length of codes, and the form of labels and vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Length of a code in bits.
    pub(crate) bits: u32,
    /// Bytes of an item's labels: 8 for the number of its class, one a class for multi-hot labels, 0 where there are none.
    pub(crate) label_bytes: u32,
    /// Whether labels are multi-hot.
    pub(crate) multi_hot: bool,
    /// The vectors of the items; `None` where they have none.
    pub(crate) vectors: Option<VectorForm>,
}

impl Shape {
    /// The shape of a set's items.
    pub(crate) fn of(set: &CodeSet) -> Self {
        let (label_bytes, multi_hot) = match &set.labels {
            None => (0, false),
            Some(Labels::Single(_)) => (8, false),
            Some(Labels::MultiHot { classes, .. }) => (*classes as u32, true),
        };
        let vectors = set.vectors.as_ref().map(VectorSet::form);
        Self { bits: set.codes.bits(), label_bytes, multi_hot, vectors }
    }

    /// Bytes of a code.
    pub(crate) fn width(self) -> usize {
        bits::bytes_per_code(self.bits)
    }

    /// Bytes of an item's labels.
    pub(crate) fn label_width(self) -> usize {
        self.label_bytes as usize
    }

    /// Bytes of an item's vector.
    pub(crate) fn vector_width(self) -> usize {
        self.vectors.map_or(0, VectorForm::bytes)
    }

    /// Bytes of an item's attributes: its labels, then its vector.
    pub(crate) fn attribute_width(self) -> usize {
        self.label_width() + self.vector_width()
    }
}
