//! Exact Hamming search over binary codes: packed codes, SIMD kernels and multi-index hashing.
//!
//! ```
//! use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexConfig, Labels};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path().join("index");
//! // The real-valued outputs of a network for three items. A bit of a code is 1 where the value is not negative.
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
//!
//! # Features
//! - `safetensors`: safetensors codes files, and files of search results.
//! - `parquet`: Parquet codes files.
//! - `cli`: the program `dhih-index`.
//!
//! All are on by default, and none is needed to build an index and to search it.
//!
//! # Targets
//!
//! [`Codes`], codes files, [`Flat`] and [`hamming`] compile and work on every target. The index itself (`Index`, `IndexBuilder`,
//! `IndexWriter` and what belongs to them) maps whole files into memory and reads little-endian numbers in place, and is therefore
//! compiled only for little-endian targets with 64-bit addresses, such as x86_64 and aarch64. On other targets these names do not
//! exist.

// What only the index uses is unused where there is no index.
#![cfg_attr(
    not(all(target_endian = "little", target_pointer_width = "64")),
    allow(dead_code, unused_imports)
)]

mod chosen_codes;
mod error;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod hit_lists;
mod hits;
mod pointer;
mod progress;

mod codes;
mod io;

pub mod hamming;

mod vectors;

mod flat;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod search;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod table;

#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod build;
mod store;
#[cfg(test)]
mod test_numbers;

#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod index;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod pairs;

pub use codes::Codes;
pub use codes::bits::{MAX_BITS, bytes_per_code, to_bit_string, to_hex};
pub use codes::labels::{Label, Labels};
pub use codes::set::CodeSet;
pub use error::{Cause, Error, Result, VectorError};
pub use flat::Flat;
pub use hits::{Hit, RescoredHit};
pub use io::CodesFormat;
pub use io::natural_order::compare as natural_order;
#[cfg(feature = "parquet")]
pub use io::parquet::ParquetCodes;
#[cfg(feature = "safetensors")]
pub use io::results::{write_knn, write_rescored, write_within};
pub use io::shard::Shard;
pub use io::vectors::Vectors;
pub use progress::{Progress, Stage};
pub use vectors::set::VectorSet;
pub use vectors::similarity::Similarity;
pub use vectors::stored::VectorType;

#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub use {
    build::{Goal, IndexBuilder, IndexConfig},
    hit_lists::HitLists,
    index::Index,
    index::batch::{Batch, Changed},
    index::certificate::{Certificate, Certified},
    index::checkpoint::CheckpointOptions,
    index::filter::Filter,
    index::info::{Info, SectionInfo, SegmentInfo, VectorInfo},
    index::options::{OpenOptions, Verify},
    index::rescore::{Rescore, Rescored},
    index::salvage::{LostBytes, Salvage, salvage},
    index::selection::Selection,
    index::shared::SharedWriter,
    index::sizes::Sizes,
    index::verify::Verification,
    index::writer::IndexWriter,
    pairs::files::{PairSink, check_pairs_path, write_groups, write_pairs},
    pairs::groups::{Group, Linkage, group_pairs},
    pairs::{Pair, PairOptions},
    roaring::RoaringTreemap,
    search::Strategy,
    search::explain::{Decision, Explanation},
    search::parallel::with_search_threads,
    search::plan::{Action, Costs},
    search::prospects::Prospects,
    table::substring::Substring,
};
