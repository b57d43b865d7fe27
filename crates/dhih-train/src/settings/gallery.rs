//! The user's choice of the images that a run keeps thumbnails of. `run/gallery.rs` makes them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, by_name};
use crate::protocol::Split;

/// Images of which all have thumbnails where nothing else is asked for.
pub(crate) const MAX_IMAGES: usize = 100_000;

/// Which images of a run have thumbnails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GalleryChoice {
    /// No image: there is no file.
    None,
    /// Queries; the database's tensor is empty.
    Queries,
    /// Queries and database.
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
    /// What is kept of a split where the user asks for nothing: all thumbnails, unless the images are over 100,000.
    pub(crate) fn default_for(split: &Split) -> Self {
        match split.database.len() + split.queries.len() {
            0..=MAX_IMAGES => Self::All,
            _ => Self::Queries,
        }
    }
}
