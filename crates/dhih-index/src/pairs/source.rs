//! The items of a join: those of an index without the removed ones, or those of a set. They are read in ascending order of ids, some at a
//! time, so that not all of them need to be in memory.

use std::ops::Range;

use crate::build::rows::RowStream;
use crate::build::sample::evenly_spaced;
use crate::codes::bits::bytes_per_code;
use crate::codes::items::Items;
use crate::codes::set::{CodeKind, CodeSet};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::Component;
use crate::index::merged::Merged;

/// The most items of one side: their numbers are of 32 bits.
pub(super) const MOST_ITEMS: usize = u32::MAX as usize - 1;

/// The items of one side of a join. An item's rank is its number in the order of the ids.
pub(super) enum Source<'a> {
    Index(&'a Index),
    Set {
        set: &'a CodeSet,
        /// The item of each rank; `None` where the set is in the order of its ids.
        order: Option<Vec<u32>>,
    },
}

/// Items one after the other: ids, and packed codes.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The rank of the first item.
    pub(super) first: usize,
    pub(super) ids: Vec<u64>,
    pub(super) codes: Vec<u8>,
    pub(super) width: usize,
}

impl Block {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    #[inline]
    pub(super) fn code(&self, at: usize) -> &[u8] {
        &self.codes[at * self.width..(at + 1) * self.width]
    }
}

impl<'a> Source<'a> {
    pub(super) fn of_index(index: &'a Index) -> Self {
        Self::Index(index)
    }

    /// # Errors
    /// What [`CodeSet::check`] refuses; more items than an index could have.
    pub(super) fn of_set(set: &'a CodeSet) -> Result<Self> {
        if set.codes.len() > MOST_ITEMS {
            return Err(Error::TooMany { codes: set.codes.len() });
        }
        set.check()?;
        let ids = set.ids.as_ref().filter(|ids| !ids.is_sorted());
        let order = ids.map(|ids| {
            let mut order: Vec<u32> = (0..ids.len() as u32).collect();
            order.sort_unstable_by_key(|&item| ids[item as usize]);
            order
        });
        Ok(Self::Set { set, order })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Index(index) => index.len(),
            Self::Set { set, .. } => set.codes.len(),
        }
    }

    pub(super) fn bits(&self) -> u32 {
        self.code_kind().bits
    }

    pub(super) fn code_kind(&self) -> CodeKind<'_> {
        match self {
            Self::Index(index) => index.code_kind(),
            Self::Set { set, .. } => set.kind(),
        }
    }

    /// Codes of the items, evenly spaced: about `count` of them, or all where there are fewer.
    ///
    /// # Errors
    /// A damaged file.
    pub(super) fn sample(&self, count: usize) -> Result<Vec<u8>> {
        let mut codes = Vec::new();
        match self {
            Self::Set { set, .. } => evenly_spaced(set.codes.len(), count)
                .for_each(|item| codes.extend_from_slice(set.codes.get(item))),
            Self::Index(index) => {
                let all: usize = index.components.iter().map(Component::rows).sum();
                for component in &index.components {
                    let share = component.rows() as u64 * count as u64 / all.max(1) as u64;
                    for row in evenly_spaced(component.rows(), share as usize + 1) {
                        if component.is_live(row) {
                            codes.extend_from_slice(component.checked_code(row)?);
                        }
                    }
                }
            }
        }
        Ok(codes)
    }

    /// Reads the items from a rank on.
    ///
    /// # Errors
    /// A damaged file.
    pub(super) fn stream(&self, first: usize) -> Result<Stream<'_>> {
        let mut stream = Stream { source: self, next: 0, merged: None, batch: Items::default() };
        match self {
            Self::Index(index) => {
                let mut merged = Merged::new(index.shape(), &index.components);
                merged.skip(first);
                stream.merged = Some(merged);
            }
            Self::Set { .. } => {}
        }
        stream.next = first;
        Ok(stream)
    }
}

/// The items of a source from some rank on.
pub(super) struct Stream<'a> {
    source: &'a Source<'a>,
    next: usize,
    merged: Option<Merged>,
    /// Items that were read and not handed out yet.
    batch: Items,
}

impl Stream<'_> {
    /// The next items, at most `count` of them; none where there are none left.
    ///
    /// # Errors
    /// A damaged file.
    pub(super) fn take(&mut self, count: usize) -> Result<Block> {
        let first = self.next;
        let end = self.source.len().min(first.saturating_add(count));
        self.next = end;
        let width = bytes_per_code(self.source.bits());
        match self.source {
            Source::Set { set, order } => Ok(of_set(set, order.as_deref(), first..end)),
            Source::Index(_) => {
                let mut block = Block { first, width, ..Block::default() };
                block.ids.reserve_exact(end - first);
                block.codes.reserve_exact((end - first) * width);
                while block.len() < end - first {
                    if self.batch.is_empty() && !self.read()? {
                        break;
                    }
                    let taken = (end - first - block.len()).min(self.batch.len());
                    block.ids.extend(self.batch.ids.drain(..taken));
                    block.codes.extend(self.batch.codes.drain(..taken * width));
                }
                Ok(block)
            }
        }
    }

    fn read(&mut self) -> Result<bool> {
        match &mut self.merged {
            Some(merged) => merged.next(&mut self.batch),
            None => Ok(false),
        }
    }
}

fn of_set(set: &CodeSet, order: Option<&[u32]>, ranks: Range<usize>) -> Block {
    let id = |item: usize| set.ids.as_ref().map_or(item as u64, |ids| ids[item]);
    let (first, width) = (ranks.start, set.codes.bytes_per_code());
    match order {
        None => Block {
            first,
            ids: ranks.clone().map(id).collect(),
            codes: set.codes.as_bytes()[ranks.start * width..ranks.end * width].to_vec(),
            width,
        },
        Some(order) => {
            let items: Vec<usize> = order[ranks].iter().map(|&item| item as usize).collect();
            let codes = set.codes.select(&items).into_bytes();
            Block { first, ids: items.into_iter().map(id).collect(), codes, width }
        }
    }
}
