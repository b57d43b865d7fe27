//! Exact search in one segment: by looking up all codes a few bits from the query in the code hash table, by multi-index hashing
//! (Norouzi, Punjani, Fleet: "Fast Search in Hamming Space with Multi-Index Hashing", 2012), by scanning, or by a sequence of these,
//! whichever is estimated to be the cheapest.
//!
//! ```text
//! SegmentSearch -> collect -- plan.rs: which step is cheapest --> look_up (look_up.rs, look_ups.rs), check_selected_rows, scan (step.rs, parallel.rs)
//!    |              |     \      probing.rs: of which table   \-> probe (buckets.rs, pipeline.rs)
//!    |              |      \-- collector.rs: codes found, and the distance that still matters --> hits, a count
//!    |              |
//!    \-> collect_but_scan -> together.rs: scans that many queries share
//! ```
//!
//! Several segments, memtables, ids and queries of the caller: `index/`. The tables: `table/`.

pub(crate) mod buckets;
pub(crate) mod collector;
pub(crate) mod cost;
pub(crate) mod explain;
pub(crate) mod look_up;
pub(crate) mod look_ups;
pub(crate) mod parallel;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod probing;
pub(crate) mod profile;
pub(crate) mod prospects;
pub(crate) mod row_bits;
pub(crate) mod scratch;
pub(crate) mod shared_scratch;
pub(crate) mod state;
pub(crate) mod step;
#[cfg(test)]
mod tests;
pub(crate) mod together;

use crate::error::Result;
use crate::hits::{Accept, Bound, Deadline, Hit, Reach};
use crate::search::buckets::probe;
use crate::search::explain::Decision;
use crate::search::look_up::look_up;
use crate::search::parallel::ParallelProbe;
use crate::search::plan::{Action, Costs, Plan};
use crate::search::probing::{Probing, certain};
use crate::search::scratch::Scratch;
use crate::search::state::SearchState;
use crate::search::step::{check_selected_rows, scan};
use crate::store::segment::Segment;
use crate::table::substring::Substring;

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
/// The same where queries share the scan: most of them end in it, and its price is known.
const SHARED_EXPLORATION_SHARE: f64 = 0.02;
/// A share in a scan that costs less than this is not worth a plan, ...
const PLANNED_FROM: f64 = if cfg!(test) { 0.0 } else { 1000.0 };
/// ... and one that costs less than this is not where a typical query is expected to end in the scan.
const EXPLORED_FROM: f64 = if cfg!(test) { 0.0 } else { 30_000.0 };

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
    /// The number of queries that could share a scan with this one, itself included.
    pub(crate) sharing: usize,
}

/// How a search ended, or what is left of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// The search ended, and came this far.
    Reached(Reach),
    /// Only a scan of all codes is left. The codes nearer than `certain` were collected, and the hits are likely to be within `expected`, if
    /// that is known and of use.
    Scan { certain: u32, expected: Option<u32> },
}

/// Appends the hits of a search to `out`, by distance, then id.
pub(crate) fn search(
    request: &SegmentSearch,
    scratch: &mut Scratch,
    out: &mut Vec<Hit>,
) -> Result<()> {
    collect(request, scratch)?;
    let Scratch { collector, rows, .. } = scratch;
    collector.append_hits(request.segment, request.accept, rows, out)
}

/// Leaves the codes that a search finds in the scratch's collector. Returns how far it came before it had to stop.
pub(crate) fn collect(request: &SegmentSearch, scratch: &mut Scratch) -> Result<Reach> {
    match collect_but_scan(request, scratch)? {
        Ending::Reached(reach) => Ok(reach),
        Ending::Scan { certain, expected } => {
            scan(&mut SearchState::new(request, scratch), certain, expected)
        }
    }
}

