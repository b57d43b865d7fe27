//! Probing: the buckets of one table at one distance from the query are looked up, and the codes in them are compared with the query.
//! Codes that an earlier step found are left out. How buckets are prefetched: `pipeline.rs`. Which table and which distance come next:
//! `mod.rs`.

use crate::error::Result;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::search::pipeline::BucketPipeline;
use crate::search::probing::{Probed, TableProgress};
use crate::search::scratch::Scratch;
use crate::search::state::{CODES_PER_LIMIT, SearchState, outside};
use crate::table::Table;
use crate::table::probe::Masks;

/// The number of buckets that are compared before the limit is read again.
const BUCKETS_PER_LIMIT: usize = 8;
/// The same number if the codes are not in the table: then the codes of many buckets are fetched together.
const FAR_BUCKETS_PER_LIMIT: usize = 64;

/// A probe of one table.
#[derive(Clone, Copy)]
struct Probe<'a> {
    /// The place of the table among those that are probed.
    place: usize,
    table: Table<'a>,
    /// In how many bits the values of the buckets differ from the query's own.
    weight: u32,
    /// All codes nearer than this were collected by look-ups of whole codes.
    looked_up: u32,
}

/// Collects the codes in the next buckets of a table, except those that were collected before: the ones nearer than `looked_up`, and those
/// in a bucket of an earlier step. `None` where the search had to stop before all buckets were compared.
pub(crate) fn probe(
    state: &mut SearchState,
    place: usize,
    looked_up: u32,
) -> Result<Option<Probed>> {
    let before = state.scratch.explanation.candidates;
    let mut pipeline = std::mem::take(&mut state.scratch.pipeline);
    pipeline.clear();
    let weight = state.scratch.tables[place].done;
    let probe = Probe { place, table: state.table(place), weight, looked_up };
    let near = probe.run(state, &mut pipeline);
    state.scratch.pipeline = pipeline;
    let compared = state.scratch.explanation.candidates - before;
    Ok(near?.map(|near| Probed { compared, near }))
}

