//! The items of several components as one stream in ascending order of ids, with a fixed amount of memory. Compaction and exports read it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::build::rows::{RowStream, batch_items};
use crate::codes::items::Items;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::index::component::{Component, Data};

/// The items of components that share no id, by ascending id.
pub(crate) struct Merged {
    shape: Shape,
    sources: Vec<Source>,
    /// The next id of each source that has one, and the source's number.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
}

/// A component that is read row by row.
struct Source {
    rows: Rows,
    /// The next row that has no tombstone.
    next: usize,
}

enum Rows {
    Segment(Component),
    /// The memtable's items.
    Items(Items),
}

impl Merged {
    pub(crate) fn new(shape: Shape, components: &[Component]) -> Self {
        let rows = |component: &Component| match &component.data {
            Data::Segment(_) => Rows::Segment(component.clone()),
            Data::MemTable(table) => Rows::Items(table.to_items()),
        };
        let sources = components.iter().map(|component| Source { rows: rows(component), next: 0 });
        let mut merged = Self { shape, sources: sources.collect(), heads: BinaryHeap::new() };
        for number in 0..merged.sources.len() {
            merged.push_head(number);
        }
        merged
    }

    /// Finds the next live row of a source and remembers its id.
    fn push_head(&mut self, number: usize) {
        let source = &mut self.sources[number];
        let id = match &source.rows {
            Rows::Segment(component) => {
                let rows = component.rows();
                while source.next < rows && !component.is_live(source.next) {
                    source.next += 1;
                }
                (source.next < rows).then(|| component.id(source.next))
            }
            Rows::Items(items) => items.ids.get(source.next).copied(),
        };
        self.heads.extend(id.map(|id| Reverse((id, number))));
    }

    /// Skips the next items, at most `count` of them.
    pub(crate) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let Some(Reverse((_, number))) = self.heads.pop() else { return };
            self.sources[number].next += 1;
            self.push_head(number);
        }
    }

    /// The remaining items. Copies them.
    ///
    /// # Errors
    /// A segment that contradicts itself.
    pub(crate) fn collect(mut self) -> Result<Items> {
        let mut all = Items::default();
        while self.append(&mut all)? {}
        Ok(all)
    }

    /// Adds the next items behind those of `batch`; false where there are no more.
    fn append(&mut self, batch: &mut Items) -> Result<bool> {
        let (mut count, shape) = (0, self.shape);
        while count < batch_items(shape.width(), shape.attribute_width()) {
            let Some(Reverse((id, number))) = self.heads.pop() else { break };
            let Source { rows, next } = &mut self.sources[number];
            match rows {
                Rows::Items(items) => {
                    let (code, attributes) = items.get(*next, self.shape);
                    batch.push(id, code, attributes);
                }
                Rows::Segment(component) => {
                    if component.append_item(*next, batch).is_none() {
                        let row = *next;
                        let path = component.segment().map(|segment| segment.path.clone());
                        let path = path.unwrap_or_default();
                        return Err(Error::corrupt(&path, format!("row {row} has no code")));
                    }
                }
            }
            *next += 1;
            count += 1;
            self.push_head(number);
        }
        Ok(count > 0)
    }
}

impl RowStream for Merged {
    fn next(&mut self, batch: &mut Items) -> Result<bool> {
        batch.clear();
        self.append(batch)
    }
}
