//! Looking up whole codes: every code at one distance from the query is looked for in the code hash table. A look-up reads a group of tags,
//! then a slot, then a code. Each of these reads is likely to miss the cache, so that the look-ups are taken in batches, and what a stage
//! reads is prefetched while other stages work. The table itself: `table/code_hash.rs`.
//!
//! ```text
//! hashes of batch n + 1 --tags prefetched
//! hashes of batch n     --tags read------> slots --prefetched and read--> numbers --codes prefetched
//! numbers of batch n - 1 --codes read----> collected
//! ```

use crate::error::Result;
use crate::hamming;
use crate::search::look_ups::{Candidate, LookUps};
use crate::search::state::SearchState;
use crate::table::code_hash::CodeHashTable;
use crate::table::linear_hash::{self, certain_lookups};

/// Whole codes that are looked up together.
const LOOKUPS_PER_BATCH: usize = 64;
/// The greatest distance at which whole codes are looked up, whatever their length.
const MAX_DISTANCE: usize = certain_lookups(1) as usize;

/// Collects all codes at one distance from the query, by looking up every possible code. Returns whether it came to its end before the
/// search had to stop.
pub(crate) fn look_up(state: &mut SearchState, distance: u32) -> Result<bool> {
    debug_assert!(distance <= certain_lookups(state.segment.bits));
    let Some(table) = state.segment.code_hash_table() else { return Ok(true) };
    let mut look_ups = std::mem::take(&mut state.scratch.look_ups);
    let mut flips = Flips::new(state.segment.bits, distance, state.query_hash());
    let done = run(state, &mut flips, &table, &mut look_ups);
    state.scratch.look_ups = look_ups;
    done
}

/// Collects the codes at one distance from the query, each of which stands for one set of flipped bits. No two sets of that size have equal
/// hashes ([`certain_lookups`]), so that each code is found once.
fn run(
    state: &mut SearchState,
    flips: &mut Flips,
    table: &CodeHashTable,
    look_ups: &mut LookUps,
) -> Result<bool> {
    let distance = flips.count as u32;
    look_ups.numbers.clear();
    prepare(flips, table, &mut look_ups.hashes);
    while !look_ups.hashes.is_empty() {
        if state.is_late() {
            return Ok(false);
        }
        prepare(flips, table, &mut look_ups.next_hashes);
        let (mut from, count) = (0, look_ups.hashes.len());
        state.scratch.explanation.lookups += count as u64;
        while from < count {
            from = look_ups.find_slots(table, from);
            collect(state, distance, &look_ups.numbers)?;
            look_ups.read_slots(table, state.segment);
        }
        std::mem::swap(&mut look_ups.hashes, &mut look_ups.next_hashes);
    }
    collect(state, distance, &look_ups.numbers)?;
    Ok(true)
}

/// Makes the hashes of the next batch, and prefetches what is read first of the table.
fn prepare(flips: &mut Flips, table: &CodeHashTable, hashes: &mut Vec<u64>) {
    hashes.clear();
    flips.append_hashes(LOOKUPS_PER_BATCH, hashes);
    hashes.iter().for_each(|&hash| table.prefetch(hash));
}

/// Collects those of some codes that were looked up.
fn collect(state: &mut SearchState, distance: u32, candidates: &[Candidate<u32>]) -> Result<()> {
    let (query, own_hash) = (state.query, state.query_hash());
    state.scratch.explanation.candidates += candidates.len() as u64;
    for &Candidate { hash, at: number } in candidates {
        let code = state.segment.code(number)?;
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

/// The hashes of the codes that differ from a code in `count` of `bits` bits, in the lexical order of the flipped bits.
struct Flips {
    bits: u32,
    count: usize,
    /// The flipped bits of the next code, ascending; the first `count` places are in use.
    flipped: [u32; MAX_DISTANCE],
    /// The hashes of the code with none, one, two, ... of these bits flipped.
    hashes: [u64; MAX_DISTANCE + 1],
    /// Whether no code is left.
    is_done: bool,
}

impl Flips {
    fn new(bits: u32, count: u32, hash: u64) -> Self {
        let flipped = std::array::from_fn(|at| at as u32);
        let hashes = [hash; MAX_DISTANCE + 1];
        let is_done = count > bits;
        let mut flips = Self { bits, count: count as usize, flipped, hashes, is_done };
        flips.hash_from(0);
        flips
    }

    /// Computes the hashes again from one with this number of flipped bits on. The hash with the last one is computed as it is needed.
    fn hash_from(&mut self, start: usize) {
        for at in start..self.count.saturating_sub(1) {
            self.hashes[at + 1] = self.hashes[at] ^ linear_hash::of_bit(self.flipped[at]);
        }
    }

    /// Appends the hashes of the next codes, `most` of them unless fewer are left.
    fn append_hashes(&mut self, most: usize, hashes: &mut Vec<u64>) {
        let end = hashes.len() + most;
        while hashes.len() < end && !self.is_done {
            let Some(last) = self.count.checked_sub(1) else {
                hashes.push(self.hashes[0]);
                self.is_done = true;
                return;
            };
            let (first, left) = (self.flipped[last], (end - hashes.len()) as u32);
            let behind = self.bits.min(first.saturating_add(left));
            let hash = self.hashes[last];
            let of_bits = linear_hash::of_bits(first..behind);
            hashes.extend(of_bits.iter().map(|of_bit| hash ^ of_bit));
            self.flipped[last] = behind;
            if behind == self.bits {
                self.advance();
            }
        }
    }

    /// Goes on to the next bits after the last one has been each of those behind the one before it.
    fn advance(&mut self) {
        let last = self.count - 1;
        let can_move =
            |at: &usize| (self.flipped[*at] as usize) < self.bits as usize - (self.count - at);
        let Some(moved) = (0..last).rev().find(can_move) else {
            self.is_done = true;
            return;
        };
        let first = self.flipped[moved] + 1;
        (first..).zip(&mut self.flipped[moved..=last]).for_each(|(bit, at)| *at = bit);
        self.hash_from(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes in the same order, one set of bits inside the other.
    fn one_by_one(bits: std::ops::Range<u32>, count: u32, hash: u64, hashes: &mut Vec<u64>) {
        match count {
            0 => hashes.push(hash),
            _ => bits.clone().for_each(|bit| {
                let hash = hash ^ linear_hash::of_bit(bit);
                one_by_one(bit + 1..bits.end, count - 1, hash, hashes);
            }),
        }
    }

    #[test]
    fn flips_are_all_sets_of_bits_in_batches() {
        for bits in [1, 2, 3, 7, 12, 20, 64] {
            for count in 0..=if bits > 20 { 3 } else { MAX_DISTANCE as u32 } {
                let mut expected = Vec::new();
                one_by_one(0..bits, count, 7, &mut expected);
                for most in [1, 3, 64] {
                    let (mut flips, mut all) = (Flips::new(bits, count, 7), Vec::new());
                    loop {
                        let before = all.len();
                        flips.append_hashes(most, &mut all);
                        if all.len() < before + most {
                            break;
                        }
                    }
                    assert!(all == expected, "{count} of {bits} bits, {most} at a time");
                }
            }
        }
    }
}
