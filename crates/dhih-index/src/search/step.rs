//! Steps of a search: scanning all codes, and checking the rows of a filter one by one. Looking up whole codes: `look_up.rs`. Probing:
//! `buckets.rs`. Which step comes next: `mod.rs`.

use crate::error::Result;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::hits::Reach;
use crate::search::parallel;
use crate::search::state::{CODES_PER_LIMIT, SearchState};

/// After this part of the codes it is examined whether those within the expected distance will have all hits, ...
const EXAMINED: u32 = 8;
/// ... which is not expected if fewer than this share of the wanted hits were found.
const FRUITLESS: f64 = 1.0 / 64.0;

/// Collects the codes of the rows that a filter selects, by comparing these codes alone.
pub(crate) fn check_selected_rows(state: &mut SearchState) -> Result<Reach> {
    let Some(chosen) = state.accept.codes else { return Ok(Reach::ALL) };
    state.scratch.explanation.candidates += chosen.len() as u64;
    match state.segment.copies(chosen) {
        Some(copies) => check_copies(state, chosen.numbers(), copies),
        None => check_in_place(state, chosen.numbers()),
    }
}

/// Compares copies of codes, whose numbers are given.
fn check_copies(state: &mut SearchState, numbers: &[u32], copies: &[u8]) -> Result<Reach> {
    let mut near = std::mem::take(&mut state.scratch.near_codes);
    let mut reach = Reach::ALL;
    let count = numbers.len() as u32;
    for start in (0..count).step_by(CODES_PER_LIMIT) {
        if state.is_late() {
            reach = Reach::NOTHING;
            break;
        }
        let ranges = &[CodeRange { start, end: count.min(start + CODES_PER_LIMIT as u32) }];
        let limit = state.scratch.collector.limit();
        let request = NearRequest { query: state.query, codes: copies, ranges, limit };
        hamming::collect_near(&request, &mut near);
        for Near { at, distance } in near.drain(..) {
            if distance <= state.scratch.collector.limit() {
                state.collect(numbers[at as usize], distance)?;
            }
        }
    }
    state.scratch.near_codes = near;
    Ok(reach)
}

/// Compares codes by number one by one, in the order in which they lie in memory.
fn check_in_place(state: &mut SearchState, numbers: &[u32]) -> Result<Reach> {
    let codes = state.segment.codes();
    let mut distances = std::mem::take(&mut state.scratch.distances);
    let mut reach = Reach::ALL;
    for some in numbers.chunks(CODES_PER_LIMIT) {
        if state.is_late() {
            reach = Reach::NOTHING;
            break;
        }
        for &number in some {
            state.segment.prefetch_code(number);
        }
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
/// the others are forgotten before. If the hits are expected within a distance, the codes up to there are collected first: most searches
/// need no others, and while fewer than `k` hits are known, nothing else would limit them.
pub(crate) fn scan(
    state: &mut SearchState,
    mut certain: u32,
    expected: Option<u32>,
) -> Result<Reach> {
    state.scratch.collector.forget_from(certain);
    if parallel::is_worthwhile(state.segment.plan().scan()) {
        state.scratch.explanation.scanned += state.segment.distinct as u64;
        return parallel::scan(state, certain);
    }
    if let Some(within) = expected.filter(|&within| within < state.scratch.collector.limit()) {
        match scan_within(state, certain, within)? {
            Scanned::Late => return Ok(Reach(certain)),
            Scanned::All if state.scratch.collector.limit() <= within => return Ok(Reach::ALL),
            Scanned::All => certain = within + 1,
            Scanned::Fruitless => state.scratch.collector.forget_from(certain),
        }
    }
    match scan_within(state, certain, u32::MAX)? {
        Scanned::Late => Ok(Reach(certain)),
        _ => Ok(Reach::ALL),
    }
}

/// How a pass through all codes ended.
enum Scanned {
    All,
    /// The search had to stop.
    Late,
    /// So few codes were found within the distance that it will not have all hits.
    Fruitless,
}

/// Collects the codes at the distances from `certain` to `within`, as long as these are within the limit.
fn scan_within(state: &mut SearchState, certain: u32, within: u32) -> Result<Scanned> {
    let (codes, distinct) = (state.segment.codes(), state.segment.distinct as u32);
    let examined = (distinct / EXAMINED + 1).next_multiple_of(CODES_PER_LIMIT as u32);
    let mut near = std::mem::take(&mut state.scratch.near_codes);
    let mut ending = Scanned::All;
    for start in (0..distinct).step_by(CODES_PER_LIMIT) {
        if state.is_late() {
            ending = Scanned::Late;
            break;
        }
        let is_examined = start == examined && within < u32::MAX;
        if is_examined && state.scratch.collector.share_within(within) < FRUITLESS {
            ending = Scanned::Fruitless;
            break;
        }
        let end = distinct.min(start.saturating_add(CODES_PER_LIMIT as u32));
        state.scratch.explanation.scanned += u64::from(end - start);
        let limit = state.scratch.collector.limit().min(within);
        let ranges = &[CodeRange { start, end }];
        hamming::collect_near(&NearRequest { query: state.query, codes, ranges, limit }, &mut near);
        for Near { at, distance } in near.drain(..) {
            if distance >= certain && distance <= state.scratch.collector.limit() {
                state.collect(at, distance)?;
            }
        }
    }
    state.scratch.near_codes = near;
    Ok(ending)
}
