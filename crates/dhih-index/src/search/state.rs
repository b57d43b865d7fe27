//! A search under way in one segment: what it searches for, and the memory that it works in. The steps that a search consists of are
//! functions of this state: `step.rs`, `buckets.rs`.

use crate::error::{Error, Result};
use crate::hits::{Accept, Deadline};
use crate::search::SegmentSearch;
use crate::search::plan::TableOrder;
use crate::search::scratch::Scratch;
use crate::store::segment::Segment;
use crate::table::Table;
use crate::table::linear_hash;
use crate::table::postings::Postings;

/// Codes that are compared before the limit is looked at again: with each hit that is found, fewer codes can be hits.
pub(crate) const CODES_PER_LIMIT: usize = if cfg!(test) { 16 } else { 512 };

/// A search under way.
pub(crate) struct SearchState<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) query: &'a [u8],
    pub(crate) accept: Accept<'a>,
    /// When the search stops; `None` lets it come to its end.
    deadline: Option<Deadline>,
    postings: Postings<'a>,
    /// The hash of the query, once it was needed.
    query_hash: Option<u64>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> SearchState<'a> {
    /// A search that is about to begin. The scratch has begun collecting hits.
    pub(crate) fn new(request: &SegmentSearch<'a>, scratch: &'a mut Scratch) -> Self {
        let &SegmentSearch { segment, query, accept, deadline, .. } = request;
        let postings = segment.postings();
        Self { segment, query, accept, deadline, postings, query_hash: None, scratch }
    }

    /// Whether the search has to stop.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(Deadline::is_past)
    }

    /// The hash of the query.
    pub(crate) fn query_hash(&mut self) -> u64 {
        *self.query_hash.get_or_insert_with(|| linear_hash::of_code(self.query))
    }

    /// Puts the tables in the order of the sizes of the query's own buckets, smallest first: the hits in small buckets limit how far
    /// the large ones need to be searched.
    pub(crate) fn order_tables(&mut self) -> Result<()> {
        let order = &mut self.scratch.table_order;
        order.clear();
        for table in 0..self.segment.table_count() {
            let view = self.segment.table(table);
            let bucket = view.bucket(view.substring.of(self.query));
            let bucket = bucket.ok_or_else(|| outside(self.segment))?;
            let own = bucket.end.saturating_sub(bucket.start);
            order.push(TableOrder { own, table, bits: view.substring.bits() });
        }
        order.sort_unstable();
        Ok(())
    }

    /// The table at a place of that order.
    pub(crate) fn table(&self, place: usize) -> Table<'a> {
        self.segment.table(self.scratch.table_order[place].table)
    }

    /// Collects a code within the limit. Where only some items are wanted, a code without any of these does not count.
    #[inline(always)]
    pub(crate) fn collect(&mut self, code: u32, distance: u32) -> Result<()> {
        if self.scratch.collector.takes_all() {
            self.scratch.collector.add_uncounted(distance, code);
            return Ok(());
        }
        let rows = self.postings.of(code).ok_or_else(|| self.segment.outside())?;
        let items = if self.accept.all() {
            rows.len()
        } else {
            rows.iter().filter(|&&row| self.accept.row(row)).count()
        };
        if items > 0 {
            self.scratch.collector.add(distance, code, items);
        }
        Ok(())
    }
}

/// The error that a table names places or codes that are not there.
#[cold]
pub(crate) fn outside(segment: &Segment) -> Error {
    segment.corrupt("a table leaves its bounds")
}
