//! Where the rows of a new segment come from: a stream of items by ascending id, in batches, so that a source may be larger than
//! memory. A set of codes in the order of its ids is such a stream; sets in another order are sorted by `external/by_id.rs`.

use std::io;
use std::path::Path;

use crate::codes::attributes::AttributeReader;
use crate::codes::items::Items;
use crate::codes::set::CodeSet;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};

/// Bytes of a batch, about. Few in tests, whose sets are small.
const BATCH: usize = if cfg!(test) { 1 << 8 } else { 1 << 20 };

/// Items one batch after the other. Ids ascend within and between batches, and none occurs twice.
pub(crate) trait RowStream {
    /// Replaces the batch's content with the next items; false where there are none left.
    fn next(&mut self, batch: &mut Items) -> Result<bool>;
}

/// The number of items in a batch, if each has `width` bytes of code and `attributes` bytes of attributes.
pub(crate) fn batch_items(width: usize, attributes: usize) -> usize {
    BATCH.div_ceil(size_of::<u64>() + width + attributes)
}

/// Checks that the ids of a stream ascend.
#[derive(Debug, Default)]
pub(crate) struct Ascending {
    last: Option<u64>,
    count: usize,
}

impl Ascending {
    /// Takes the ids of the next batch.
    ///
    /// # Errors
    /// An id that occurs twice; one that is less than the one before it, which only a damaged source gives.
    pub(crate) fn check(&mut self, ids: &[u64]) -> Result<()> {
        for &id in ids {
            match self.last {
                Some(last) if last == id => {
                    return Err(Error::DuplicateId {
                        id,
                        first: self.count - 1,
                        second: self.count,
                    });
                }
                Some(last) if last > id => {
                    let what = format!("item {} has id {id}, the one before it {last}", self.count);
                    return Err(damaged(what));
                }
                _ => (self.last, self.count) = (Some(id), self.count + 1),
            }
        }
        Ok(())
    }

    /// The number of ids so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Refuses a stream that has ended with another number of items than it had announced.
    pub(crate) fn check_count(&self, expected: usize) -> Result<()> {
        match self.count == expected {
            true => Ok(()),
            false => Err(damaged(format!("{expected} items were expected, {} came", self.count))),
        }
    }
}

fn damaged(what: String) -> Error {
    let cause = io::Error::new(io::ErrorKind::InvalidData, what);
    Error::io("read the items of", Path::new("a segment"))(cause)
}

/// The items of a set whose ids ascend.
pub(crate) struct SetRows<'a> {
    set: &'a CodeSet,
    shape: Shape,
    attributes: AttributeReader<'a>,
    next: usize,
}

impl<'a> SetRows<'a> {
    pub(crate) fn new(set: &'a CodeSet, shape: Shape) -> Self {
        Self { set, shape, attributes: AttributeReader::new(set, shape.vectors), next: 0 }
    }
}

impl RowStream for SetRows<'_> {
    fn next(&mut self, batch: &mut Items) -> Result<bool> {
        batch.clear();
        let (codes, width) = (&self.set.codes, self.shape.width());
        let items = batch_items(width, self.shape.attribute_width());
        let rows = self.next..codes.len().min(self.next + items);
        self.next = rows.end;
        match &self.set.ids {
            Some(ids) => batch.ids.extend_from_slice(&ids[rows.clone()]),
            None => batch.ids.extend(rows.clone().map(|row| row as u64)),
        }
        batch.codes.extend_from_slice(&codes.as_bytes()[rows.start * width..rows.end * width]);
        for row in rows.clone() {
            self.attributes.append(row, &mut batch.attributes)?;
        }
        if let Some(vectors) = &self.set.vectors {
            vectors.release(rows.clone());
        }
        codes.release(rows.clone());
        Ok(!rows.is_empty())
    }
}
