//! What a search did and why, for those who ask: counts of its work, and each decision with the costs that it compared.

use serde::Serialize;

use crate::search::plan::{Action, Costs};

/// What a search did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Whole codes looked up in the code hash table.
    pub lookups: u64,
    /// Buckets looked up.
    pub probes: u64,
    /// Buckets, among those looked up, that were not empty.
    pub buckets: u64,
    /// Codes compared with the query in buckets and after look-ups.
    pub candidates: u64,
    /// Codes scanned.
    pub scanned: u64,
    /// The decisions, in their order; empty if the strategy left none to make.
    pub steps: Vec<Decision>,
}

/// A decision of a search, and what it was based on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// All codes within this distance were already known; `None` at first.
    pub certain_within: Option<u32>,
    /// The greatest distance at which a code could still be a hit.
    pub limit: u32,
    /// The distance at which the search was expected to end.
    pub expected: u32,
    /// What each way of going on was estimated to cost.
    pub costs: Costs,
    /// The way that was chosen. It is the cheapest, or, if that is a scan, perhaps a step so cheap that it is tried first.
    #[serde(rename = "way")]
    pub action: Action,
}
