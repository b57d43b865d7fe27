//! A scan of one query on several threads: the codes are cut into stripes, and each stripe is scanned by itself. The stripes share the limit,
//! so that what is found in one of them limits all. What is collected is the same for any number of threads.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::error::Result;
use crate::hamming::{self, CodeRange, NearRequest};
use crate::hits::{Bound, Deadline, Reach};
use crate::search::collector::HitCollector;
use crate::search::state::{CODES_PER_LIMIT, SearchState, Wanted};
use crate::store::segment::Segment;

/// A scan is cut into stripes where it takes so many nanoseconds at least: waking threads takes some ten thousand. Few in tests.
const STRIPED_FROM: f64 = if cfg!(test) { 10.0 } else { 300_000.0 };
/// Stripes for each thread, so that a thread that comes late does less of the work.
const STRIPES_PER_THREAD: u32 = 4;

/// Into how many stripes a scan of this cost is cut; 1 where it stays whole.
pub(super) fn count(cost: f64) -> u32 {
    let threads = rayon::current_num_threads() as u32;
    if threads > 1 && cost >= STRIPED_FROM { threads * STRIPES_PER_THREAD } else { 1 }
}

/// Collects all codes that are not nearer than `certain`, as [`scan`](super::step::scan) does, in so many stripes.
pub(super) fn scan(state: &mut SearchState, certain: u32, stripes: u32) -> Result<Reach> {
    let SearchState { segment, query, wanted, deadline, ref mut scratch, .. } = *state;
    let collector = &mut scratch.collector;
    let (bound, limit) = (collector.bound(), AtomicU32::new(collector.limit()));
    let scan = StripedScan { segment, query, wanted, deadline, bound, certain, limit: &limit };
    let distinct = segment.distinct as u32;
    let per_stripe = distinct.div_ceil(stripes);
    let stripe = |stripe: u32| {
        let start = distinct.min(stripe.saturating_mul(per_stripe));
        scan.stripe(CodeRange { start, end: distinct.min(start.saturating_add(per_stripe)) })
    };
    let collected: Result<Vec<Stripe>> = (0..stripes).into_par_iter().map(stripe).collect();
    let mut reach = Reach::ALL;
    for Stripe { found, ended } in collected? {
        collector.absorb(&found);
        if !ended {
            reach = Reach(certain);
        }
    }
    Ok(reach)
}

/// What is scanned for, in all stripes.
#[derive(Clone, Copy)]
struct StripedScan<'a> {
    segment: &'a Segment,
    query: &'a [u8],
    wanted: Wanted<'a>,
    deadline: Option<Deadline>,
    bound: Bound,
    certain: u32,
    /// The least limit of all stripes.
    limit: &'a AtomicU32,
}

/// What was found in a stripe, and whether it was scanned to its end.
struct Stripe {
    found: HitCollector,
    ended: bool,
}

impl StripedScan<'_> {
    fn stripe(self, stripe: CodeRange) -> Result<Stripe> {
        let (mut found, mut near) = (HitCollector::default(), Vec::new());
        found.begin(self.bound, self.segment.bits);
        let codes = self.segment.codes();
        for start in (stripe.start..stripe.end).step_by(CODES_PER_LIMIT) {
            if self.deadline.is_some_and(Deadline::is_past) {
                return Ok(Stripe { found, ended: false });
            }
            let end = stripe.end.min(start.saturating_add(CODES_PER_LIMIT as u32));
            let limit = self.limit.load(Ordering::Relaxed).min(found.limit());
            let (query, ranges) = (self.query, &[CodeRange { start, end }]);
            hamming::collect_near(&NearRequest { query, codes, ranges, limit }, &mut near);
            for code in near.drain(..) {
                if code.distance >= self.certain && code.distance <= found.limit() {
                    self.wanted.add(&mut found, code)?;
                }
            }
            self.limit.fetch_min(found.limit(), Ordering::Relaxed);
        }
        Ok(Stripe { found, ended: true })
    }
}
