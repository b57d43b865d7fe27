//! Searches for one query on several threads. A scan is divided into stripes of codes; probing within a radius is divided by tables. Every
//! hit lowers the limit for all threads. The result is the same for any number of threads.
//!
//! The threads live as long as the search: those of a pool may be busy with other work, for which a search would have to wait.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use crate::error::Result;
use crate::hamming::{self, CodeRange, NearRequest};
use crate::hits::{Bound, Deadline, Reach};
use crate::search::SegmentSearch;
use crate::search::buckets::probe;
use crate::search::collector::HitCollector;
use crate::search::plan::Plan;
use crate::search::probing::{Probed, TableProgress};
use crate::search::scratch::Scratch;
use crate::search::state::{CODES_PER_LIMIT, SearchState, Wanted};
use crate::store::segment::Segment;

/// Work that takes at least this many nanoseconds is divided: starting a thread takes some ten thousand. The number is small in tests.
const PARALLEL_FROM: f64 = if cfg!(test) { 10.0 } else { 1_000_000.0 };
/// Threads of a search at most: a few use all that memory can give.
const MOST_THREADS: usize = 16;
/// Stripes for each thread, so that a thread that starts late does less of the work.
const STRIPES_PER_THREAD: u32 = 4;

/// Whether work of this estimated cost is divided. On the threads of a pool it is not, because they are busy with other searches.
pub(super) fn is_worthwhile(cost: f64) -> bool {
    cost >= PARALLEL_FROM && rayon::current_thread_index().is_none() && threads() > 1
}

/// Threads of a search.
fn threads() -> usize {
    LIMIT.get().unwrap_or_else(rayon::current_num_threads).min(MOST_THREADS)
}

thread_local! {
    /// The most threads of a search that begins on this thread; `None` for those of the machine.
    static LIMIT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Runs `work`, in which each search for one query takes at most so many threads, the caller's included. Otherwise it takes as many as rayon
/// does. Searches of a batch run on the threads of rayon in any case.
pub fn with_search_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let _before = Restore(LIMIT.replace(Some(threads)));
    work()
}

/// Sets the limit back, also after a panic.
struct Restore(Option<usize>);

impl Drop for Restore {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}

/// Runs a task for each number below `count`, on this thread and on others if there are any. The results are in the order of the numbers.
fn run<T: Send>(count: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, task(number)));
        }
    };
    thread::scope(|scope| {
        // Where the system gives no more threads, there are fewer.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads().min(count)).map_while(start).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
    })
}

/// Collects all codes that are not nearer than `certain`, as [`scan`](super::step::scan) does, in stripes.
pub(super) fn scan(state: &mut SearchState, certain: u32) -> Result<Reach> {
    let SearchState { segment, query, wanted, deadline, ref mut scratch, .. } = *state;
    let collector = &mut scratch.collector;
    let (bound, limit) = (collector.bound(), AtomicU32::new(collector.limit()));
    let scan = StripedScan { segment, query, wanted, deadline, bound, certain, limit: &limit };
    let distinct = segment.distinct as u32;
    let stripes = threads() as u32 * STRIPES_PER_THREAD;
    let per_stripe = distinct.div_ceil(stripes);
    let stripe = |stripe: usize| {
        let start = distinct.min((stripe as u32).saturating_mul(per_stripe));
        scan.stripe(CodeRange { start, end: distinct.min(start.saturating_add(per_stripe)) })
    };
    let mut reach = Reach::ALL;
    for stripe in run(stripes as usize, stripe) {
        let Stripe { found, ended } = stripe?;
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

/// Probing that is cut by tables.
pub(super) struct ParallelProbe<'a> {
    pub(super) request: &'a SegmentSearch<'a>,
    pub(super) plan: &'a Plan<'a>,
    /// How far the tables are probed.
    pub(super) target: Vec<TableProgress>,
    /// All codes nearer than this were collected by look-ups of whole codes.
    pub(super) looked_up: u32,
}

impl ParallelProbe<'_> {
    /// Probes each table as far as the target says, each by a task of its own. Returns what was found in all; `None` where the search had
    /// to stop before.
    pub(super) fn run(&self, scratch: &mut Scratch) -> Result<Option<Probed>> {
        let (bound, limit) = (scratch.collector.bound(), AtomicU32::new(scratch.collector.limit()));
        let before: &[TableProgress] = &scratch.tables;
        let open = |place: &usize| before[*place].done < self.target[*place].done;
        let places: Vec<usize> = (0..before.len()).filter(open).collect();
        let task = |number: usize| -> Result<_> {
            let place = places[number];
            let mut scratch = Scratch::default();
            scratch.collector.begin(bound, self.request.segment.bits);
            // A code in buckets of several tables is collected by the first of them, or was by a table that was probed before.
            scratch.tables.extend_from_slice(&self.target[..place]);
            scratch.tables.extend_from_slice(&before[place..]);
            let probed = self.table(place, &limit, &mut scratch)?;
            Ok((place, probed, scratch))
        };
        let tables = run(places.len(), task);
        let mut all = Some(Probed::default());
        for table in tables {
            let (place, probed, of_table) = table?;
            scratch.collector.absorb(&of_table.collector);
            scratch.explanation.add(&of_table.explanation);
            scratch.tables[place] = of_table.tables[place];
            all = all.zip(probed).map(|(all, probed)| all + probed);
        }
        Ok(all)
    }

    fn table(
        &self,
        place: usize,
        limit: &AtomicU32,
        scratch: &mut Scratch,
    ) -> Result<Option<Probed>> {
        let mut state = SearchState::new(self.request, scratch);
        let mut all = Probed::default();
        while state.scratch.tables[place].done < self.target[place].done {
            state.scratch.collector.lower_limit(limit.load(Ordering::Relaxed));
            let Some(probed) = probe(&mut state, place, self.looked_up)? else { return Ok(None) };
            state.scratch.tables[place].advance(self.plan, probed);
            limit.fetch_min(state.scratch.collector.limit(), Ordering::Relaxed);
            all = all + probed;
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_takes_no_more_threads_than_its_caller_allows() {
        let (long, free) = (f64::MAX, threads());
        with_search_threads(1, || {
            assert!(!is_worthwhile(long), "one thread divides no work");
            with_search_threads(3, || assert!(is_worthwhile(long) && threads() == 3));
            assert_eq!(threads(), 1);
        });
        with_search_threads(1000, || assert_eq!(threads(), MOST_THREADS));
        let panic =
            std::panic::catch_unwind(|| with_search_threads::<()>(1, || panic!("for the test")));
        assert!(panic.is_err() && threads() == free, "the limit ends with the work");
    }
}
