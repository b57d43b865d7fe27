//! Exact search in a segment by multi-index hashing (Norouzi, Punjani, Fleet: "Fast Search in
//! Hamming Space with Multi-Index Hashing", 2012), and by scanning where that is cheaper. Ids and
//! queries are the caller's: `index.rs`.

use crate::error::Result;
use crate::probe::{self, Masks};
use crate::segment::Segment;
use crate::table::Table;
use crate::topk::{Best, Hit};
use crate::{flat, hamming};

/// How a search goes through an index. The hits are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Looks up buckets as long as that is cheaper than scanning, then scans.
    #[default]
    Auto,
    /// Looks up buckets, however many it takes: up to 2 to the power of a substring's length. To
    /// measure and to test.
    Probe,
    /// Scans all codes.
    Scan,
}

/// How many codes are scanned in the time that one bucket takes.
const SCANNED_PER_PROBE: u64 = 64;
/// Buckets whose places are looked up before the first is read, so that the look-ups overlap.
const BATCH: usize = 128;

/// The memory of a search, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// A bit for each code: whether this search has met it.
    met: Vec<u64>,
    /// The words of `met` that are not zero.
    touched: Vec<u32>,
    buckets: Vec<(u32, u32)>,
    candidates: Vec<u32>,
    distances: Vec<u32>,
}

impl Scratch {
    /// Notes a code; false where it was noted before, `None` where there is no such code.
    #[inline]
    fn meet(&mut self, code: u32) -> Option<bool> {
        let at = code / 64;
        let word = self.met.get_mut(at as usize)?;
        if *word == 0 {
            self.touched.push(at);
        }
        let bit = 1 << (code % 64);
        let new = *word & bit == 0;
        *word |= bit;
        Some(new)
    }

    fn clear(&mut self, distinct: usize) {
        self.met.resize(distinct.div_ceil(64), 0);
        for at in self.touched.drain(..) {
            self.met[at as usize] = 0;
        }
    }
}

/// The hits of a query among the codes of a segment, in order.
pub(crate) fn search(
    segment: &Segment,
    query: &[u8],
    mut best: Best,
    strategy: Strategy,
    scratch: &mut Scratch,
) -> Result<Vec<Hit>> {
    let budget = match strategy {
        Strategy::Auto => segment.distinct as u64 / SCANNED_PER_PROBE,
        Strategy::Probe => u64::MAX,
        Strategy::Scan => 0,
    };
    if strategy == Strategy::Scan || !probe_until_sure(segment, query, &mut best, budget, scratch)?
    {
        best.clear();
        flat::scan(query, segment.codes(), &mut best, |best, code, distance| {
            take(segment, best, code, distance)
        })?;
    }
    Ok(best.into_hits())
}

/// Probes the tables in turn, buckets that differ from the query in 0 bits, then 1, and so on.
/// False where the budget of buckets would not suffice.
///
/// A code that differs in `d` bits differs in at most `d / m` (rounded down) in one of its `m`
/// substrings. So once the first `t + 1` tables have been probed up to `w` bits and the others up
/// to `w - 1`, every code within `w * m + t` bits has been met: were it not, it would differ in `(t
/// + 1) * (w + 1) + (m - t - 1) * w = w * m + t + 1`.
fn probe_until_sure(
    segment: &Segment,
    query: &[u8],
    best: &mut Best,
    budget: u64,
    scratch: &mut Scratch,
) -> Result<bool> {
    let tables = segment.table_count();
    let substrings = || (0..tables).map(|part| segment.substring(part));
    let longest = substrings().map(|substring| substring.bits).max().unwrap_or(0);
    scratch.clear(segment.distinct);
    let mut probes = 0_u64;
    for weight in 0..=longest {
        let round: u64 = substrings().map(|substring| probe::count(substring.bits, weight)).sum();
        probes = probes.saturating_add(round);
        if probes > budget {
            return Ok(false);
        }
        for part in 0..tables {
            gather(segment, &segment.table(part), query, weight, scratch)?;
            check(segment, query, best, scratch)?;
            if best.limit() as usize <= weight as usize * tables + part {
                return Ok(true);
            }
        }
    }
    Ok(true)
}

/// Collects the codes not met before from the buckets of a table that differ from the query in
/// `weight` bits.
fn gather(
    segment: &Segment,
    table: &Table,
    query: &[u8],
    weight: u32,
    scratch: &mut Scratch,
) -> Result<()> {
    let outside = || segment.corrupt("a table leaves its bounds");
    let value = table.substring.of(query);
    let mut masks = Masks::new(table.substring.bits, weight);
    scratch.candidates.clear();
    loop {
        scratch.buckets.clear();
        for mask in masks.by_ref().take(BATCH) {
            let bucket = table.bucket(value ^ mask).ok_or_else(outside)?;
            if bucket.0 != bucket.1 {
                scratch.buckets.push(bucket);
            }
        }
        for at in 0..scratch.buckets.len() {
            for &code in table.codes(scratch.buckets[at]).ok_or_else(outside)? {
                if scratch.meet(code).ok_or_else(outside)? {
                    scratch.candidates.push(code);
                }
            }
        }
        if masks.is_done() {
            return Ok(());
        }
    }
}

/// Takes the candidates that are near enough.
fn check(segment: &Segment, query: &[u8], best: &mut Best, scratch: &mut Scratch) -> Result<()> {
    let Scratch { candidates, distances, .. } = scratch;
    if candidates.iter().any(|&code| code as usize >= segment.distinct) {
        return Err(segment.corrupt("a table names a code that is not there"));
    }
    distances.resize(candidates.len(), 0);
    hamming::distances_of(query, segment.codes(), candidates, distances);
    for (&code, &distance) in candidates.iter().zip(distances.iter()) {
        if distance <= best.limit() {
            take(segment, best, code as usize, distance)?;
        }
    }
    Ok(())
}

/// Offers the items of a code, which ascend by id.
fn take(segment: &Segment, best: &mut Best, code: usize, distance: u32) -> Result<()> {
    let outside = || segment.corrupt("a list of rows leaves its bounds");
    for &row in segment.rows_of(code).ok_or_else(outside)? {
        if row as usize >= segment.rows {
            return Err(outside());
        }
        let id = segment.ids().map_or(u64::from(row), |ids| ids[row as usize]);
        if !best.push(Hit { distance, id }) {
            break;
        }
    }
    Ok(())
}
