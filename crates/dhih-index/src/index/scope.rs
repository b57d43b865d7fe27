//! Searches all items of an index, or some of them: its components one after the other, beginning with the one with the most candidates, so
//! that its hits limit how far the others are searched. `query.rs` and `selection.rs` are the interface for callers, `candidates.rs`
//! chooses the components, `scope/batch.rs` searches for many queries together, and `search/` searches one segment.

mod batch;
mod batch_plan;
#[cfg(test)]
mod tests;

use crate::codes::{self, Codes};
use crate::error::{Error, Result};
use crate::flat::Scan;
use crate::hamming::{self, Near};
use crate::hits::{Accept, Bound, Deadline, FoundRows, Hit, Reach};
use crate::index::Index;
use crate::index::candidates::Candidates;
use crate::index::component::{Component, Data};
use crate::index::memtable::MemTable;
use crate::search::explain::Explanation;
use crate::search::scratch::{Scratch, ScratchGuard};
use crate::search::{SegmentSearch, Strategy, collect};
use crate::store::segment::Segment;

/// A query, with how far and how it is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) code: &'a [u8],
    pub(crate) bound: Bound,
    pub(crate) strategy: Strategy,
    /// When the search stops; `None` lets it come to its end.
    pub(crate) deadline: Option<Deadline>,
}

impl<'a> Query<'a> {
    /// A search that finds its hits in the way that seems cheapest.
    pub(crate) fn new(code: &'a [u8], bound: Bound) -> Self {
        Self { code, bound, strategy: Strategy::Auto, deadline: None }
    }
}

/// The items that are searched: all of an index, or those of a selection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(super) index: &'a Index,
    candidates: &'a [Candidates],
}

