//! Which action is cheapest for a search: looking up whole codes one bit further away, probing the next buckets, or scanning all codes. The
//! estimates rest on measured costs (`cost.rs`) and on statistics of the codes (`profile.rs`); hits never depend on them. Which buckets are
//! next: `probing.rs`. The steps themselves: `step.rs`, `buckets.rs`.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::hits::Bound;
use crate::search::cost::CodeCosts;
use crate::search::profile::Profile;
use crate::table::{linear_hash, probe};

/// Fewer nearest neighbours than this are as far away as luck has it: their distance is not relied upon.
const FEWEST: usize = 10;

/// The actions of a search.
///
/// ```
/// use dhih_index::{Action, CodeSet, Codes, Index, IndexBuilder, Strategy};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
/// let index = Index::open(&dir)?;
///
/// let (_, explanation) = index.explain_knn(Strategy::Auto, &[0b0011], 2)?;
/// // Three codes are scanned sooner than looked up.
/// assert!(explanation.steps.iter().any(|step| step.action == Action::Scan));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Look up every whole code that is one bit further away.
    LookUp,
    /// Probe the next buckets.
    Probe,
    /// Scan all codes.
    Scan,
}

/// The data that a plan for a search in a segment rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// The length of a code in bits.
    pub(crate) bits: u32,
    /// The costs of its codes.
    pub(crate) costs: CodeCosts,
    /// The number of queries that share a scan; 1 where a query is alone.
    pub(crate) sharing: usize,
    /// Whether there is a code hash table, so that whole codes can be looked up.
    pub(crate) code_hash_table: bool,
    /// The statistics of the codes, if they are known.
    pub(crate) profile: Option<&'a Profile>,
}

/// The estimated costs of finishing a search by each action. They are nanoseconds on the machine on which they were measured; only their
/// ratios matter.
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
/// let (_, explanation) = index.explain_knn(Strategy::Auto, &[0b0011], 2)?;
/// assert!(explanation.steps.iter().all(|step| step.costs.scan > 0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Costs {
    /// By looking up whole codes; infinite if that is not possible.
    pub look_up: f64,
    /// By probing buckets.
    pub probe: f64,
    /// By scanning all codes.
    pub scan: f64,
}

impl Costs {
    /// The cheapest action.
    pub(crate) fn best(self) -> Action {
        if self.look_up <= self.probe && self.look_up <= self.scan {
            Action::LookUp
        } else if self.probe <= self.scan {
            Action::Probe
        } else {
            Action::Scan
        }
    }
}

impl Plan<'_> {
    /// The estimated distance of the last hit of a k-NN search; `None` if it is not known, or if all items will be hits. `rows` is the
    /// number of rows in the segment, of which `candidates` may be hits, the others being removed or not selected: the k-th of those
    /// is about as far from the query as a later one of all rows.
    pub(crate) fn expected(&self, k: usize, rows: usize, candidates: usize) -> Option<u32> {
        let profile = self.profile.filter(|_| k < candidates)?;
        Some(profile.expected(k as f64 * (rows as f64 / candidates as f64)))
    }

    /// A distance within which the hits of a k-NN search almost certainly are if the rows that may be hits are near the query as often as all
    /// others are; arguments and `None` as for [`expected`](Self::expected).
    pub(crate) fn safely_within(&self, k: usize, rows: usize, candidates: usize) -> Option<u32> {
        self.expected(k, rows, candidates)?;
        Some(self.expected(k.max(FEWEST), rows, candidates).unwrap_or(self.bits) + 1)
    }

    /// The cost of finding out which codes near the query a filter selects: of all within the limit, which the k-th hit so far sets. When the
    /// search begins that is far away, and it comes nearer as the harmonic series grows.
    pub(crate) fn filter(&self, bound: Bound, rows: usize, candidates: usize) -> f64 {
        let (rows, candidates) = (rows as f64, candidates as f64);
        let hits = (bound.k as f64).min(candidates);
        let seen = hits * (rows / candidates) * (1.0 + (candidates / hits).ln());
        let within = self.profile.map_or(rows, |profile| profile.within(bound.radius));
        self.costs.filter(seen.min(within).min(rows))
    }

    /// The cost of scanning all codes.
    pub(crate) fn scan(&self) -> f64 {
        self.costs.scan(self.sharing)
    }

    /// The cost of looking up all codes at the distances `from..=to`; infinite if that cannot be done.
    pub(crate) fn look_up(&self, from: u32, to: u32) -> f64 {
        // Further away, a look-up by hash is not certain to find each code once.
        if !self.code_hash_table || to > linear_hash::certain_lookups(self.bits) {
            return f64::INFINITY;
        }
        let count = (from..=to).map(|distance| probe::count(self.bits, distance)).sum();
        self.costs.look_ups(count)
    }
}
