//! `Searcher`: the interface of everything that answers searches, which is the index on the local disk or a remote store, with the types of
//! queries and results. Labels, thumbnails and changes are in `run/` and `items/`.

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

/// Answers searches exactly.
pub trait Searcher: fmt::Debug + Send + Sync {
    /// Bits of a code.
    fn bits(&self) -> u32;

    /// The number of items.
    fn len(&self) -> usize;

    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nearest items, ordered by distance, then id.
    ///
    /// # Errors
    /// When the code of the query has another length, or a store does not answer. There are no partial answers.
    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError>;

    /// The packed code of an item; `None` where there is no such item.
    ///
    /// # Errors
    /// When a store does not answer.
    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError>;
}

/// A search by code.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// A packed code.
    pub code: &'a [u8],
    /// The most items; `usize::MAX` for all within the radius.
    pub k: usize,
    /// The greatest Hamming distance of an item.
    pub radius: u32,
    /// Only items in this scope; `None` for all items.
    pub filter: Option<&'a Scope>,
    /// Whether the codes of the items found are wanted.
    pub codes: bool,
    /// Tells when the caller has gone. A long search then ends early with [`SearchError::Cancelled`].
    pub cancellation: Option<&'a Cancellation>,
}

impl Query<'_> {
    /// The neighbour for an item of an index, with its code if codes are wanted.
    fn neighbour(&self, index: &Index, distance: u32, id: u64) -> Neighbour {
        let code = if self.codes { index.code(id) } else { None };
        Neighbour { distance, id, code: code.unwrap_or_default().to_vec() }
    }
}

/// An item that was found. Neighbours are ordered by distance, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Hamming distance to the query.
    pub distance: u32,
    /// The item.
    pub id: u64,
    /// Its packed code; empty if codes were not requested and a lookup would be needed.
    pub code: Vec<u8>,
}

/// The order of the items found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order<'a> {
    /// By distance.
    Distance,
    /// By distance, with an explanation of the search.
    Explained,
    /// By distance, as far as the search gets within this time.
    DistanceWithin(Duration),
    /// By distance; those of equal distance by how well their bits agree with these real values of the query.
    Values(&'a [f32]),
    /// The nearest candidates, ordered by the cosine similarity of their vectors to the query's.
    Vectors {
        /// The vector of the query.
        vector: &'a [f32],
        /// The number of candidates.
        candidates: usize,
        /// The time budget of the search for candidates.
        budget: Option<Duration>,
    },
}

/// The result of a search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The items found, in order.
    pub neighbours: Vec<Neighbour>,
    /// Whether a store had to read all its codes. Always false for the local index, which scans whenever that is fastest.
    pub exhaustive: bool,
    /// The radius at which the search of a store had to end with fewer than `k` items; there may be more beyond it.
    pub capped_radius: Option<u32>,
    /// The cosine similarity of each item's vector to the query's, if items were rescored; otherwise empty.
    pub similarities: Vec<f32>,
    /// How far the result is certain to be complete, if items were rescored or the search had a budget.
    pub certificate: Option<Certificate>,
    /// How the search was made, if requested.
    pub explained: Option<Explained>,
}

/// The explanation of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The steps of the search.
    pub explanation: Explanation,
    /// The sizes of the components of the index.
    pub sizes: Sizes,
}

impl Found {
    /// Removes the first `count` items.
    pub(crate) fn skip(&mut self, count: usize) {
        self.neighbours.drain(..count.min(self.neighbours.len()));
        self.similarities.drain(..count.min(self.similarities.len()));
    }
}

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The index on disk failed.
    #[error("{}", .0.with_causes())]
    Index(#[from] dhih_index::Error),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] crate::Error),
    /// The store has no labels.
    #[error("the codes are in a store without labels: `label` cannot be asked for")]
    NoFilter,
    /// The store has no vectors.
    #[error("the codes are in a store without vectors: nothing can be rescored")]
    NoVectors,
    /// The store cannot stop a search in progress.
    #[error("the codes are in a store, which answers a search as a whole: leave `budget_us` out")]
    NoBudget,
    /// The store does not explain searches.
    #[error("the codes are in a store, which does not tell how it searches: leave `explain` out")]
    NoExplanation,
    /// The caller has gone.
    #[error("the search was given up by who asked for it")]
    Cancelled,
    /// There are more items than an answer may have.
    #[error("{0}")]
    TooMany(String),
    /// A part of a store does not answer.
    #[error("{source}")]
    Unavailable {
        /// The part, in words that callers may see.
        what: String,
        /// The errors of its hosts.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
}
