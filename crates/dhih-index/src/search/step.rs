//! Steps of a search: scanning all codes, and checking the rows of a filter one by one. Looking up whole codes: `look_up.rs`. Probing:
//! `buckets.rs`. Which step comes next: `mod.rs`.

use crate::error::Result;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::hits::Reach;
use crate::search::parallel;
use crate::search::state::{CODES_PER_LIMIT, SearchState};

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