/// As [`collect`], but the caller has to do the scan of all codes if only that is left. The collector then knows how far the scan has to
/// look.
pub(crate) fn collect_but_scan(request: &SegmentSearch, scratch: &mut Scratch) -> Result<Ending> {
    let &SegmentSearch { segment, bound, strategy, .. } = request;
    scratch.collector.begin(bound, segment.bits);
    let mut state = SearchState::new(request, scratch);
    match strategy {
        Strategy::Probe if segment.table_count() > 0 => probe_only(&mut state),
        Strategy::Auto if segment.table_count() > 0 => follow_plan(&mut state, request),
        _ => Ok(Ending::Scan { certain: 0, expected: None }),
    }
}

/// How the queries of a batch are expected to end in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchForecast {
    /// All of them share a scan at once, without a plan for each: plans would cost too much beside the scan, and nothing cheaper is expected.
    ScannedAtOnce,
    /// Most of them end in a scan.
    Scanned,
    /// Most of them need no scan.
    NotScanned,
}

/// How the queries of a batch are expected to end. The request may be that of any of them.
pub(crate) fn forecast(request: &SegmentSearch) -> BatchForecast {
    let &SegmentSearch { segment, bound, accept, candidates, sharing, .. } = request;
    let plan = Plan { sharing, ..segment.plan() };
    let filter = plan.filter(bound, segment.rows, candidates);
    if sharing <= 1 || accept.codes.is_some_and(|of| segment.check(of) < plan.scan() + filter) {
        return BatchForecast::NotScanned;
    }
    let expected = plan.expected(bound.k, segment.rows, candidates).unwrap_or(plan.bits);
    let lengths = segment.substrings().map(Substring::bits);
    let typical = plan.typical(lengths, expected.min(bound.radius));
    match typical < plan.scan() {
        true if plan.scan() < PLANNED_FROM => BatchForecast::ScannedAtOnce,
        true => BatchForecast::NotScanned,
        false if plan.scan() < EXPLORED_FROM => BatchForecast::ScannedAtOnce,
        false => BatchForecast::Scanned,
    }
}

/// Probes until all hits are found.
fn probe_only(state: &mut SearchState) -> Result<Ending> {
    let plan = state.segment.plan();
    state.begin_probing(&plan)?;
    loop {
        let reached = certain(&state.scratch.tables);
        if reached > state.scratch.collector.limit() {
            return Ok(Ending::Reached(Reach::ALL));
        }
        let (place, _) = plan.next_table(&state.scratch.tables, 0.0);
        let Some(probed) = probe(state, place, 0)? else {
            return Ok(Ending::Reached(Reach(reached)));
        };
        state.scratch.tables[place].advance(&plan, probed);
    }
}

/// How far a search has come.
#[derive(Default)]
struct Progress {
    /// All codes nearer than this were collected.
    certain: u32,
    /// All codes nearer than this were collected by look-ups of whole codes.
    looked_up: u32,
    /// Whether a bucket was probed: from then on, whole codes are not looked up.
    probed: bool,
    /// The share of the codes compared in the last step of probing that were within the limit, if all of these are wanted. A k-NN
    /// search keeps few once k candidates are known.
    near_share: f64,
    /// What was spent on steps that were tried though a scan seemed best.
    explored: f64,
    /// What is left of the cost that was estimated for probing, and up to which distance.
    estimated: Option<(u32, f64)>,
}

