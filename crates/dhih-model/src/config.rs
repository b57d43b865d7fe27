//! What defines a network: backbone, input, hash layer, classes, loss. Stored in the checkpoint's metadata.
//! Training settings (epochs, rates) are not here but in `dhih-train`.

use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::hash_layer::HashLayerConfig;
use crate::image::{Fit, Frame, Interpolation};
use crate::loss::Loss;
use crate::views::Views;

/// Shape of one input image, and how pictures are brought to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// What of a picture is taken, and by which interpolation: [`Picture::fit`](crate::image::Picture::fit) does it, for training, encoding and
    /// serving alike.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
}

impl InputShape {
    /// Of so many rows, columns and channels; of pictures, the middle is taken and scaled by linear interpolation.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        let fit = Fit { interpolation: Interpolation::Linear, frame: Frame::Middle };
        Self { height, width, channels, fit }
    }

    /// The same for pictures that are brought to it in another way.
    #[must_use]
    pub const fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// Bytes (and values) of one image.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// How many images go through a network at once where no gradient is wanted: at most 256, fewer where they are large, so
    /// that the activations fit into memory.
    pub fn inference_batch(&self) -> usize {
        ((1 << 21) / (self.height * self.width).max(1)).clamp(1, 256)
    }

    /// How many images these bytes are.
    ///
    /// # Errors
    /// When their number is no multiple of an image's.
    pub fn count(&self, images: &[u8]) -> Result<usize> {
        if self.is_empty() || !images.len().is_multiple_of(self.len()) {
            return Err(Error::Config {
                name: "images",
                got: format!("{} bytes", images.len()),
                expected: format!(
                    "a multiple of {} x {} x {}",
                    self.height, self.width, self.channels
                ),
            });
        }
        Ok(images.len() / self.len())
    }

    /// Whether an image of this shape has no pixel; never true for a checked configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Per-channel normalisation of pixels scaled to 0..=1: `(x - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

/// Everything needed to build a network, but for its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The feature extractor.
    pub backbone: Backbone,
    /// Images it takes.
    pub input: InputShape,
    /// How pixels are normalised.
    pub normalization: Normalization,
    /// Code length K in bits, 1 to 1,024.
    pub bits: usize,
    /// The form of the hash layer; plain where a file does not say.
    #[serde(default)]
    pub hash_layer: HashLayerConfig,
    /// The loss that trains it; the HI loss as it was, where a file does not say.
    #[serde(default = "Loss::of_older_files")]
    pub loss: Loss,
    /// Which views of an image a code is made of; the image alone where a file does not say.
    #[serde(flatten)]
    pub views: Views,
    /// Names of the C classes, in label order; none where the hash layer is fitted and not trained.
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
