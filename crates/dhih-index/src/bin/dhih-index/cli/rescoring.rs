//! The flags of vectors beside codes, in `build` and `search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dhih_index::{Similarity, VectorType};

use crate::values::positive;

/// How candidates are rescored.
#[derive(Debug, Args)]
pub(crate) struct RescoringArgs {
    /// Find N candidates by code, and put them in order by the similarity of their vectors
    #[arg(long, env = "DHIH_RESCORE", value_name = "N", value_parser = positive,
        requires = "query_vectors", conflicts_with = "radius")]
    pub(crate) rescore: Option<usize>,
    /// The queries' vectors: an .npy array of floats, or a .parquet file with a column of lists of them, a row for each query
    #[arg(long, env = "DHIH_QUERY_VECTORS", value_name = "FILE", requires = "rescore")]
    pub(crate) query_vectors: Option<PathBuf>,
    /// What makes vectors similar: the cosine of the angle between them, or the sum of the products of their numbers
    #[arg(long, env = "DHIH_SIMILARITY", value_name = "NAME", value_enum, default_value_t = By::Cosine)]
    pub(crate) similarity: By,
}

/// What makes vectors similar.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum By {
    Cosine,
    InnerProduct,
}

impl From<By> for Similarity {
    fn from(by: By) -> Self {
        match by {
            By::Cosine => Self::Cosine,
            By::InnerProduct => Self::InnerProduct,
        }
    }
}

/// How the numbers of vectors are kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StoredAs {
    F32,
    F16,
    Int8,
}

impl From<StoredAs> for VectorType {
    fn from(stored: StoredAs) -> Self {
        match stored {
            StoredAs::F32 => Self::F32,
            StoredAs::F16 => Self::F16,
            StoredAs::Int8 => Self::Int8,
        }
    }
}
