//! Feature extractors: one file each. A backbone maps images to feature vectors and knows nothing of codes or losses.

mod small;

pub use small::Small;

use candle_core::{ModuleT, Result};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::config::InputShape;

/// Which feature extractor a network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backbone {
    /// [`Small`].
    Small,
}

/// A feature extractor, ready to use: `[n, height, width, channels]` to `[n, features]`.
pub type Features = Box<dyn ModuleT + Send + Sync>;

impl Backbone {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 1] = [Self::Small];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
        }
    }

    /// One line on what it is for.
    pub fn description(self) -> &'static str {
        match self {
            Self::Small => {
                "three 3x3 convolutions with batch norm, for images of 32 x 32; seconds an epoch on a CPU"
            }
        }
    }

    /// The smallest image side it takes, in pixels.
    pub fn min_side(self) -> usize {
        match self {
            Self::Small => Small::MIN_SIDE,
        }
    }

    /// The feature extractor and the number of its features.
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn build(self, input: InputShape, vb: VarBuilder<'_>) -> Result<(Features, usize)> {
        match self {
            Self::Small => {
                let (small, features) = Small::new(input, vb)?;
                Ok((Box::new(small), features))
            }
        }
    }
}
