//! Exact Hamming search over binary codes: packed codes, SIMD kernels and multi-index hashing.
//!
//! ```
//! use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexConfig, Labels};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path().join("index");
//! // Real-valued outputs of a network for three items; a bit is 1 where a value is not negative.
//! let outputs: Vec<f32> = (0..48).map(|i| (i as f32 * 0.7).sin()).collect();
//! let codes = Codes::from_real(16, &outputs)?;
//! let set = CodeSet {
//!     ids: Some(vec![30, 10, 20]),
//!     labels: Some(Labels::Single(vec![2, 0, 1])),
//!     ..CodeSet::new(codes)
//! };
//!
//! IndexBuilder::new(IndexConfig::default()).build(&set, &dir)?;
//!
//! let index = Index::open(&dir)?;
//! let hits = index.knn(set.codes.get(1), 2)?;
//! assert_eq!((hits[0].distance, hits[0].id), (0, 10));
//! assert!(hits[1].distance > 0);
//! assert_eq!(index.within(set.codes.get(2), 0)?[0].id, 20);
//! index.verify()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod hits;

mod codes;
mod io;

pub mod hamming;

mod flat;
mod search;
mod table;

mod build;
mod store;

mod index;

pub use build::{IndexBuilder, IndexConfig};
pub use codes::Codes;
pub use codes::bits::{MAX_BITS, bytes_per_code, to_bit_string, to_hex};
pub use codes::labels::{Label, Labels};
pub use codes::set::CodeSet;
pub use error::{Error, Result};
pub use flat::Flat;
pub use hits::Hit;
pub use index::Index;
pub use index::filter::Filter;
pub use index::info::{Info, SectionInfo, SegmentInfo};
pub use index::selection::Selection;
pub use index::writer::IndexWriter;
pub use io::CodesFormat;
pub use io::results::{write_knn, write_within};
pub use io::shard::Shard;
pub use search::Strategy;
pub use search::explain::{Decision, Explanation};
pub use search::plan::{Action, Costs};
pub use table::substring::Substring;
