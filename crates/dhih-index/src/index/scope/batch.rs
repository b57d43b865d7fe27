//! Searches for many queries together. Each goes through the components as a single query does, until it needs a scan of all codes of a
//! segment. Queries that need the same scan wait for each other and share it; then they continue.
//!
//! ```text
//! queries -> go_on (tasks of a few queries) --hits----------------------------------> lists in the order of the queries
//!               ^        \--- a scan is left --> waiting -> SharedScan (up to 128) --hits--/
//!               \------------------- more components -----------/
//! ```

use rayon::prelude::*;

use super::batch_plan::BatchPlan;
use super::{Output, Query, Runs, Scope, merge_and_narrow, segment_search};
use crate::codes::Codes;
use crate::error::Result;
use crate::flat::together::QUERIES_PER_PASS;
use crate::hit_lists::HitLists;
use crate::hits::{Bound, Hit};
use crate::index::candidates::Candidates;
use crate::index::component::Data;
use crate::search::look_ups;
use crate::search::scratch::{Scratch, ScratchGuard};
use crate::search::together::SharedScan;
use crate::search::{BatchForecast, Ending, SegmentSearch, collect_but_scan, forecast};

/// Queries of a batch that one thread searches before others can take some of them. Some queries take a hundred times as long as
/// others, so that these are few.
const QUERIES_PER_TASK: usize = 16;
/// A query that waits for a scan.
struct Waiting<'a> {
    /// Its number in the batch.
    number: usize,
    query: Query<'a>,
    /// The place, in the order of the scope, of the component that is to be scanned.
    component: usize,
    /// The hits in the components before.
    hits: Vec<Hit>,
}

/// A query on its way through the components.
struct Course<'q, 'h> {
    query: Query<'q>,
    /// The place of the next component.
    component: usize,
    /// The hits so far, from `start` on.
    hits: &'h mut Vec<Hit>,
    start: usize,
    batch: &'h BatchPlan,
}

/// The answers to some queries: lists of hits, of which those of the waiting queries are still empty.
struct Answers<'a, L> {
    lists: L,
    waiting: Vec<Waiting<'a>>,
}

impl<'a> Scope<'a> {
    /// The hits of many queries, found on the threads of the current rayon pool.
    pub(crate) fn batch(self, queries: &Codes, bound: Bound) -> Result<Vec<Vec<Hit>>> {
        let batch = &self.plan_batch(queries.len(), bound)?;
        let found = self.tasks(queries, bound, batch, |lists: &mut Vec<Vec<Hit>>, search| {
            let mut hits = Vec::new();
            search(&mut hits)?;
            lists.push(hits);
            Ok(())
        })?;
        let (mut lists, mut waiting) = (Vec::with_capacity(queries.len()), Vec::new());
        for answers in found {
            lists.extend(answers.lists);
            waiting.extend(answers.waiting);
        }
        for (number, hits) in self.scans(waiting, batch)? {
            lists[number] = hits;
        }
        Ok(lists)
    }

    /// As [`batch`](Self::batch), with all hits in one vector.
    pub(crate) fn batch_flat(self, queries: &Codes, bound: Bound) -> Result<HitLists> {
        let batch = &self.plan_batch(queries.len(), bound)?;
        let found = self
            .tasks(queries, bound, batch, |lists: &mut HitLists, search| lists.push_with(search))?;
        let (mut lists, mut waiting) = (Vec::with_capacity(found.len()), Vec::new());
        for answers in found {
            lists.push(answers.lists);
            waiting.extend(answers.waiting);
        }
        let lists = HitLists::concat(&lists);
        let mut scanned = self.scans(waiting, batch)?;
        if scanned.is_empty() {
            return Ok(lists);
        }
        scanned.sort_unstable_by_key(|(number, _)| *number);
        Ok(lists.filled(&scanned))
    }

