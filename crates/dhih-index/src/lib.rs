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

mod bits;
mod bytes;
mod code_set;
mod codes;
mod codes_file;
mod npy;
mod parquet_file;
mod part_files;
mod safetensors_file;
mod shard;

pub mod hamming;

mod flat;
mod topk;

mod buckets;
mod gathered;
mod marks;
mod planner;
mod probe;
mod search;
mod substring;
mod table;
mod whole;
mod words;

mod assembly;
mod builder;
mod disk;
mod format;
mod groups;
mod manifest;
mod mmap;
mod partition;
mod postings;
mod sample;
mod segment;
mod verify;

mod chunk;
mod filter;
mod index;
mod info;
mod log;
mod open;
mod part;
mod selection;
mod writer;

mod results;

pub use bits::{MAX_BITS, bytes_per_code, to_bit_string, to_hex};
pub use builder::{IndexBuilder, IndexConfig};
pub use code_set::{CodeSet, CodesFormat, Labels};
pub use codes::Codes;
pub use error::{Error, Result};
pub use filter::Filter;
pub use flat::Flat;
pub use index::Index;
pub use info::{Info, SectionInfo, SegmentInfo};
pub use part::Label;
pub use results::{write_knn, write_within};
pub use search::{Decision, Explanation, Strategy};
pub use selection::Selection;
pub use shard::Shard;
pub use substring::Substring;
pub use topk::Hit;
pub use writer::IndexWriter;