impl Probe<'_> {
    /// Compares a few buckets at a time, so that the limit falls as codes are found. Returns how many codes were within the limit; `None`
    /// where the search had to stop before.
    fn run(&self, state: &mut SearchState, pipeline: &mut BucketPipeline) -> Result<Option<usize>> {
        let (table, width) = (&self.table, state.query.len());
        let own_value = table.substring.of(state.query);
        let masks = Masks::new(table.substring.bits(), self.weight);
        let mut values = masks.map(|mask| own_value ^ mask);
        let ahead = BucketPipeline::ahead(table);
        let per_limit =
            if table.codes.is_empty() { FAR_BUCKETS_PER_LIMIT } else { BUCKETS_PER_LIMIT };
        // Buckets before number `at` were compared.
        let (mut at, mut near) = (0, 0);
        pipeline.advance(table, 0, &mut values);
        loop {
            if pipeline.buckets.len() - at < ahead && pipeline.waiting() > 0 {
                state.scratch.explanation.probes += pipeline.waiting() as u64;
                let kept = pipeline.buckets.len() - at;
                let advanced = pipeline.advance(table, at, &mut values);
                advanced.ok_or_else(|| outside(state.segment))?;
                at = 0;
                if state.is_late() {
                    return Ok(None);
                }
                state.scratch.explanation.buckets += (pipeline.buckets.len() - kept) as u64;
                continue;
            }
            if at == pipeline.buckets.len() {
                return Ok(Some(near));
            }
            if state.is_late() {
                return Ok(None);
            }
            pipeline.prefetch(table, at + ahead, width);
            let (end, rest) = next_portion(&mut pipeline.buckets, at, per_limit);
            near += self.compare(state, &pipeline.buckets[at..end])?;
            at = end;
            if let Some(rest) = rest {
                at -= 1;
                pipeline.buckets[at] = rest;
            }
        }
    }

    /// Collects the codes of some buckets that are within the limit. Returns how many of them there are, including those that were
    /// collected before.
    fn compare(&self, state: &mut SearchState, buckets: &[CodeRange]) -> Result<usize> {
        let (mut near, width) = (std::mem::take(&mut state.scratch.near_codes), state.query.len());
        self.collect_near(state, buckets, &mut near)?;
        let found = near.len();
        self.prefetch_rows(state, &near);
        for Near { at, distance } in near.drain(..) {
            if distance >= self.looked_up && distance <= state.scratch.collector.limit() {
                let number = self.table.number(at).ok_or_else(|| outside(state.segment))?;
                let copy = self.table.codes.get(at as usize * width..);
                let copy = copy.and_then(|codes| codes.get(..width));
                let code = copy.map_or_else(|| state.segment.code(number), Ok)?;
                if !is_in_earlier_bucket(state, code, self.place) {
                    state.collect(number, distance)?;
                }
            }
        }
        state.scratch.near_codes = near;
        Ok(found)
    }

    /// Prefetches where the posting lists of some codes start: each of them is counted if it is collected.
    fn prefetch_rows(&self, state: &SearchState, near: &[Near]) {
        let Some(starts) = state.segment.starts().filter(|_| near.len() > 1) else { return };
        for Near { at, .. } in near {
            state.segment.prefetch(self.table.postings, *at as usize);
        }
        for Near { at, .. } in near {
            if let Some(number) = self.table.number(*at) {
                state.segment.prefetch(starts, number as usize);
            }
        }
    }

    /// Appends the codes of some buckets that are within the limit; they are named by their places in the table.
    fn collect_near(
        &self,
        state: &mut SearchState,
        buckets: &[CodeRange],
        near: &mut Vec<Near>,
    ) -> Result<()> {
        let (query, limit) = (state.query, state.scratch.collector.limit());
        let codes = buckets.iter().map(|bucket| u64::from(bucket.end - bucket.start));
        state.scratch.explanation.candidates += codes.sum::<u64>();
        let distinct = state.segment.distinct as u32;
        if buckets.iter().any(|bucket| bucket.start > bucket.end || bucket.end > distinct) {
            return Err(outside(state.segment));
        }
        let table = &self.table;
        if !table.codes.is_empty() {
            let request = NearRequest { query, codes: table.codes, ranges: buckets, limit };
            hamming::collect_near(&request, near);
            return Ok(());
        }
        // The codes are too long to be copied into the table: they are read where the segment has them.
        let codes = state.segment.codes();
        let Scratch { numbers, distances, .. } = &mut *state.scratch;
        numbers.clear();
        for &CodeRange { start, end } in buckets {
            numbers.extend_from_slice(&table.postings[start as usize..end as usize]);
        }
        if numbers.iter().any(|&number| number >= distinct) {
            return Err(outside(state.segment));
        }
        for &number in &*numbers {
            state.segment.prefetch_code(number);
        }
        distances.resize(numbers.len(), 0);
        hamming::distances_of(query, codes, numbers, distances);
        let places = buckets.iter().flat_map(|bucket| bucket.start..bucket.end);
        let compared = places.zip(&*distances).map(|(at, &distance)| Near { at, distance });
        near.extend(compared.filter(|near| near.distance <= limit));
        Ok(())
    }
}

/// Chooses the buckets, from number `at` on and at most `most`, that are compared before the limit is read again. Returns the number of the
/// first bucket after them. If the last of them is long, it is cut in place, and its rest, which has to be compared next, is returned as
/// well.
fn next_portion(buckets: &mut [CodeRange], at: usize, most: usize) -> (usize, Option<CodeRange>) {
    let (mut end, mut codes) = (at, 0);
    while end < buckets.len() && end < at + most && codes < CODES_PER_LIMIT {
        codes += (buckets[end].end - buckets[end].start) as usize;
        end += 1;
    }
    if codes <= 2 * CODES_PER_LIMIT {
        return (end, None);
    }
    let last = &mut buckets[end - 1];
    let cut = (last.end - (codes - CODES_PER_LIMIT) as u32).max(last.start + 1);
    let rest = CodeRange { start: cut, end: last.end };
    last.end = cut;
    (end, Some(rest))
}

/// Whether a code in a bucket of the table at `place` that is being probed is also in a bucket that was probed before. Earlier buckets of
/// the same table cannot have it, because they have other values.
fn is_in_earlier_bucket(state: &SearchState, code: &[u8], place: usize) -> bool {
    let mut tables = state.scratch.tables.iter().enumerate();
    let probed = |(at, table): (usize, &TableProgress)| {
        at != place
            && table.done > 0
            && hamming::masked(state.query, code, state.table(at).mask) < table.done
    };
    tables.any(probed)
}
