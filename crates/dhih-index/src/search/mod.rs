//! Exact search in one segment: by looking up all codes a few bits from the query in the code hash table, by multi-index hashing
//! (Norouzi, Punjani, Fleet: "Fast Search in Hamming Space with Multi-Index Hashing", 2012), by scanning, or by a sequence of these,
//! whichever is estimated to be the cheapest.
//!
//! ```text
//! SegmentSearch -> collect -- plan.rs: which step is cheapest --> look_up, check_selected_rows, scan (step.rs)
//!                         \                                   \-> probe (buckets.rs, pipeline.rs)
//!                          \-- collector.rs: codes found, and the distance that still matters --> hits, a count
//! ```
//!
//! Several segments, memtables, ids and queries of the caller: `index/`. The tables: `table/`.

pub(crate) mod buckets;
pub(crate) mod collector;
pub(crate) mod explain;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod row_bits;
pub(crate) mod scratch;
pub(crate) mod state;
pub(crate) mod step;

use crate::error::Result;
use crate::hits::{Accept, Bound, Deadline, Hit, Reach};
use crate::search::buckets::probe;
use crate::search::explain::Decision;
use crate::search::plan::{Action, Costs, Plan, ProbeStep, Probing};
use crate::search::scratch::Scratch;
use crate::search::state::SearchState;
use crate::search::step::{check_selected_rows, look_up, scan};
use crate::store::segment::Segment;

/// How a search finds its hits. The hits are the same in any case.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Strategy};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
/// let index = Index::open(&dir)?;
///
/// let scanned = index.knn_by(Strategy::Scan, &[0b0011], 2)?;
/// assert_eq!(scanned, index.knn_by(Strategy::Auto, &[0b0011], 2)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// In the way that is estimated to be the cheapest; the choice is made anew after each step.
    #[default]
    Auto,
    /// By probing buckets, however many that takes: up to 2 to the power of a substring's length in each table. For measurements and
    /// tests.
    Probe,
    /// By scanning all codes.
    Scan,
}

/// The share of the cost of a scan that may be spent on cheap steps if a scan seems best. Most of the time these steps show that a scan
/// is not needed, and otherwise this share is all that they cost.
const EXPLORATION_SHARE: f64 = 0.05;

/// A search in one segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentSearch<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) query: &'a [u8],
    pub(crate) bound: Bound,
    pub(crate) strategy: Strategy,
    /// Which rows may be hits.
    pub(crate) accept: Accept<'a>,
    /// How many rows may be hits.
    pub(crate) candidates: usize,
    /// When the search stops; `None` lets it come to its end.
    pub(crate) deadline: Option<Deadline>,
}

/// Appends the hits of a search to `out`, by distance, then id.
pub(crate) fn search(
    request: &SegmentSearch,
    scratch: &mut Scratch,
    out: &mut Vec<Hit>,
) -> Result<()> {
    collect(request, scratch)?;
    scratch.collector.append_hits(request.segment, request.accept, out)
}

/// Leaves the codes that a search finds in the scratch's collector. Returns how far it came before it had to stop.
pub(crate) fn collect(request: &SegmentSearch, scratch: &mut Scratch) -> Result<Reach> {
    let &SegmentSearch { segment, bound, strategy, .. } = request;
    scratch.collector.begin(bound, segment.bits);
    let mut state = SearchState::new(request, scratch);
    match strategy {
        Strategy::Scan => scan(&mut state, 0),
        Strategy::Probe if segment.table_count() > 0 => probe_only(&mut state),
        _ if segment.table_count() > 0 => follow_plan(&mut state, request),
        _ => scan(&mut state, 0),
    }
}

/// Probes until all hits are found.
fn probe_only(state: &mut SearchState) -> Result<Reach> {
    state.order_tables()?;
    let tables = state.segment.table_count();
    let (mut next, mut reach) = (ProbeStep::default(), Reach::NOTHING);
    while next.weight <= state.segment.longest() {
        if probe(state, next, 0)?.is_none() {
            return Ok(reach);
        }
        if state.scratch.collector.limit() <= next.certified(tables) {
            return Ok(Reach::ALL);
        }
        reach = Reach(next.certified(tables) + 1);
        next = next.after(tables);
    }
    Ok(Reach::ALL)
}

