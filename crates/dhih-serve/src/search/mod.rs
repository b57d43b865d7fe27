//! `Searcher`: what answers searches, be it the index on this machine's disk or a store elsewhere; and what is asked and answered.
//! Labels, thumbnails and changes are not its own: `run/`, `items/`.

mod cancellation;
mod certified;
mod explained;
mod local;
mod rerank;
mod rescore;
mod scope;

use std::fmt;
use std::time::Duration;

use dhih_index::{Certificate, Explanation, Index, Sizes};

pub use self::cancellation::{CancelOnDrop, Cancellation};
pub(crate) use self::certified::search_within_budget;
pub(crate) use self::explained::search_and_explain;
pub(crate) use self::rerank::search_and_rerank;
pub(crate) use self::rescore::{MOST_CANDIDATES, search_and_rescore};
pub use self::scope::Scope;

/// What answers searches exactly.
pub trait Searcher: fmt::Debug + Send + Sync {
    /// Bits of a code.
    fn bits(&self) -> u32;

    /// Number of items.
    fn len(&self) -> usize;

    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nearest items, ordered by distance, then id.
    ///
    /// # Errors
    /// A query of other bits; a store that does not answer. Never a part of the answer.
    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError>;

    /// The packed code of an item; `None` where there is no such item.
    ///
    /// # Errors
    /// A store that does not answer.
    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError>;
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// A packed code.
    pub code: &'a [u8],
    /// At most so many items; `usize::MAX` for all within the radius.
    pub k: usize,
    /// Their greatest Hamming distance.
    pub radius: u32,
    /// Only those that it lets through.
    pub filter: Option<&'a Scope>,
    /// Whether the codes of the items found are wanted, too.
    pub codes: bool,
    /// Tells when nobody waits for the answer any more; a search that takes long then ends early with [`SearchError::Cancelled`].
    pub cancellation: Option<&'a Cancellation>,
}

impl Query<'_> {
    /// An item of an index that it finds, with its code where codes are wanted.
    fn neighbour(&self, index: &Index, distance: u32, id: u64) -> Neighbour {
        let code = if self.codes { index.code(id) } else { None };
        Neighbour { distance, id, code: code.unwrap_or_default().to_vec() }
    }
}

/// An item that was found. Ordered by distance, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Hamming distance to the query.
    pub distance: u32,
    /// The item.
    pub id: u64,
    /// Its packed code; empty where codes were not asked for and to look it up would be work.
    pub code: Vec<u8>,
}

/// In which order items are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order<'a> {
    /// By distance.
    Distance,
    /// By distance, with how the search was made.
    Explained,
    /// By distance, as far as the search comes within this time.
    DistanceWithin(Duration),
    /// By distance, and those of one distance by how well their bits agree with these real values of the query.
    Values(&'a [f32]),
    /// The nearest candidates, so many, by the cosine of their vectors to the query's.
    Vectors {
        /// The query's.
        vector: &'a [f32],
        /// How many are looked at.
        candidates: usize,
        /// The time after which the search for candidates stops.
        budget: Option<Duration>,
    },
}

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The items, in order.
    pub neighbours: Vec<Neighbour>,
    /// Whether a store had to read all its codes. The local index, which scans where that is fastest, does not tell.
    pub exhaustive: bool,
    /// The radius at which the search had to end short of `k` items, where it had to: there may be more beyond it.
    pub capped_radius: Option<u32>,
    /// How similar the vector of each item is to the query's, where they were rescored; empty otherwise.
    pub similarities: Vec<f32>,
    /// How far it is certain that no nearer item was left out, where they were rescored or the search had a budget.
    pub certificate: Option<Certificate>,
    /// How the search was made, where that was asked for.
    pub explained: Option<Explained>,
}

/// How an index was searched.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// What the search did.
    pub explanation: Explanation,
    /// How large the parts of the index are.
    pub sizes: Sizes,
}

impl Found {
    /// Passes over the first items, so many.
    pub(crate) fn skip(&mut self, count: usize) {
        self.neighbours.drain(..count.min(self.neighbours.len()));
        self.similarities.drain(..count.min(self.similarities.len()));
    }
}

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The index on disk.
    #[error("{}", .0.with_causes())]
    Index(#[from] dhih_index::Error),
    /// What was added while serving.
    #[error(transparent)]
    Catalogue(#[from] crate::Error),
    /// A store whose items have no labels.
    #[error("the codes are in a store without labels: `label` cannot be asked for")]
    NoFilter,
    /// A store that keeps no vectors.
    #[error("the codes are in a store without vectors: nothing can be rescored")]
    NoVectors,
    /// A store that cannot stop a search under way.
    #[error("the codes are in a store, which answers a search as a whole: leave `budget_us` out")]
    NoBudget,
    /// A store that does not tell how it searches.
    #[error("the codes are in a store, which does not tell how it searches: leave `explain` out")]
    NoExplanation,
    /// Nobody waits for the answer any more.
    #[error("the search was given up by who asked for it")]
    Cancelled,
    /// More items than one answer may have.
    #[error("{0}")]
    TooMany(String),
    /// A part of a store that does not answer.
    #[error("{source}")]
    Unavailable {
        /// The part, which anybody may know.
        what: String,
        /// What became of its hosts.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A store that cannot answer.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
}
