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
use crate::search::state::SearchState;
use crate::store::mmap;
use crate::store::segment::Segment;
use crate::table::code_hash::CodeHashTable;
use crate::table::linear_hash;

/// Whole codes that are looked up together.
const LOOKUPS_PER_BATCH: usize = 64;

/// The look-ups in progress. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    /// The hash of each code that is looked up.
    hashes: Vec<u64>,
    /// The slots of a batch whose tags are those of hashes.
    slots: Vec<Candidate>,
    /// The numbers in the slots of the batch before.
    numbers: Vec<Candidate>,
}

/// What may belong to a code that is looked up.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The hash of the code that is looked up.
    hash: u64,
    /// The slot in the code hash table, or the number that is there.
    at: u32,
}

impl LookUps {
    /// Bytes of memory that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.hashes.capacity()
            + size_of::<Candidate>() * (self.slots.capacity() + self.numbers.capacity())
    }

    /// Frees memory until about `bytes` bytes are left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.hashes.clear();
        self.hashes.shrink_to(bytes / 8);
        // A batch has few candidates, unless the table is damaged.
        (self.slots, self.numbers) = (Vec::new(), Vec::new());
    }

    /// Finds the slots that may have the codes of a batch.
    fn find_slots(&mut self, table: &CodeHashTable, batch: Range<usize>) {
        self.slots.clear();
        for &hash in &self.hashes[batch] {
            table.visit_slots(hash, |at| {
                hamming::prefetch(table.slots, at as usize);
                if table.on_disk {
                    mmap::request(table.slots, at as usize..at as usize + 1);
                }
                self.slots.push(Candidate { hash, at });
                false
            });
        }
    }

    /// Reads the numbers in the slots, and prefetches what is read of their codes.
    fn read_slots(&mut self, table: &CodeHashTable, segment: &Segment) {
        self.numbers.clear();
        let starts = segment.starts().unwrap_or_default();
        for &Candidate { hash, at } in &self.slots {
            let Some(&number) = table.slots.get(at as usize) else { continue };
            segment.prefetch_code(number);
            hamming::prefetch(starts, number as usize);
            self.numbers.push(Candidate { hash, at: number });
        }
    }
}

/// Prefetches what searches for some queries read first: their own buckets' directory entries, and all that is read to find the items whose
/// codes equal a query. Each stage reads what the stage before prefetched, for all queries.
pub(crate) fn prefetch<'q>(
    segment: &Segment,
    queries: impl Iterator<Item = &'q [u8]>,
    look_ups: &mut LookUps,
) {
    let Some(table) = segment.code_hash_table() else { return };
    look_ups.hashes.clear();
    for query in queries {
        let hash = linear_hash::of_code(query);
        table.prefetch(hash);
        look_ups.hashes.push(hash);
        for number in 0..segment.table_count() {
            let table = segment.table(number);
            table.prefetch(table.substring.of(query));
        }
    }
    let all = 0..look_ups.hashes.len();
    look_ups.find_slots(&table, all);
    look_ups.read_slots(&table, segment);
    let (starts, rows, ids) = (segment.starts(), segment.row_order(), segment.ids());
    for found in &mut look_ups.numbers {
        let number = found.at as usize;
        found.at = starts.map_or(found.at, |starts| starts.get(number).copied().unwrap_or(0));
        hamming::prefetch(rows, found.at as usize);
    }
    for found in look_ups.numbers.iter().filter(|_| ids.is_some()) {
        if let (Some(ids), Some(&row)) = (ids, rows.get(found.at as usize)) {
            hamming::prefetch(ids, row as usize);
        }
    }
}

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