/// How far a search has come.
#[derive(Default)]
struct Progress {
    /// All codes nearer than this were collected.
    certain: u32,
    /// All codes nearer than this were collected by look-ups of whole codes.
    looked_up: u32,
    /// The next step of probing.
    next: ProbeStep,
    /// The share of the codes compared in the last step of probing that were within the limit, if all of these are wanted. A k-NN
    /// search keeps few once k candidates are known.
    near_share: f64,
    /// What was spent on steps that were tried though a scan seemed best.
    explored: f64,
}

impl Progress {
    /// Whether whole codes may still be looked up: once a bucket was probed, they are not.
    fn may_look_up(&self) -> bool {
        self.next == ProbeStep::default()
    }
}

/// Takes the step that is estimated to be the cheapest, until all hits are found.
fn follow_plan(state: &mut SearchState, request: &SegmentSearch) -> Result<Reach> {
    let &SegmentSearch { segment, bound, accept, candidates, .. } = request;
    let (plan, tables) = (segment.plan(), segment.table_count());
    if accept.wanted.is_some() {
        let cost = plan.check_rows(candidates as f64);
        let all_are_hits = candidates <= bound.k;
        if cost < EXPLORATION_SHARE * plan.scan() || (cost < plan.scan() && all_are_hits) {
            return check_selected_rows(state);
        }
    }
    let expected = plan.expected(bound.k, segment.rows, candidates);
    state.order_tables()?;
    let mut progress = Progress::default();
    loop {
        let limit = state.scratch.collector.limit();
        if progress.certain > limit {
            return Ok(Reach::ALL);
        }
        if state.is_late() {
            return Ok(Reach(progress.certain));
        }
        let target = match expected {
            Some(expected) if expected >= progress.certain => expected.min(limit),
            _ => limit,
        };
        let costs = costs(&plan, state, &progress, target);
        let action = match costs.best() {
            Action::Scan => cheap_step(&plan, state, &mut progress).unwrap_or(Action::Scan),
            action => action,
        };
        if state.scratch.explain {
            let certain_within = progress.certain.checked_sub(1);
            let step = Decision { certain_within, limit, expected: target, costs, action };
            state.scratch.explanation.steps.push(step);
        }
        match action {
            Action::LookUp => {
                if !look_up(state, progress.certain)? {
                    return Ok(Reach(progress.certain));
                }
                progress.certain += 1;
                progress.looked_up = progress.certain;
            }
            Action::Probe => {
                let probed = probe(state, progress.next, progress.looked_up)?;
                let Some(near_share) = probed else { return Ok(Reach(progress.certain)) };
                if bound.k == usize::MAX {
                    progress.near_share = near_share;
                }
                progress.certain = progress.certain.max(progress.next.certified(tables) + 1);
                progress.next = progress.next.after(tables);
                if progress.next.weight > segment.longest() {
                    return Ok(Reach::ALL);
                }
            }
            Action::Scan => return scan(state, progress.certain),
        }
    }
}

/// What it would cost to find all codes within `target` in each way.
fn costs(plan: &Plan, state: &SearchState, progress: &Progress, target: u32) -> Costs {
    let &Progress { certain, next, near_share, .. } = progress;
    let order = &state.scratch.table_order;
    let look_up =
        if progress.may_look_up() { plan.look_up(certain, target) } else { f64::INFINITY };
    let probe = plan.probe(Probing { next, to: target, order, near_share });
    Costs { look_up, probe, scan: plan.scan() }
}

/// The cheaper one of the next look-up and the next probe, if together with those tried before it costs little beside a scan.
fn cheap_step(plan: &Plan, state: &SearchState, progress: &mut Progress) -> Option<Action> {
    let &mut Progress { certain, next, near_share, .. } = progress;
    let (to, order) = (next.certified(state.segment.table_count()), &state.scratch.table_order);
    let probe = plan.probe(Probing { next, to, order, near_share });
    let look_up =
        if progress.may_look_up() { plan.look_up(certain, certain) } else { f64::INFINITY };
    let (action, cost) =
        if look_up < probe { (Action::LookUp, look_up) } else { (Action::Probe, probe) };
    if progress.explored + cost > EXPLORATION_SHARE * plan.scan() {
        return None;
    }
    progress.explored += cost;
    Some(action)
}