/// Takes the step that is estimated to be the cheapest, until all hits are found, or until a scan is.
fn follow_plan(state: &mut SearchState, request: &SegmentSearch) -> Result<Ending> {
    let &SegmentSearch { segment, bound, accept, candidates, sharing, .. } = request;
    let plan = Plan { sharing, ..segment.plan() };
    let check = accept.codes.map(|chosen| segment.check(chosen));
    if check.is_some_and(|cost| cost < EXPLORATION_SHARE * plan.scan()) {
        return check_selected_rows(state).map(Ending::Reached);
    }
    let expected = plan.expected(bound.k, segment.rows, candidates);
    state.begin_probing(&plan)?;
    let mut progress = Progress::default();
    if let Some(check) = check {
        let target = expected.unwrap_or(bound.radius).min(bound.radius);
        let costs = costs(&plan, state, &progress, target);
        let others = costs.look_up.min(costs.probe).min(costs.scan)
            + plan.filter(bound, segment.rows, candidates);
        if check < others {
            return check_selected_rows(state).map(Ending::Reached);
        }
    }
    loop {
        let limit = state.scratch.collector.limit();
        if progress.certain > limit {
            return Ok(Ending::Reached(Reach::ALL));
        }
        if state.is_late() {
            return Ok(Ending::Reached(Reach(progress.certain)));
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
                    return Ok(Ending::Reached(Reach(progress.certain)));
                }
                progress.certain += 1;
                progress.looked_up = progress.certain;
            }
            Action::Probe => {
                // A k-NN search takes steps one by one, since each may show that fewer are needed. So does a search that only tries
                // whether it needs a scan.
                let is_sure = costs.best() == Action::Probe && bound.k == usize::MAX;
                let probed = if sharing == 1 && is_sure && parallel::is_worthwhile(costs.probe) {
                    let Scratch { tables, probing_steps: steps, .. } = &mut *state.scratch;
                    let near_share = progress.near_share;
                    plan.probe(Probing { tables, to: target, near_share }, steps);
                    let target = steps.iter().map(|(table, _)| *table).collect();
                    let looked_up = progress.looked_up;
                    ParallelProbe { request, plan: &plan, target, looked_up }.run(state.scratch)?
                } else {
                    let next = plan.next_table(&state.scratch.tables, progress.near_share);
                    let (place, cost) = next;
                    progress.estimated = Some((target, costs.probe - cost));
                    let probed = probe(state, place, progress.looked_up)?;
                    if let Some(probed) = probed {
                        state.scratch.tables[place].advance(&plan, probed);
                    }
                    probed
                };
                let Some(probed) = probed else {
                    return Ok(Ending::Reached(Reach(progress.certain)));
                };
                progress.probed = true;
                if bound.k == usize::MAX {
                    progress.near_share = probed.near as f64 / probed.compared.max(1) as f64;
                }
                progress.certain = progress.certain.max(certain(&state.scratch.tables));
            }
            Action::Scan => {
                let expected = accept
                    .wanted
                    .and_then(|_| plan.safely_within(bound.k, segment.rows, candidates));
                return Ok(Ending::Scan { certain: progress.certain, expected });
            }
        }
    }
}

/// What it would cost to find all codes within `target` in each way.
fn costs(plan: &Plan, state: &mut SearchState, progress: &Progress, target: u32) -> Costs {
    let &Progress { certain, probed, near_share, estimated, .. } = progress;
    let (look_up, scan) = match probed {
        true => (f64::INFINITY, plan.scan()),
        false => (plan.look_up(certain, target), plan.scan()),
    };
    let Scratch { tables, probing_steps, .. } = &mut *state.scratch;
    // An estimate that is far from that of a scan holds until it is used up.
    let holds = |(to, left): &(u32, f64)| {
        target <= *to && *left < 0.5 * scan && plan.next_table(tables, near_share).1 <= *left
    };
    let probe = match estimated.filter(|estimated| probed && holds(estimated)) {
        Some((_, left)) => left,
        None => plan.probe(Probing { tables, to: target, near_share }, probing_steps),
    };
    Costs { look_up, probe, scan }
}

/// The cheaper one of the next look-up and the next probe, if together with those tried before it costs little beside a scan.
fn cheap_step(plan: &Plan, state: &SearchState, progress: &mut Progress) -> Option<Action> {
    let &mut Progress { certain, probed, near_share, .. } = progress;
    let (_, probe) = plan.next_table(&state.scratch.tables, near_share);
    let look_up = if probed { f64::INFINITY } else { plan.look_up(certain, certain) };
    let (action, cost) =
        if look_up < probe { (Action::LookUp, look_up) } else { (Action::Probe, probe) };
    let share = if plan.sharing > 1 { SHARED_EXPLORATION_SHARE } else { EXPLORATION_SHARE };
    if progress.explored + cost > share * plan.scan() {
        return None;
    }
    progress.explored += cost;
    Some(action)
}
