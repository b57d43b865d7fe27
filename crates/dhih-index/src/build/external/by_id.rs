//! The items of a set that are in no order of their ids, sorted by id on disk: runs of whole items are spilled and merged into a stream.
//! An id that occurs twice is found on the way.

use std::ops::Range;

use rayon::prelude::*;

use crate::build::external::budget::Budget;
use crate::build::external::job::{Job, REPORT_EVERY};
use crate::build::external::merge::LoserTree;
use crate::build::rows::{RowStream, batch_items};
use crate::build::spill::{Spill, SpillReader, SpillWriter};
use crate::codes::attributes::AttributeReader;
use crate::codes::items::Items;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::progress::Stage;

/// Bytes of a spilled item before its code and attributes: its id and its place in the set.
const HEAD: usize = 12;

/// Sorted runs, one after the other in a file. A run is a list of items, ascending by id and then by their place in the set: id, place,
/// code and attributes.
pub(super) struct ItemRuns {
    spill: Spill,
    runs: Vec<Range<u64>>,
    width: usize,
    attributes: usize,
}

/// Spills the items of a set in sorted runs.
pub(super) fn sort(set: &CodeSet, job: &Job) -> Result<ItemRuns> {
    let (shape, ids) = (job.spec.shape, set.ids.as_deref().unwrap_or_default());
    let (width, per_item) = (shape.width(), shape.attribute_width());
    let (mut reader, mut attributes) = (AttributeReader::new(set, shape.vectors), Vec::new());
    // The codes of a run are read in the order of its ids, so all their pages may be in memory. The same holds for its vectors.
    let run = job.budget.run(ids.len(), size_of::<u32>() + width + vector_bytes(set));
    let mut out = SpillWriter::create(job.dir)?;
    let mut runs = Vec::new();
    let mut order: Vec<u32> = Vec::with_capacity(run);
    for first in (0..ids.len()).step_by(run) {
        let items = first..ids.len().min(first + run);
        order.clear();
        order.extend(items.start as u32..items.end as u32);
        order.par_sort_unstable_by_key(|&item| (ids[item as usize], item));
        let start = out.len();
        for (&item, at) in order.iter().zip(first..) {
            let place = item as usize;
            out.put(&ids[place].to_le_bytes())?;
            out.put(&item.to_le_bytes())?;
            out.put(set.codes.get(place))?;
            attributes.clear();
            reader.append(place, &mut attributes)?;
            out.put(&attributes)?;
            if (at + 1).is_multiple_of(REPORT_EVERY) {
                job.reporter.report(Stage::SortIds, at as u64, ids.len() as u64)?;
            }
        }
        runs.push(start..out.len());
        if let Some(vectors) = &set.vectors {
            vectors.release(items.clone());
        }
        set.codes.release(items);
    }
    job.reporter.complete(Stage::SortIds, ids.len() as u64)?;
    Ok(ItemRuns { spill: out.finish()?, runs, width, attributes: per_item })
}

/// The most bytes of memory that a vector of a set can take. For vectors in a file the type of the numbers is not known here, so 64 bits
/// are assumed for each.
fn vector_bytes(set: &CodeSet) -> usize {
    set.vectors.as_ref().map_or(0, |vectors| size_of::<f64>() * vectors.dims())
}

/// Merges runs of items; `budget` is for the buffers.
pub(super) fn merge(runs: &ItemRuns, budget: Budget) -> Result<SortedRows<'_>> {
    let ItemRuns { spill, runs, width, attributes } = runs;
    let (buffer, bytes) = (budget.buffer(runs.len()), HEAD + width + attributes);
    let cursor = |run: &Range<u64>| Cursor::open(spill.reader(run.clone(), buffer), bytes);
    let cursors: Vec<Cursor> = runs.iter().map(cursor).collect::<Result<_>>()?;
    let tree = LoserTree::new(cursors.len(), |a, b| (cursors[a].key, a) < (cursors[b].key, b));
    Ok(SortedRows { cursors, tree, width: *width, attributes: *attributes, last: None })
}

/// The items of a set by ascending id.
pub(super) struct SortedRows<'a> {
    cursors: Vec<Cursor<'a>>,
    tree: LoserTree,
    width: usize,
    attributes: usize,
    /// Id and place of the last item.
    last: Option<(u64, u32)>,
}

impl RowStream for SortedRows<'_> {
    fn next(&mut self, batch: &mut Items) -> Result<bool> {
        batch.clear();
        while batch.ids.len() < batch_items(self.width, self.attributes) {
            let Some(cursor) = self.cursors.get_mut(self.tree.winner()) else { break };
            let (false, id, place) = cursor.key else { break };
            if let Some((_, before)) = self.last.filter(|(last, _)| *last == id) {
                return Err(Error::DuplicateId {
                    id,
                    first: before as usize,
                    second: place as usize,
                });
            }
            self.last = Some((id, place));
            let (code, attributes) = cursor.item[HEAD..].split_at(self.width);
            batch.ids.push(id);
            batch.codes.extend_from_slice(code);
            batch.attributes.extend_from_slice(attributes);
            cursor.advance()?;
            let cursors = &self.cursors;
            self.tree.replay(|a, b| (cursors[a].key, a) < (cursors[b].key, b));
        }
        Ok(!batch.ids.is_empty())
    }
}

/// A run that is being merged, and the item that it is at.
struct Cursor<'a> {
    reader: SpillReader<'a>,
    item: Vec<u8>,
    /// Whether the cursor is behind the last item, and the id and the place of its item.
    key: (bool, u64, u32),
}

impl<'a> Cursor<'a> {
    /// A cursor at the first item of a run whose items have `bytes` bytes.
    fn open(reader: SpillReader<'a>, bytes: usize) -> Result<Self> {
        let mut cursor = Self { reader, item: vec![0; bytes], key: (false, 0, 0) };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<()> {
        if self.reader.is_empty() {
            self.key.0 = true;
            return Ok(());
        }
        let bytes = self.item.len();
        self.item.copy_from_slice(self.reader.take(bytes)?);
        if let Some((id, rest)) = self.item.split_first_chunk()
            && let Some(place) = rest.first_chunk()
        {
            self.key = (false, u64::from_le_bytes(*id), u32::from_le_bytes(*place));
        }
        Ok(())
    }
}