/// The use of the items that are found.
enum Output<'a> {
    /// They are appended by distance, then id.
    Hits(&'a mut Vec<Hit>),
    /// They are counted. Only for searches that want all items within a radius.
    Count(&'a mut usize),
    /// They are visited in no particular order, some at a time. Only for searches that want all items within a radius.
    Visit(&'a mut dyn FnMut(FoundRows)),
}

impl Index {
    /// All items.
    pub(crate) fn scope(&self) -> Scope<'_> {
        let candidates = self.searches.candidates(&self.components);
        debug_assert_eq!(candidates.iter().map(|of| of.count).sum::<usize>(), self.len());
        Scope { index: self, candidates }
    }
}

impl<'a> Scope<'a> {
    /// Some items of an index. The candidates are of this index.
    pub(crate) fn selected(index: &'a Index, candidates: &'a [Candidates]) -> Self {
        Self { index, candidates }
    }

    /// The hits of a query.
    pub(crate) fn search(self, query: Query) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        self.append_hits(query, self.lend(false).scratch(), &mut hits)?;
        Ok(hits)
    }

    /// The hits of a query in place of those in `hits`, whose memory is reused.
    pub(crate) fn search_into(self, query: Query, hits: &mut Vec<Hit>) -> Result<()> {
        hits.clear();
        self.append_hits(query, self.lend(false).scratch(), hits).map(drop)
    }

    /// The hits of a query, with an explanation of the search.
    pub(crate) fn explain(self, query: Query) -> Result<(Vec<Hit>, Explanation)> {
        let (mut guard, mut hits) = (self.lend(true), Vec::new());
        let scratch = guard.scratch();
        self.append_hits(query, scratch, &mut hits)?;
        Ok((hits, std::mem::take(&mut scratch.explanation)))
    }

    /// The number of items within a radius.
    pub(crate) fn count_within(self, code: &[u8], radius: u32) -> Result<usize> {
        let (query, mut count) = (Query::new(code, Bound::within(radius)), 0);
        self.check(query)?;
        let mut guard = self.lend(false);
        for candidates in self.candidates {
            self.search_component(candidates, query, guard.scratch(), Output::Count(&mut count))?;
        }
        Ok(count)
    }

    /// Visits the items within a radius, in no particular order.
    pub(crate) fn for_each_within(
        self,
        code: &[u8],
        radius: u32,
        mut visit: impl FnMut(Hit),
    ) -> Result<()> {
        let query = Query::new(code, Bound::within(radius));
        self.check(query)?;
        let (mut guard, mut visit) =
            (self.lend(false), |rows: FoundRows| rows.for_each(&mut visit));
        for candidates in self.candidates {
            self.search_component(candidates, query, guard.scratch(), Output::Visit(&mut visit))?;
        }
        Ok(())
    }

    /// Appends the hits of a query. Returns how far the search came before it had to stop.
    pub(super) fn append_hits(
        self,
        query: Query,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<Reach> {
        self.check(query)?;
        let (k, start) = (query.bound.k, out.len());
        let (mut query, mut reach) = (query, Reach::ALL);
        for candidates in self.candidates {
            let middle = out.len();
            let of_component =
                self.search_component(candidates, query, scratch, Output::Hits(out))?;
            reach = reach.min(of_component);
            let runs = Runs { hits: out, start, middle, most: k };
            query.bound = merge_and_narrow(runs, query.bound, &mut scratch.merging);
        }
        Ok(reach)
    }

    /// Searches one component. Returns how far the search came before it had to stop.
    fn search_component(
        self,
        candidates: &Candidates,
        query: Query,
        scratch: &mut Scratch,
        output: Output,
    ) -> Result<Reach> {
        let (component, accept) = self.component(candidates)?;
        match &component.data {
            Data::MemTable(memtable) => {
                let candidates = candidates.count;
                Ok(MemtableSearch { memtable, query, accept, candidates }.run(scratch, output))
            }
            Data::Segment(segment) => {
                let request = segment_search(segment, query, accept, candidates.count);
                let reach = collect(&request, scratch)?;
                let Scratch { collector, rows, .. } = scratch;
                match output {
                    Output::Hits(out) => collector.append_hits(segment, accept, rows, out)?,
                    Output::Count(count) => *count += collector.count(segment, accept)?,
                    Output::Visit(visit) => collector.for_each(segment, accept, visit)?,
                }
                Ok(reach)
            }
        }
    }

    /// A component, and which of its rows may be hits.
    fn component<'c>(self, candidates: &'c Candidates) -> Result<(&'a Component, Accept<'c>)>
    where
        'a: 'c,
    {
        let component = &self.index.components[candidates.component];
        let wanted = candidates.selected.as_ref();
        // No row that is selected was removed.
        let deleted =
            Some(&*component.tombstones).filter(|rows| wanted.is_none() && !rows.is_empty());
        let codes = component.segment().map_or(Ok(None), |segment| candidates.codes(segment))?;
        Ok((component, Accept { deleted, wanted, codes }))
    }

    pub(super) fn lend(self, explain: bool) -> ScratchGuard<'a> {
        self.index.searches.scratch.lend(explain)
    }

    /// Refuses a query that cannot be answered.
    fn check(self, query: Query) -> Result<()> {
        if query.bound.k == 0 {
            return Err(Error::ZeroK);
        }
        codes::check_query(self.index.bits(), query.code)
    }

    pub(super) fn check_batch(self, queries: &Codes, bound: Bound) -> Result<()> {
        if bound.k == 0 {
            return Err(Error::ZeroK);
        }
        queries.check_bits(self.index.bits())
    }
}

/// The search for a query in a segment, of which `candidates` rows may be hits.
fn segment_search<'s>(
    segment: &'s Segment,
    query: Query<'s>,
    accept: Accept<'s>,
    candidates: usize,
) -> SegmentSearch<'s> {
    let Query { code: query, bound, strategy, deadline } = query;
    let sharing = 1;
    SegmentSearch { segment, query, bound, strategy, accept, candidates, deadline, sharing }
}

/// A memtable in which a filter selects less than one row of this many is searched row by row: to compare all codes and to look up which of
/// the near ones are selected takes longer.
const ROWS_FOR_EACH_SELECTED: usize = 8;

