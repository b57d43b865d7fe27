//! The user's choice of the images that a run keeps thumbnails of. `run/gallery.rs` makes them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, by_name};
use crate::protocol::Split;

/// The most images for which all thumbnails are kept by default.
pub(crate) const MAX_IMAGES: usize = 100_000;

/// Which images of a run have thumbnails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GalleryChoice {
    /// No thumbnails; there is no file.
    None,
    /// Thumbnails of the queries; the tensor of the database is empty.
    Queries,
    /// Thumbnails of queries and database.
    All,
}

impl FromStr for GalleryChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = [("none", Self::None), ("queries", Self::Queries), ("all", Self::All)];
        by_name("gallery", name, known.into_iter())
    }
}

impl GalleryChoice {
    /// The default for a split: all thumbnails for up to 100,000 images, else those of the queries.
    pub(crate) fn default_for(split: &Split) -> Self {
        match split.database.len() + split.queries.len() {
            0..=MAX_IMAGES => Self::All,
            _ => Self::Queries,
        }
    }
}
