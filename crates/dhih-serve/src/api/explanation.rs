//! The explanation of a search on the wire.

use serde::Serialize;
use utoipa::ToSchema;

/// How an index was searched: what its parts are, how much work the search was, and each decision with the costs that it compared.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Explanation {
    /// The parts of the index, which are searched one after the other.
    pub components: Components,
    /// Whole codes that were looked up in the table of whole codes.
    pub lookups: u64,
    /// Buckets that were looked up in the tables of substrings.
    pub probes: u64,
    /// Those of the probed buckets that were not empty.
    pub buckets: u64,
    /// Codes that were compared with the query because they were in such a bucket.
    pub candidates: u64,
    /// Codes that were scanned.
    pub scanned: u64,
    /// The decisions, in order; empty where there was nothing to choose, as in a memtable or in a segment without tables.
    pub steps: Vec<Step>,
}

/// The parts of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Components {
    /// Data files, which have tables.
    pub segments: usize,
    /// Items that are only in the write-ahead log and in memory; they are scanned.
    pub memtable: usize,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Step {
    /// All codes within this distance were already known; null at first.
    pub certain_within: Option<u32>,
    /// The greatest distance at which a code could still be a hit.
    pub limit: u32,
    /// The distance at which the search was expected to end.
    pub expected: u32,
    /// What it would cost to end the search by each action. Only the ratios matter.
    pub costs: Costs,
    /// The action that was taken.
    pub action: Action,
}

/// The estimated costs of the actions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Costs {
    /// Looking up whole codes; null where that cannot be done.
    pub look_up: Option<f64>,
    /// Probing buckets; null where that cannot be done.
    pub probe: Option<f64>,
    /// Scanning all codes.
    pub scan: f64,
}

/// An action of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Look up every whole code that is one bit further away.
    LookUp,
    /// Probe the next buckets.
    Probe,
    /// Scan all codes.
    Scan,
    /// An action that this version of the API has no word for.
    Other,
}