/// A search in a memtable, which has no tables: its codes are compared with the query.
struct MemtableSearch<'a> {
    memtable: &'a MemTable,
    query: Query<'a>,
    accept: Accept<'a>,
    /// How many rows may be hits.
    candidates: usize,
}

impl MemtableSearch<'_> {
    /// Returns how far the search came before it had to stop.
    fn run(self, scratch: &mut Scratch, output: Output) -> Reach {
        let Scratch { best, near_codes: near, .. } = scratch;
        let limit = self.query.bound.radius;
        match output {
            Output::Hits(out) => {
                best.begin(self.query.bound);
                let reach = self.scan(near, |hit| {
                    if let Some(hit) = hit {
                        best.push(hit);
                    }
                    best.limit()
                });
                best.drain_into(out);
                reach
            }
            Output::Count(count) => self.scan(near, |hit| {
                *count += usize::from(hit.is_some());
                limit
            }),
            Output::Visit(visit) => self.scan(near, |hit| {
                if let Some(Hit { distance, id }) = hit {
                    visit(FoundRows { distance, rows: &[0], ids: Some(&[id]) });
                }
                limit
            }),
        }
    }

    /// Calls `take` with each item within the limit, or with `None` where a code within the limit is not accepted; `take` returns the limit
    /// from then on. Returns how far the scan came before the search had to stop.
    fn scan(&self, near: &mut Vec<Near>, mut take: impl FnMut(Option<Hit>) -> u32) -> Reach {
        let Query { code: query, bound, deadline, .. } = self.query;
        let few = self.candidates < self.memtable.len() / ROWS_FOR_EACH_SELECTED;
        let few = self.accept.wanted.filter(|_| few);
        let mut limit = bound.radius;
        for (start, block) in self.memtable.blocks() {
            if deadline.is_some_and(Deadline::is_past) {
                return Reach::NOTHING;
            }
            let hit = |at: u32, distance| Hit { distance, id: block.ids[at as usize] };
            if let Some(rows) = few {
                for row in rows.range(start..start + block.len() as u32) {
                    let at = row - start;
                    let code = &block.codes[at as usize * query.len()..][..query.len()];
                    let distance = hamming::distance(query, code);
                    if distance <= limit {
                        limit = take(Some(hit(at, distance)));
                    }
                }
            } else {
                Scan { query, codes: &block.codes, limit }.run(near, |Near { at, distance }| {
                    limit = take(self.accept.row(start + at).then(|| hit(at, distance)));
                    limit
                });
            }
        }
        Reach::ALL
    }
}

/// Two sorted runs of hits, one behind the other: from `start` on and from `middle` on.
struct Runs<'a> {
    hits: &'a mut Vec<Hit>,
    start: usize,
    middle: usize,
    /// The number of hits that are kept.
    most: usize,
}

/// Merges two runs of hits of a search in place. Returns how far the search goes from then on: once there are k hits, none can be further
/// away than the last of them.
fn merge_and_narrow(runs: Runs, bound: Bound, spare: &mut Vec<Hit>) -> Bound {
    let Runs { hits, start, middle, most } = runs;
    merge(Runs { hits: &mut *hits, start, middle, most }, spare);
    let last = hits[start..].get(bound.k - 1).map(|last| last.distance);
    Bound { radius: last.map_or(bound.radius, |last| last.min(bound.radius)), ..bound }
}

/// Merges two runs in place. `spare` is memory to work in.
fn merge(runs: Runs, spare: &mut Vec<Hit>) {
    let Runs { hits, start, middle, most } = runs;
    if middle > start && middle < hits.len() && hits[middle - 1] > hits[middle] {
        spare.clear();
        spare.extend_from_slice(&hits[middle..]);
        // From the last hit to the first, so that no hit of the first run is overwritten before it is moved.
        let (mut left, mut place) = (middle, hits.len());
        while let Some(&last) = spare.last() {
            place -= 1;
            if left > start && hits[left - 1] > last {
                left -= 1;
                hits[place] = hits[left];
            } else {
                hits[place] = last;
                spare.pop();
            }
        }
    }
    hits.truncate(start.saturating_add(most));
}
