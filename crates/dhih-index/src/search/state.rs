//! A search in progress in one segment: its query and bounds, and the memory that it works in. The steps of a search (`step.rs`,
//! `buckets.rs`) are functions of this state.

use crate::error::{Error, Result};
use crate::hamming::Near;
use crate::hits::{Accept, Deadline};
use crate::search::SegmentSearch;
use crate::search::collector::HitCollector;
use crate::search::plan::Plan;
use crate::search::probing::TableProgress;
use crate::search::scratch::Scratch;
use crate::store::segment::Segment;
use crate::table::Table;
use crate::table::linear_hash;
use crate::table::postings::Postings;

/// The number of codes that are compared before the limit is read again. With each hit that is found, fewer codes can be hits.
pub(crate) const CODES_PER_LIMIT: usize = if cfg!(test) { 16 } else { 512 };

/// A search in progress.
pub(crate) struct SearchState<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) query: &'a [u8],
    pub(crate) accept: Accept<'a>,
    /// When the search stops; `None` lets it come to its end.
    pub(super) deadline: Option<Deadline>,
    pub(super) wanted: Wanted<'a>,
    /// The hash of the query, once it was needed.
    query_hash: Option<u64>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> SearchState<'a> {
    /// A search that is about to begin. The scratch has begun collecting hits.
    pub(crate) fn new(request: &SegmentSearch<'a>, scratch: &'a mut Scratch) -> Self {
        let &SegmentSearch { segment, query, accept, deadline, .. } = request;
        let wanted = Wanted::new(segment, accept);
        Self { segment, query, accept, deadline, wanted, query_hash: None, scratch }
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

    /// Prepares for probing: looks up how full the query's own buckets are.
    pub(crate) fn begin_probing(&mut self, plan: &Plan) -> Result<()> {
        self.scratch.tables.clear();
        for table in self.segment.tables_on_disk() {
            table.prefetch(table.substring.of(self.query));
        }
        for table in 0..self.segment.table_count() {
            let view = self.segment.table(table);
            let bucket = view.bucket(view.substring.of(self.query));
            let bucket = bucket.ok_or_else(|| outside(self.segment))?;
            let own = bucket.end.saturating_sub(bucket.start);
            let bits = view.substring.bits();
            self.scratch.tables.push(TableProgress::new(plan, table, bits, own));
        }
        Ok(())
    }

    /// The table at a place of the list of those that are probed.
    pub(crate) fn table(&self, place: usize) -> Table<'a> {
        self.segment.table(self.scratch.tables[place].table)
    }

    /// Collects a code within the limit.
    #[inline(always)]
    pub(crate) fn collect(&mut self, code: u32, distance: u32) -> Result<()> {
        self.wanted.add(&mut self.scratch.collector, Near { at: code, distance })
    }
}

/// Which codes of a segment count.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    segment: &'a Segment,
    postings: Postings<'a>,
    accept: Accept<'a>,
    /// Whether every code has one row, and every row may be a hit: then no row is read before it is known that it is a hit.
    is_plain: bool,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(segment: &'a Segment, accept: Accept<'a>) -> Self {
        let postings = segment.postings();
        let is_plain = accept.all() && postings.have_one_row_each();
        Self { segment, postings, accept, is_plain }
    }

    /// Calls `visit` with the rows of a code that are wanted.
    #[inline]
    pub(crate) fn for_each_row(self, code: u32, mut visit: impl FnMut(u32)) -> Result<()> {
        let rows = self.postings.of(code).ok_or_else(|| self.segment.outside())?;
        for &row in rows {
            if self.accept.all() || self.accept.row(row) {
                visit(row);
            }
        }
        Ok(())
    }

    /// Adds a code within the limit to those found. Where only some items are wanted, a code without any of these does not count.
    #[inline(always)]
    pub(crate) fn add(self, collector: &mut HitCollector, found: Near) -> Result<()> {
        if !self.is_plain {
            return self.add_filtered(collector, found);
        }
        match collector.takes_all() {
            true => collector.add_uncounted(found.distance, found.at),
            false => collector.add(found.distance, found.at, 1),
        }
        Ok(())
    }

    fn add_filtered(self, collector: &mut HitCollector, found: Near) -> Result<()> {
        let Near { at: code, distance } = found;
        if !self.accept.code(code) {
            return Ok(());
        }
        if collector.takes_all() {
            collector.add_uncounted(distance, code);
            return Ok(());
        }
        let items = if self.accept.deleted.is_none() && self.postings.have_one_row_each() {
            1
        } else {
            let rows = self.postings.of(code).ok_or_else(|| self.segment.outside())?;
            match self.accept.all() {
                true => rows.len(),
                false => rows.iter().filter(|&&row| self.accept.row(row)).count(),
            }
        };
        if items > 0 {
            collector.add(distance, code, items);
        }
        Ok(())
    }
}

/// The error that a table names places or codes that are not there.
#[cold]
pub(crate) fn outside(segment: &Segment) -> Error {
    segment.corrupt("a table leaves its bounds")
}
