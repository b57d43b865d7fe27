//! What can go wrong with vectors beside codes. All other errors: `error.rs`.

use std::path::PathBuf;

/// Errors of vectors that an index is to keep, or to rescore with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// A number of dimensions that vectors cannot have.
    #[error("vectors of {dims} numbers are not supported: use 1 to 65536")]
    Dims {
        /// Numbers of a vector.
        dims: usize,
    },
    /// Numbers that are not whole vectors.
    #[error("{numbers} numbers are not a whole number of vectors of {dims} numbers each")]
    Numbers {
        /// Numbers of a vector.
        dims: usize,
        /// Length of the buffer.
        numbers: usize,
    },
    /// A vector that an index cannot keep.
    #[error("vector {row} cannot be kept: {reason}")]
    Unusable {
        /// The item.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// A query that cannot be compared with the vectors of an index.
    #[error("the query's vector cannot be compared with those of the index: {reason}")]
    Query {
        /// What is wrong.
        reason: String,
    },
    /// Items to be added whose vectors are not of the form of the index.
    #[error("the items have {found}, those of the index {expected}")]
    Kind {
        /// What the index has.
        expected: String,
        /// What the items have.
        found: String,
    },
    /// Rescoring in an index that keeps no vectors.
    #[error("the index at {} keeps no vectors to rescore with: build it with the vectors of its codes", dir.display())]
    NotKept {
        /// The directory.
        dir: PathBuf,
    },
    /// Fewer candidates than are to be answered with.
    #[error(
        "{candidates} candidates are fewer than the {k} hits asked for: rescore as many at least"
    )]
    Candidates {
        /// Items that are rescored.
        candidates: usize,
        /// Hits.
        k: usize,
    },
}
