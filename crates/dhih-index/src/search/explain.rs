//! Explanations of searches: counts of their work, and each decision with the costs that it compared.

use serde::Serialize;

use crate::search::plan::{Action, Costs};

/// The work and the decisions of a search.
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
/// let (hits, explanation) = index.explain_knn(Strategy::Scan, &[0b0011], 2)?;
/// assert_eq!((hits.len(), explanation.scanned), (2, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

impl Explanation {
    /// Adds the work of a part of the search that ran by itself.
    pub(crate) fn add(&mut self, part: &Self) {
        self.lookups += part.lookups;
        self.probes += part.probes;
        self.buckets += part.buckets;
        self.candidates += part.candidates;
        self.scanned += part.scanned;
    }
}

/// A decision of a search, and what it was based on.
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
/// for step in explanation.steps {
///     println!("within {:?} all is known, next: {:?}", step.certain_within, step.action);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// All codes within this distance were already known; `None` at first.
    pub certain_within: Option<u32>,
    /// The greatest distance at which a code could still be a hit.
    pub limit: u32,
    /// The distance at which the search was expected to end.
    pub expected: u32,
    /// The estimated cost of each possible action.
    pub costs: Costs,
    /// The action that was chosen. It is the cheapest one. If that is a scan, it may be a step that is so cheap that it is tried first.
    pub action: Action,
}
