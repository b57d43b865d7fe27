//! The memtable: the items that are in the write-ahead log and in no segment yet, in memory and ordered by id. Searches scan it
//! (`scope.rs`).
//!
//! It is a sorted list of blocks, as the leaves of a B-tree are. A snapshot shares the blocks; a change copies the one block that it
//! touches. An item that is removed or replaced leaves nothing behind, so a memtable has no tombstones.

use std::sync::Arc;

use crate::codes::items::Items;
use crate::codes::shape::Shape;

/// The most items of a block: they are compared in one call, and copied by a change.
const BLOCK: usize = 2048;
/// Blocks of items that are larger than this in bytes have fewer items, but at least [`MIN_BLOCK`], because a change copies a block.
const BLOCK_BYTES: usize = 1 << 18;
const MIN_BLOCK: usize = 64;
/// A batch of at least this many items is merged with the whole memtable, instead of being inserted item by item.
const MERGED: usize = 64;

/// Items in ascending order of ids. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct MemTable {
    shape: Shape,
    /// The blocks, none of which is empty.
    blocks: Vec<Arc<Items>>,
    len: usize,
    /// Items of a block at most.
    most: usize,
}

impl MemTable {
    /// A memtable without items.
    pub(crate) fn new(shape: Shape) -> Self {
        let item = size_of::<u64>() + shape.width() + shape.attribute_width();
        let most = (BLOCK_BYTES / item).clamp(MIN_BLOCK, BLOCK);
        Self { shape, blocks: Vec::new(), len: 0, most }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds items. They replace those with the same ids.
    pub(crate) fn insert_all(&mut self, items: &Items) {
        let last = self.blocks.last().and_then(|block| block.ids.last());
        let behind = last.is_none_or(|last| items.ids.first().is_none_or(|first| last < first));
        if behind {
            self.append(items);
        } else if items.len() >= MERGED {
            self.merge(items);
        } else {
            for (at, &id) in items.ids.iter().enumerate() {
                let (code, attributes) = items.get(at, self.shape);
                self.insert(id, code, attributes);
            }
        }
    }

    /// Adds items whose ids are greater than all that are here.
    fn append(&mut self, items: &Items) {
        for at in 0..items.len() {
            let (code, attributes) = items.get(at, self.shape);
            self.push(items.ids[at], code, attributes);
        }
    }

    /// Adds an item whose id is greater than all that are here.
    fn push(&mut self, id: u64, code: &[u8], attributes: &[u8]) {
        match self.blocks.last_mut().filter(|block| block.len() < self.most) {
            Some(block) => Arc::make_mut(block).push(id, code, attributes),
            None => {
                let mut block = Items::default();
                block.push(id, code, attributes);
                self.blocks.push(Arc::new(block));
            }
        }
        self.len += 1;
    }

    fn merge(&mut self, items: &Items) {
        let (old, mut at) = (std::mem::replace(self, Self::new(self.shape)), 0);
        for (id, code, attributes) in old.iter() {
            while at < items.len() && items.ids[at] < id {
                let (code, attributes) = items.get(at, self.shape);
                self.push(items.ids[at], code, attributes);
                at += 1;
            }
            if items.ids.get(at) != Some(&id) {
                self.push(id, code, attributes);
            }
        }
        for at in at..items.len() {
            let (code, attributes) = items.get(at, self.shape);
            self.push(items.ids[at], code, attributes);
        }
    }

    fn insert(&mut self, id: u64, code: &[u8], attributes: &[u8]) {
        let shape = self.shape;
        let Some(number) = self.block_of(id) else {
            self.push(id, code, attributes);
            return;
        };
        let block = Arc::make_mut(&mut self.blocks[number]);
        match block.ids.binary_search(&id) {
            Ok(at) => block.splice(at..at + 1, Some((id, code, attributes)), shape),
            Err(at) => {
                block.splice(at..at, Some((id, code, attributes)), shape);
                self.len += 1;
                if block.len() > self.most {
                    let behind = block.split_off(self.most / 2, shape);
                    self.blocks.insert(number + 1, Arc::new(behind));
                }
            }
        }
    }

    /// Removes an item. Returns whether it existed.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let Some((number, at)) = self.find(id) else { return false };
        let block = Arc::make_mut(&mut self.blocks[number]);
        block.splice(at..at + 1, None, self.shape);
        if block.is_empty() {
            self.blocks.remove(number);
        }
        self.len -= 1;
        true
    }

    /// The first block whose last id is not less; `None` where all ids are less.
    fn block_of(&self, id: u64) -> Option<usize> {
        let less = |block: &Arc<Items>| block.ids.last().is_some_and(|&last| last < id);
        let number = self.blocks.partition_point(less);
        (number < self.blocks.len()).then_some(number)
    }

    /// Block and place of an item.
    fn find(&self, id: u64) -> Option<(usize, usize)> {
        let number = self.block_of(id)?;
        self.blocks[number].ids.binary_search(&id).ok().map(|at| (number, at))
    }

