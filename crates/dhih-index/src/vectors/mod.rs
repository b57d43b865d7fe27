//! Vectors of real numbers that an index keeps beside its codes, to rescore candidates: what a stored vector is (`stored.rs`), many of them
//! (`set.rs`), and how similar a query is to one (`similarity.rs`, with a kernel for each instruction set in `kernel/`). It knows no file
//! format and no index.
//!
//! ```text
//! numbers of a user or of a file --> VectorSet --> stored vectors --> a section of a segment
//!                                       a query --> QueryVector ------/ similarity
//! ```

mod kernel;
pub(crate) mod set;
pub(crate) mod similarity;
pub(crate) mod stored;
