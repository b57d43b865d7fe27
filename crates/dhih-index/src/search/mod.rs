//! Exact search in a segment: by whole codes a few bits from the query, by multi-index hashing (Norouzi, Punjani, Fleet: "Fast
//! Search in Hamming Space with Multi-Index Hashing", 2012), by scanning, and by one after the other where that is cheapest.
//! Ids and queries are the caller's: `index.rs`. The choice: `planner.rs`.

pub(crate) mod buckets;
pub(crate) mod collector;
pub(crate) mod plan;
pub(crate) mod row_bits;

use std::ops::Range;

use serde::Serialize;

use crate::error::Result;
use crate::hamming::{self, Near};
use crate::hits::Accept;
use crate::hits::Bound;
use crate::hits::Hit;
use crate::search::buckets::Pipeline;
use crate::search::collector::HitCollector;
use crate::search::plan::{Action, Costs, Plan, ProbeStep, TableOrder};
use crate::store::segment::Segment;
use crate::table::Table;
use crate::table::code_hash;
use crate::table::postings::Postings;

/// How a search goes through an index. The hits are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Whichever way is cheapest, decided anew after each step.
    #[default]
    Auto,
    /// Looks up buckets, however many it takes: up to 2 to the power of a substring's length. To measure and to test.
    Probe,
    /// Scans all codes.
    Scan,
}

/// What a search did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// CodeHashTable codes looked up.
    pub lookups: u64,
    /// Buckets looked up.
    pub probes: u64,
    /// Of these, those that held codes.
    pub buckets: u64,
    /// Codes compared with the query in buckets and after look-ups.
    pub candidates: u64,
    /// Codes scanned.
    pub scanned: u64,
    /// The decisions.
    pub steps: Vec<Decision>,
}

/// A decision of a search, and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// All codes within this distance were known; absent at first.
    pub certain_within: Option<u32>,
    /// The greatest distance that could still matter.
    pub limit: u32,
    /// The distance at which the search was expected to end.
    pub expected: u32,
    costs: Costs,
    way: Action,
}

/// CodeHashTable codes whose places are asked for before the first is looked up.
const BATCH: usize = 64;
/// Codes that are compared before the limit is looked at again.
pub(crate) const CHUNK: usize = 512;
/// The part of the cost of a scan that is spent on cheap steps where a scan seems best: most of the time they show that it is
/// not, and where they do not, this is all that they cost.
const EXPLORE: f64 = 0.05;

/// The memory of a search, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) collector: HitCollector,
    pub(crate) near: Vec<Near>,
    pub(crate) pipeline: Pipeline,
    pub(crate) numbers: Vec<u32>,
    pub(crate) distances: Vec<u32>,
    hashes: Vec<u64>,
    /// The tables in the order in which they are probed.
    turns: Vec<TableOrder>,
    pub(crate) explanation: Explanation,
    /// Whether decisions are written down.
    pub(crate) explain: bool,
}

/// The hits of a query among the codes of a segment, in order.
pub(crate) fn search(
    segment: &Segment,
    query: &[u8],
    bound: Bound,
    strategy: Strategy,
    accept: Accept,
    scratch: &mut Scratch,
) -> Result<Vec<Hit>> {
    scratch.collector.begin(bound, segment.bits);
    let mut search = Search { segment, query, accept, postings: segment.postings(), scratch };
    match strategy {
        Strategy::Scan => search.scan()?,
        Strategy::Probe if segment.table_count() > 0 => search.probe_alone()?,
        _ if segment.table_count() > 0 => search.by_plan(bound)?,
        _ => search.scan()?,
    }
    scratch.collector.hits(segment, accept)
}

