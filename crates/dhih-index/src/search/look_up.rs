//! Looking up whole codes: every code at one distance from the query is looked for in the code hash table. A look-up reads a group of tags,
//! then a slot, then a code. Each of these reads is likely to miss the cache, so that the look-ups are taken in batches, and what a stage
//! reads is prefetched while other stages work. The table itself: `table/code_hash.rs`.
//!
//! ```text
//! hashes of batch n + 1 --tags prefetched
//! hashes of batch n     --tags read------> slots --prefetched and read--> numbers --codes prefetched
//! numbers of batch n - 1 --codes read----> collected
//! ```

use std::ops::Range;

use crate::error::Result;
use crate::hamming;
use crate::search::look_ups::{Candidate, LookUps};
use crate::search::state::SearchState;
use crate::table::code_hash::CodeHashTable;
use crate::table::linear_hash;

/// Whole codes that are looked up together.
const LOOKUPS_PER_BATCH: usize = 64;

/// Collects all codes at one distance from the query, by looking up every possible code. Returns whether it came to its end before the
/// search had to stop.
pub(crate) fn look_up(state: &mut SearchState, distance: u32) -> Result<bool> {
    debug_assert!(distance <= linear_hash::certain_lookups(state.segment.bits));
    let Some(table) = state.segment.code_hash_table() else { return Ok(true) };
    let mut look_ups = std::mem::take(&mut state.scratch.look_ups);
    look_ups.hashes.clear();
    let flips = Flips { bits: 0..state.segment.bits, count: distance, hash: state.query_hash() };
    flips.append_hashes(&mut look_ups.hashes);
    let done = run(state, distance, &table, &mut look_ups);
    state.scratch.look_ups = look_ups;
    done
}

/// Collects the codes at one distance from the query that have one of the hashes, each of which stands for one set of flipped bits. No two
/// sets of that size have equal hashes (`linear_hash::certain_lookups`), so that each code is found once.
fn run(
    state: &mut SearchState,
    distance: u32,
    table: &CodeHashTable,
    look_ups: &mut LookUps,
) -> Result<bool> {
    let count = look_ups.hashes.len();
    state.scratch.explanation.lookups += count as u64;
    look_ups.numbers.clear();
    let batch = |start: usize| start.min(count)..count.min(start + LOOKUPS_PER_BATCH);
    look_ups.hashes[batch(0)].iter().for_each(|&hash| table.prefetch(hash));
    for start in (0..count).step_by(LOOKUPS_PER_BATCH) {
        if state.is_late() {
            return Ok(false);
        }
        let next = batch(start + LOOKUPS_PER_BATCH);
        look_ups.hashes[next].iter().for_each(|&hash| table.prefetch(hash));
        look_ups.find_slots(table, batch(start));
        collect(state, distance, &look_ups.numbers)?;
        look_ups.read_slots(table, state.segment);
    }
    collect(state, distance, &look_ups.numbers)?;
    Ok(true)
}

/// Collects those of some codes that were looked up.
fn collect(state: &mut SearchState, distance: u32, candidates: &[Candidate]) -> Result<()> {
    let (query, own_hash) = (state.query, state.query_hash());
    state.scratch.explanation.candidates += candidates.len() as u64;
    for &Candidate { hash, at: number } in candidates {
        let Ok(code) = state.segment.code(number) else { continue };
        // Another code may have the same tag.
        if hamming::distance(query, code) == distance
            && own_hash ^ linear_hash::of_difference(query, code) == hash
            && distance <= state.scratch.collector.limit()
        {
            state.collect(number, distance)?;
        }
    }
    Ok(())
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
        match count {
            0 => hashes.push(hash),
            1 => {
                let of_bits = linear_hash::of_bits(bits);
                hashes.extend(of_bits.iter().map(|of_bit| hash ^ of_bit));
            }
            _ => {
                for bit in bits.start..=bits.end.saturating_sub(count) {
                    let hash = hash ^ linear_hash::of_bit(bit);
                    Self { bits: bit + 1..bits.end, count: count - 1, hash }.append_hashes(hashes);
                }
            }
        }
    }
}
