//! The attributes of the items of a set (labels and vectors), as bytes in the form in which an index stores them.

use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::codes::shape::Shape;
use crate::error::Result;
use crate::vectors::set::StoredReader;
use crate::vectors::stored::VectorForm;

/// Reads the attributes of a set's items one by one.
pub(crate) struct AttributeReader<'a> {
    labels: &'a [u8],
    label_width: usize,
    vectors: Option<StoredReader<'a>>,
}

impl<'a> AttributeReader<'a> {
    /// Reads the attributes of a set. Vectors are stored in this form; `None` leaves them out.
    pub(crate) fn new(set: &'a CodeSet, form: Option<VectorForm>) -> Self {
        let vectors = set.vectors.as_ref().zip(form).map(|(vectors, form)| vectors.reader(form));
        Self { labels: label_bytes(set), label_width: Shape::of(set).label_width(), vectors }
    }

    /// Appends the attributes of an item.
    ///
    /// # Errors
    /// A vector that cannot be stored.
    pub(crate) fn append(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.labels[row * self.label_width..][..self.label_width]);
        match &mut self.vectors {
            Some(vectors) => vectors.append(row, out),
            None => Ok(()),
        }
    }
}

/// The labels of a set in the form of the labels section.
pub(crate) fn label_bytes(set: &CodeSet) -> &[u8] {
    match &set.labels {
        None => &[],
        Some(Labels::Single(labels)) => bytemuck::cast_slice(labels),
        Some(Labels::MultiHot { values, .. }) => values,
    }
}