    /// Searches until only scans are left, with several queries in each task. `push` adds a list to the answers and calls its argument,
    /// which appends the hits of a query to that list.
    fn tasks<'q, L: Default + Send>(
        self,
        queries: &'q Codes,
        bound: Bound,
        batch: &BatchPlan,
        push: impl Fn(&mut L, &mut dyn FnMut(&mut Vec<Hit>) -> Result<()>) -> Result<()> + Sync,
    ) -> Result<Vec<Answers<'q, L>>> {
        self.check_batch(queries, bound)?;
        let tasks = (0..queries.len().div_ceil(QUERIES_PER_TASK)).into_par_iter().with_max_len(1);
        let task = |guard: &mut ScratchGuard, task| {
            let mut answers = Answers { lists: L::default(), waiting: Vec::new() };
            let first = task * QUERIES_PER_TASK;
            let numbers = first..queries.len().min(first + QUERIES_PER_TASK);
            self.prefetch(
                numbers.clone().map(|number| queries.get(number)),
                batch,
                guard.scratch(),
            );
            for number in numbers {
                let query = Query::new(queries.get(number), bound);
                self.check(query)?;
                push(&mut answers.lists, &mut |hits| {
                    let start = hits.len();
                    let course = Course { query, component: 0, hits, start, batch };
                    if let Some((query, component)) = self.go_on(course, guard.scratch())? {
                        let hits = hits.split_off(start);
                        answers.waiting.push(Waiting { number, query, component, hits });
                    }
                    Ok(())
                })?;
            }
            Ok(answers)
        };
        tasks.map_init(|| self.lend(false), task).collect()
    }

    /// Prefetches what searches for some queries read first.
    fn prefetch<'q>(
        self,
        queries: impl Iterator<Item = &'q [u8]>,
        batch: &BatchPlan,
        scratch: &mut Scratch,
    ) {
        let Some(first) = self.candidates.first().filter(|_| !batch.scans_at_once(0)) else {
            return;
        };
        if let Ok((component, _)) = self.component(first)
            && let Data::Segment(segment) = &component.data
        {
            look_ups::prefetch(segment, queries, &mut scratch.look_ups);
        }
    }

    /// Forecasts how a batch of this many queries ends in each component.
    fn plan_batch(self, queries: usize, bound: Bound) -> Result<BatchPlan> {
        let sharing = queries.min(QUERIES_PER_PASS);
        let forecast_of = |candidates: &Candidates| {
            let (component, accept) = self.component(candidates)?;
            let Data::Segment(segment) = &component.data else {
                return Ok(BatchForecast::NotScanned);
            };
            let query = Query::new(&[], bound);
            let request = segment_search(segment, query, accept, candidates.count);
            Ok(forecast(&SegmentSearch { sharing, ..request }))
        };
        let forecasts: Vec<BatchForecast> =
            self.candidates.iter().map(forecast_of).collect::<Result<_>>()?;
        Ok(BatchPlan::new(queries, forecasts))
    }

    /// Searches the components for a query until all are searched or only a scan of one is left. In the latter case it returns the query,
    /// whose bound is as narrow as the hits so far allow, and the place of that component.
    fn go_on<'q>(
        self,
        course: Course<'q, '_>,
        scratch: &mut Scratch,
    ) -> Result<Option<(Query<'q>, usize)>> {
        let Course { mut query, component: from, hits, start, batch } = course;
        for (place, candidates) in self.candidates.iter().enumerate().skip(from) {
            let middle = hits.len();
            let (component, accept) = self.component(candidates)?;
            match &component.data {
                Data::Segment(_) if batch.scans_at_once(place) => return Ok(Some((query, place))),
                Data::Segment(segment) => {
                    let request = segment_search(segment, query, accept, candidates.count);
                    let request = SegmentSearch { sharing: batch.sharing(place), ..request };
                    let ending = collect_but_scan(&request, scratch)?;
                    batch.note(place, &ending);
                    let Scratch { collector, rows, .. } = &mut *scratch;
                    if let Ending::Scan { .. } = ending {
                        // The scan will find these codes again, so they are forgotten. The limit that they led to is kept.
                        query.bound.radius = query.bound.radius.min(collector.limit());
                        return Ok(Some((query, place)));
                    }
                    collector.append_hits(segment, accept, rows, hits)?;
                }
                Data::MemTable(_) => {
                    self.search_component(candidates, query, scratch, Output::Hits(hits))?;
                }
            }
            let runs = Runs { hits: &mut *hits, start, middle, most: query.bound.k };
            query.bound = merge_and_narrow(runs, query.bound, &mut scratch.merging);
        }
        Ok(None)
    }

    /// The hits of waiting queries: each component is scanned for all that wait for it before the next one is.
    fn scans(
        self,
        mut waiting: Vec<Waiting<'_>>,
        batch: &BatchPlan,
    ) -> Result<Vec<(usize, Vec<Hit>)>> {
        let mut found = Vec::with_capacity(waiting.len());
        while let Some(first) = waiting.iter().map(|waiting| waiting.component).min() {
            let (mut now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|waiting| waiting.component == first);
            waiting = later;
            // Each task passes over the codes once for all of its queries; there is a task for each thread at least.
            let per_task =
                now.len().div_ceil(rayon::current_num_threads()).clamp(1, QUERIES_PER_PASS);
            let tasks = now.par_chunks_mut(per_task);
            let scan = |guard: &mut ScratchGuard, task: &mut [Waiting]| {
                self.scan_together(task, batch, guard.scratch())
            };
            tasks.map_init(|| self.lend(false), scan).collect::<Result<()>>()?;
            for one in now {
                match one.component < self.candidates.len() {
                    true => waiting.push(one),
                    false => found.push((one.number, one.hits)),
                }
            }
        }
        Ok(found)
    }

    /// Scans the component that some queries wait for, and continues these queries.
    fn scan_together(
        self,
        waiting: &mut [Waiting],
        batch: &BatchPlan,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Some(place) = waiting.first().map(|first| first.component) else { return Ok(()) };
        let (component, accept) = self.component(&self.candidates[place])?;
        let Data::Segment(segment) = &component.data else { return Ok(()) };
        let queries: Vec<&[u8]> = waiting.iter().map(|waiting| waiting.query.code).collect();
        let bounds: Vec<Bound> = waiting.iter().map(|waiting| waiting.query.bound).collect();
        let scan = SharedScan { segment, accept, queries: &queries, bounds: &bounds };
        scan.run(scratch)?;
        for (number, Waiting { query, component, hits, .. }) in waiting.iter_mut().enumerate() {
            let middle = hits.len();
            scan.append_hits(number, scratch, hits)?;
            let runs = Runs { hits: &mut *hits, start: 0, middle, most: query.bound.k };
            query.bound = merge_and_narrow(runs, query.bound, &mut scratch.merging);
            let course = Course { query: *query, component: place + 1, hits, start: 0, batch };
            (*query, *component) =
                self.go_on(course, scratch)?.unwrap_or((*query, self.candidates.len()));
        }
        Ok(())
    }
}