    /// The row of an item: its number in the order of the ids.
    pub(crate) fn row(&self, id: u64) -> Option<usize> {
        let (number, at) = self.find(id)?;
        Some(self.blocks[..number].iter().map(|block| block.len()).sum::<usize>() + at)
    }

    /// The first row whose id is `id` or greater; the number of rows where there is none.
    pub(crate) fn first_row(&self, id: u64) -> usize {
        let Some(number) = self.block_of(id) else { return self.len() };
        let before: usize = self.blocks[..number].iter().map(|block| block.len()).sum();
        before + self.blocks[number].ids.partition_point(|&of| of < id)
    }

    /// Code and attributes of an item.
    pub(crate) fn get(&self, id: u64) -> Option<(&[u8], &[u8])> {
        let (number, at) = self.find(id)?;
        Some(self.blocks[number].get(at, self.shape))
    }

    /// The block of a row, and its place there.
    fn place(&self, row: usize) -> Option<(&Items, usize)> {
        let mut start = 0;
        for block in &self.blocks {
            if row < start + block.len() {
                return Some((block, row - start));
            }
            start += block.len();
        }
        None
    }

    /// The id of a row.
    pub(crate) fn id(&self, row: usize) -> Option<u64> {
        self.place(row).map(|(block, at)| block.ids[at])
    }

    /// Code and attributes of a row.
    pub(crate) fn item(&self, row: usize) -> Option<(&[u8], &[u8])> {
        self.place(row).map(|(block, at)| block.get(at, self.shape))
    }

    /// The greatest id.
    pub(crate) fn last_id(&self) -> Option<u64> {
        self.blocks.last().and_then(|block| block.ids.last().copied())
    }

    /// All items: id, code, attributes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let shape = self.shape;
        self.blocks.iter().flat_map(move |block| {
            block.ids.iter().enumerate().map(move |(at, &id)| {
                let (code, attributes) = block.get(at, shape);
                (id, code, attributes)
            })
        })
    }

    /// All items in one piece. Copies them.
    pub(crate) fn to_items(&self) -> Items {
        let mut items = Items::default();
        self.iter().for_each(|(id, code, attributes)| items.push(id, code, attributes));
        items
    }

    /// The blocks, to be scanned: the first row of each, and its items.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u32, &Items)> {
        self.blocks.iter().scan(0, |end, block| {
            let start = *end;
            *end += block.len() as u32;
            Some((start, &**block))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_numbers::Numbers;
    use std::collections::BTreeMap;

    const SHAPE: Shape = Shape { bits: 16, label_bytes: 8, multi_hot: false, vectors: None };

    type Model = BTreeMap<u64, ([u8; 2], [u8; 8])>;

    fn assert_equal(table: &MemTable, model: &Model) {
        assert_eq!(table.len(), model.len());
        let items = table.iter().map(|(id, code, labels)| (id, (code.to_vec(), labels.to_vec())));
        let expected =
            model.iter().map(|(id, (code, label))| (*id, (code.to_vec(), label.to_vec())));
        assert!(items.eq(expected));
        assert!(table.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK));
        for (row, (id, (code, label))) in model.iter().enumerate().step_by(97) {
            assert_eq!((table.row(*id), table.id(row)), (Some(row), Some(*id)));
            assert_eq!(table.get(*id), Some((&code[..], &label[..])));
            assert_eq!(table.item(row), table.get(*id));
        }
        assert_eq!((table.id(model.len()), table.last_id()), (None, model.keys().last().copied()));
    }

    #[test]
    fn a_memtable_is_a_map_and_snapshots_of_it_do_not_change() {
        let numbers = &mut Numbers(7);
        let (mut table, mut model) = (MemTable::new(SHAPE), Model::new());
        let mut snapshots = Vec::new();
        for round in 0..400 {
            if round % 40 == 0 {
                snapshots.push((table.clone(), model.clone()));
            }
            let count = [1, 3, 70, 3000][(numbers.next() % 4) as usize];
            let range = [50, 20_000, u64::MAX][(numbers.next() % 3) as usize];
            if numbers.next().is_multiple_of(3) {
                let ids: Vec<u64> =
                    model.keys().copied().filter(|_| numbers.next().is_multiple_of(3)).collect();
                for id in ids.into_iter().take(count).chain([numbers.next()]) {
                    assert_eq!(table.remove(id), model.remove(&id).is_some());
                }
            } else {
                let new: Model = (0..count)
                    .map(|_| {
                        (
                            numbers.next() % range,
                            ((numbers.next() as u16).to_le_bytes(), numbers.next().to_le_bytes()),
                        )
                    })
                    .collect();
                let mut items = Items::default();
                new.iter().for_each(|(id, (code, label))| items.push(*id, code, label));
                table.insert_all(&items);
                model.extend(new);
            }
            assert_equal(&table, &model);
        }
        snapshots.iter().for_each(|(table, model)| assert_equal(table, model));
    }
}
