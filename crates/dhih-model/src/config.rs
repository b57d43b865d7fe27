//! What defines a network: its backbone, input, hash layer, classes and loss. A checkpoint stores it in its metadata. Training settings such as
//! epochs and learning rates are in `dhih-train`. The parts of a configuration are declared where they are used, and those files do not use this
//! one.

use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::hash_layer::HashLayerConfig;
pub(crate) use crate::image::InputShape;
use crate::loss::Loss;
pub(crate) use crate::preprocess::Normalization;
use crate::views::Views;

/// Everything that is needed to build a network, except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The feature extractor.
    pub backbone: Backbone,
    /// The images that it takes.
    pub input: InputShape,
    /// How pixels are normalised.
    pub normalization: Normalization,
    /// Code length K in bits, 1 to 1,024.
    pub bits: usize,
    /// The form of the hash layer. In a file, a missing value means the default.
    #[serde(default)]
    pub hash_layer: HashLayerConfig,
    /// The loss that trains the network. In a file, a missing value means the HI loss with the constants of that time.
    #[serde(default = "Loss::of_older_files")]
    pub loss: Loss,
    /// The views of an image that a code is made of. In a file, missing values mean the image alone.
    #[serde(flatten)]
    pub views: Views,
    /// Names of the C classes in label order; empty where the hash layer is fitted and not trained.
    pub classes: Vec<String>,
}

/// The longest code, in bits.
pub const MAX_BITS: usize = 1024;

impl NetworkConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] names the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        let wrong = |name, got: String, expected: &str| {
            Err(Error::Config { name, got, expected: expected.to_owned() })
        };
        let InputShape { height, width, channels, .. } = self.input;
        if self.bits == 0 || self.bits > MAX_BITS {
            return wrong("bits", self.bits.to_string(), "1 to 1024");
        }
        if channels != 1 && channels != 3 {
            return wrong("input.channels", channels.to_string(), "1 (grey) or 3 (RGB)");
        }
        let side = self.backbone.min_side();
        if height.min(width) < side || height.max(width) > 1024 {
            let expected = format!("sides of {side} to 1024 pixels");
            return wrong("input", format!("{height} x {width}"), &expected);
        }
        let Normalization { mean, std } = &self.normalization;
        if mean.len() != channels || std.len() != channels {
            let got = format!("{} means and {} deviations", mean.len(), std.len());
            return wrong("normalization", got, "one of each for every channel");
        }
        if !mean.iter().all(|x| x.is_finite()) || !std.iter().all(|x| x.is_finite() && *x > 0.0) {
            return wrong("normalization", format!("{std:?}"), "finite, positive deviations");
        }
        if self.classes.len() < 2 && !matches!(self.loss, Loss::Fitted(_)) {
            return wrong("classes", self.classes.len().to_string(), "at least 2");
        }
        if let Some(hidden) = self.hash_layer.hidden.filter(|units| !(1..=65_536).contains(units)) {
            return wrong("hash_layer.hidden", hidden.to_string(), "1 to 65536");
        }
        self.loss.check()
    }
}
