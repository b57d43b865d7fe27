//! The shape of the images that a network takes, and which part of a picture becomes such an image.

use serde::{Deserialize, Serialize};

use super::fit::{Fit, Frame, Interpolation};
use crate::error::{Error, Result};

/// The shape of an input image, and how pictures are brought to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Which part of a picture is used, and by which interpolation. [`Picture::fit`](super::Picture::fit) applies it, in training, encoding and
    /// serving alike.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
}

impl InputShape {
    /// A shape with the default fit: the middle of a picture, by linear interpolation.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        let fit = Fit { interpolation: Interpolation::Linear, frame: Frame::Middle };
        Self { height, width, channels, fit }
    }

    /// The same shape with another fit.
    #[must_use]
    pub const fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// The number of bytes (and values) of an image.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// How many images go through a network at once where no gradient is wanted: at most 256, and fewer of large images, so that the activations
    /// fit into memory.
    pub fn inference_batch(&self) -> usize {
        ((1 << 21) / (self.height * self.width).max(1)).clamp(1, 256)
    }

    /// The number of images in these bytes.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
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

    /// Columns and rows of the largest part of a picture that has the proportions of the input. They are rounded down, but to 1 at least, so
    /// that pictures of 1 x n pixels can be used.
    pub(super) fn crop(self, [width, height]: [usize; 2]) -> [usize; 2] {
        [
            (height * self.width / self.height).clamp(1, width),
            (width * self.height / self.width).clamp(1, height),
        ]
    }

    /// About how many columns and rows of a picture of this size the network sees.
    pub(super) fn seen(self, sides: [usize; 2]) -> [usize; 2] {
        match self.fit.frame {
            Frame::Middle => self.crop(sides),
            Frame::Scaled(part) => self.crop(sides).map(|side| side * usize::from(part) / 1000),
            Frame::Whole => sides,
        }
    }

    /// Columns and rows to which a picture of this size is scaled before its middle is cut out.
    pub(super) fn scaled_sides(self, [width, height]: [usize; 2]) -> [usize; 2] {
        let Frame::Scaled(thousandths) = self.fit.frame else { return [self.width, self.height] };
        let larger = |side: usize| {
            let thousandths = usize::from(thousandths).clamp(1, 1000);
            ((side * 1000 + thousandths / 2) / thousandths).max(side)
        };
        let [columns, rows] = [larger(self.width), larger(self.height)];
        // One side is scaled exactly to the wanted length; the other one follows from the proportions, rounded down.
        match width * rows <= columns * height {
            true => [columns, (columns * height / width).max(rows)],
            false => [(rows * width / height).max(columns), rows],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected are the sizes of torchvision's `Resize(256)` and of `shortest_edge` in transformers.
    #[test]
    fn pictures_are_scaled_to_the_sides_of_others() {
        let shape = InputShape::new(224, 224, 3);
        for (from, to) in
            [([640, 480], [341, 256]), ([480, 640], [256, 341]), ([256, 256], [256, 256])]
        {
            assert_eq!(shape.with_fit(Fit::LINEAR_256).scaled_sides(from), to);
        }
        assert_eq!(shape.with_fit(Fit::BICUBIC).scaled_sides([640, 480]), [298, 224]);
        assert_eq!(shape.with_fit(Fit::BICUBIC_WHOLE).scaled_sides([640, 480]), [224, 224]);
        let convnext = Fit::scaled(Interpolation::Linear, 949);
        assert_eq!(shape.with_fit(convnext).scaled_sides([300, 300]), [236, 236]);
        // A line has only one pixel in a row.
        assert_eq!(shape.with_fit(Fit::BICUBIC).scaled_sides([1, 500]), [224, 112_000]);
    }
}
