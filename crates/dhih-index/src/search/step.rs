//! The steps of a search, except probing: looking up whole codes, scanning all codes, and checking the rows of a filter one by one.
//! Probing: `buckets.rs`. Which step comes next: `mod.rs`.

use std::ops::Range;

use crate::error::Result;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::hits::Reach;
use crate::search::parallel;
use crate::search::state::{CODES_PER_LIMIT, SearchState};
use crate::table::linear_hash;

/// Whole codes whose groups in the code hash table are prefetched together before the first of them is looked up.
const LOOKUPS_PER_BATCH: usize = 64;

/// Collects all codes at one distance from the query, by looking up every possible code. Returns whether it came to its end before the
/// search had to stop.
pub(crate) fn look_up(state: &mut SearchState, distance: u32) -> Result<bool> {
    debug_assert!(distance <= linear_hash::certain_lookups(state.segment.bits));
    let mut hashes = std::mem::take(&mut state.scratch.hashes);
    hashes.clear();
    let flips = Flips { bits: 0..state.segment.bits, count: distance, hash: state.query_hash() };
    flips.append_hashes(&mut hashes);
    let done = look_up_hashes(state, distance, &hashes);
    state.scratch.hashes = hashes;
    done
}

/// Collects the codes at one distance from the query that have one of these hashes, each of which stands for one set of flipped
/// bits. No two sets of that size have equal hashes (`linear_hash::certain_lookups`), so that each code is found once.
fn look_up_hashes(state: &mut SearchState, distance: u32, hashes: &[u64]) -> Result<bool> {
    let Some(table) = state.segment.code_hash_table() else { return Ok(true) };
    let (query, own_hash, segment) = (state.query, state.query_hash(), state.segment);
    state.scratch.explanation.lookups += hashes.len() as u64;
    for batch in hashes.chunks(LOOKUPS_PER_BATCH) {
        if state.is_late() {
            return Ok(false);
        }
        batch.iter().for_each(|&hash| table.prefetch(hash));
        for &hash in batch {
            let mut found = None;
            let candidates = &mut state.scratch.explanation.candidates;
            table.find(hash, |number| {
                *candidates += 1;
                let Ok(code) = segment.code(number) else { return false };
                // Another code may have the same tag.
                let same = hamming::distance(query, code) == distance
                    && own_hash ^ linear_hash::of_difference(query, code) == hash;
                if same {
                    found = Some(number);
                }
                same
            });
            if let Some(number) = found
                && distance <= state.scratch.collector.limit()
            {
                state.collect(number, distance)?;
            }
        }
    }
    Ok(true)
}

/// The codes that differ from a code with this hash in `count` of some bits.
struct Flips {
    bits: Range<u32>,
    count: u32,
    hash: u64,
}

impl Flips {
    /// Appends the hash of each of the codes.
    fn append_hashes(self, hashes: &mut Vec<u64>) {
        let Self { bits, count, hash } = self;
        if count == 0 {
            hashes.push(hash);
            return;
        }
        for bit in bits.start..=bits.end.saturating_sub(count) {
            let hash = hash ^ linear_hash::of_bit(bit);
            Self { bits: bit + 1..bits.end, count: count - 1, hash }.append_hashes(hashes);
        }
    }
}

/// Collects the codes of the rows that a filter selects, by comparing these codes one by one.
pub(crate) fn check_selected_rows(state: &mut SearchState) -> Result<Reach> {
    let Some(chosen) = state.accept.codes else { return Ok(Reach::ALL) };
    let (codes, numbers) = (state.segment.codes(), chosen.numbers());
    state.scratch.explanation.candidates += numbers.len() as u64;
    let mut distances = std::mem::take(&mut state.scratch.distances);
    let mut reach = Reach::ALL;
    for some in numbers.chunks(CODES_PER_LIMIT) {
        if state.is_late() {
            reach = Reach::NOTHING;
            break;
        }
        some.iter()
            .for_each(|&number| hamming::prefetch(codes, number as usize * state.query.len()));
        distances.resize(some.len(), 0);
        hamming::distances_of(state.query, codes, some, &mut distances);
        for (&number, &distance) in some.iter().zip(&distances) {
            if distance <= state.scratch.collector.limit() {
                state.collect(number, distance)?;
            }
        }
    }
    state.scratch.distances = distances;
    Ok(reach)
}

/// Collects all codes that are not nearer than `certain`, by comparing each with the query. The nearer ones were all collected, and stay;
/// the others are forgotten before.
pub(crate) fn scan(state: &mut SearchState, certain: u32) -> Result<Reach> {
    let (codes, distinct) = (state.segment.codes(), state.segment.distinct as u32);
    state.scratch.collector.forget_from(certain);
    state.scratch.explanation.scanned += u64::from(distinct);
    if parallel::is_worthwhile(state.segment.plan().scan()) {
        return parallel::scan(state, certain);
    }
    let mut near = std::mem::take(&mut state.scratch.near_codes);
    let mut reach = Reach::ALL;
    for start in (0..distinct).step_by(CODES_PER_LIMIT) {
        if state.is_late() {
            reach = Reach(certain);
            break;
        }
        let end = distinct.min(start.saturating_add(CODES_PER_LIMIT as u32));
        let limit = state.scratch.collector.limit();
        let ranges = &[CodeRange { start, end }];
        hamming::collect_near(&NearRequest { query: state.query, codes, ranges, limit }, &mut near);
        for Near { at, distance } in near.drain(..) {
            if distance >= certain && distance <= state.scratch.collector.limit() {
                state.collect(at, distance)?;
            }
        }
    }
    state.scratch.near_codes = near;
    Ok(reach)
}