/// A search under way.
pub(crate) struct Search<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) query: &'a [u8],
    /// Rows that are looked for.
    pub(crate) accept: Accept<'a>,
    postings: Postings<'a>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> Search<'a> {
    /// The cheapest way, step by step.
    fn by_plan(&mut self, bound: Bound) -> Result<()> {
        let segment = self.segment;
        let plan = segment.plan();
        let mut k = bound.k as f64;
        if let Some(wanted) = self.accept.wanted {
            // Rather than finding out when enough of them were met.
            let (few, each) = (wanted.len() as f64, plan.each(wanted.len() as f64));
            if each < EXPLORE * plan.scan() || (each < plan.scan() && few <= k) {
                return self.each();
            }
            // Among a part of the items as many are found in a greater distance.
            k *= segment.rows as f64 / few;
        }
        let known = plan.profile.filter(|_| bound.k < usize::MAX);
        let expected = known.map(|profile| profile.expected(k as usize));
        self.order_tables()?;
        // All codes up to `certain` - 1 are known; those up to `floor` - 1 from look-ups of whole codes.
        let (mut certain, mut floor, mut next) = (0, 0, ProbeStep::default());
        let (tables, mut explored) = (segment.table_count(), 0.0);
        // Of all within a radius many may be found; of the nearest few are, once some are known.
        let (all, mut found) = (bound.k == usize::MAX, 0.0);
        loop {
            let limit = self.scratch.collector.limit();
            if certain > limit {
                return Ok(());
            }
            let target = match expected {
                Some(expected) if expected >= certain => expected.min(limit),
                _ => limit,
            };
            let untouched = next == ProbeStep::default();
            let costs = Costs {
                look_up: if untouched { plan.look_up(certain, target) } else { f64::INFINITY },
                probe: plan.probe(next, target, &self.scratch.turns, found),
                scan: plan.scan(),
            };
            let mut way = costs.best();
            if way == Action::Scan {
                way =
                    self.explore(&plan, untouched.then_some(certain), (next, found), &mut explored);
            }
            if self.scratch.explain {
                let certain_within = certain.checked_sub(1);
                let step = Decision { certain_within, limit, expected: target, costs, way };
                self.scratch.explanation.steps.push(step);
            }
            match way {
                Action::LookUp => {
                    self.look_up(certain)?;
                    certain += 1;
                    floor = certain;
                }
                Action::Probe => {
                    let share = self.probe(next, floor)?;
                    found = if all { share } else { 0.0 };
                    certain = certain.max(next.certified(tables) + 1);
                    next = next.after(tables);
                    if next.weight > segment.longest() {
                        return Ok(());
                    }
                }
                Action::Scan => return self.scan(),
            }
        }
    }

    /// The next step, if with those before it it costs little beside a scan.
    fn explore(
        &self,
        plan: &Plan,
        whole: Option<u32>,
        (next, found): (ProbeStep, f64),
        explored: &mut f64,
    ) -> Action {
        let certified = next.certified(self.segment.table_count());
        let probe = plan.probe(next, certified, &self.scratch.turns, found);
        let look_up = whole.map_or(f64::INFINITY, |certain| plan.look_up(certain, certain));
        let (way, cost) =
            if look_up < probe { (Action::LookUp, look_up) } else { (Action::Probe, probe) };
        if *explored + cost > EXPLORE * plan.scan() {
            return Action::Scan;
        }
        *explored += cost;
        way
    }

    /// Orders the tables by the sizes of the query's own buckets, least first: what they hold bounds how far the fuller ones are
    /// searched.
    fn order_tables(&mut self) -> Result<()> {
        let turns = &mut self.scratch.turns;
        turns.clear();
        for part in 0..self.segment.table_count() {
            let table = self.segment.table(part);
            let bucket = table.bucket(table.substring.of(self.query));
            let (start, end) = bucket.ok_or_else(|| outside(self.segment))?;
            let (own, bits) = (end.saturating_sub(start), table.substring.bits());
            turns.push(TableOrder { own, part, bits });
        }
        turns.sort_unstable();
        Ok(())
    }

    /// The table whose turn is number `place` among those of a weight.
    pub(crate) fn table(&self, place: usize) -> Table<'a> {
        self.segment.table(self.scratch.turns[place].part)
    }

    fn probe_alone(&mut self) -> Result<()> {
        self.order_tables()?;
        let tables = self.segment.table_count();
        let mut next = ProbeStep::default();
        while next.weight <= self.segment.longest() {
            self.probe(next, 0)?;
            if self.scratch.collector.limit() <= next.certified(tables) {
                return Ok(());
            }
            next = next.after(tables);
        }
        Ok(())
    }

    /// Takes the wanted rows one by one.
    fn each(&mut self) -> Result<()> {
        let Some(wanted) = self.accept.wanted else { return Ok(()) };
        let code_of_row = self.segment.code_of_row();
        let outside = || outside(self.segment);
        // Ascending by code, so that none is taken twice and memory is read in order.
        let code = |row: u32| code_of_row.get(row as usize).copied().ok_or_else(outside);
        let mut numbers: Vec<u32> = wanted.iter().map(code).collect::<Result<_>>()?;
        numbers.sort_unstable();
        numbers.dedup();
        self.scratch.explanation.candidates += numbers.len() as u64;
        for number in numbers {
            let distance = hamming::distance(self.query, self.segment.code(number)?);
            if distance <= self.scratch.collector.limit() {
                self.take(number, distance)?;
            }
        }
        Ok(())
    }

    /// Takes all codes.
    fn scan(&mut self) -> Result<()> {
        let (codes, distinct) = (self.segment.codes(), self.segment.distinct as u32);
        self.scratch.collector.forget();
        self.scratch.explanation.scanned += u64::from(distinct);
        let mut near = std::mem::take(&mut self.scratch.near);
        for start in (0..distinct).step_by(CHUNK) {
            let chunk = [(start, distinct.min(start.saturating_add(CHUNK as u32)))];
            let limit = self.scratch.collector.limit();
            hamming::near(self.query, codes, &chunk, limit, &mut near);
            for Near { at, distance } in near.drain(..) {
                if distance <= self.scratch.collector.limit() {
                    self.take(at, distance)?;
                }
            }
        }
        self.scratch.near = near;
        Ok(())
    }

    /// Takes the codes `distance` bits from the query by looking up each that there could be.
    fn look_up(&mut self, distance: u32) -> Result<()> {
        let hash = code_hash::hash(self.query);
        let mut hashes = std::mem::take(&mut self.scratch.hashes);
        hashes.clear();
        flip(0..self.segment.bits, distance, hash, &mut hashes);
        let done = self.find_all((hash, distance), &hashes);
        self.scratch.hashes = hashes;
        done
    }

    fn find_all(&mut self, (own, distance): (u64, u32), hashes: &[u64]) -> Result<()> {
        let Some(whole) = self.segment.whole() else { return Ok(()) };
        let query = self.query;
        self.scratch.explanation.lookups += hashes.len() as u64;
        for batch in hashes.chunks(BATCH) {
            batch.iter().for_each(|&hash| whole.prefetch(hash));
            for &hash in batch {
                let mut found = None;
                let candidates = &mut self.scratch.explanation.candidates;
                whole.find(hash, |number| {
                    *candidates += 1;
                    let Ok(code) = self.segment.code(number) else { return false };
                    // A code has one hash, so none is found twice.
                    let same = hamming::distance(query, code) == distance
                        && own ^ differing(query, code) == hash;
                    if same {
                        found = Some(number);
                    }
                    same
                });
                if let Some(number) = found
                    && distance <= self.scratch.collector.limit()
                {
                    self.take(number, distance)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a code with its items.
    #[inline(always)]
    pub(crate) fn take(&mut self, number: u32, distance: u32) -> Result<()> {
        if self.scratch.collector.takes_all() {
            self.scratch.collector.add_one_of_all(distance, number);
            return Ok(());
        }
        let rows = self.postings.of(number).ok_or_else(|| self.segment.outside())?;
        let items = if self.accept.all() {
            rows.len()
        } else {
            rows.iter().filter(|&&row| self.accept.row(row)).count()
        };
        if items > 0 {
            self.scratch.collector.add(distance, number, items);
        }
        Ok(())
    }
}

/// Collects the hashes of all codes that differ from one in `count` of some bits.
fn flip(bits: Range<u32>, count: u32, hash: u64, hashes: &mut Vec<u64>) {
    if count == 0 {
        hashes.push(hash);
        return;
    }
    for bit in bits.start..=bits.end.saturating_sub(count) {
        flip(bit + 1..bits.end, count - 1, hash ^ code_hash::of_bit(bit), hashes);
    }
}

/// The hash of the bits in which two codes differ.
fn differing(a: &[u8], b: &[u8]) -> u64 {
    let mut hash = 0;
    for (at, (a, b)) in (0..).zip(a.iter().zip(b)) {
        let mut bits = a ^ b;
        while bits != 0 {
            hash ^= code_hash::of_bit(8 * at + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    hash
}

#[cold]
pub(crate) fn outside(segment: &Segment) -> crate::Error {
    segment.corrupt("a table leaves its bounds")
}
