//! A decoded picture, and its conversion to a network's input.

use image::{ImageBuffer, Rgb};

use super::fit::Frame;
use super::input_shape::InputShape;
use super::parse::unusable;
use super::resize::Resize;
use crate::error::Result;

/// A decoded picture: RGB, 8 bits a channel, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `height * width * 3` bytes, for at least one pixel.
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// A picture with this number of columns and rows.
    ///
    /// # Shapes
    /// `pixels`: `[height, width, 3]`.
    ///
    /// # Errors
    /// [`Error::UnusableImage`](crate::Error::UnusableImage) where there are no pixels, or the number of bytes is not `height * width * 3`.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let count = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if pixels.is_empty() || count != Some(pixels.len()) {
            let got = pixels.len();
            return Err(unusable(format!("{got} bytes are no {width} x {height} pixels")));
        }
        Ok(Self { width, height, pixels })
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels, `[height, width, 3]`.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The input of a network, by `shape.fit`. The default is the largest centred part with the proportions of `shape`, scaled by linear
    /// interpolation with antialiasing. Beside the result this takes 12 bytes of memory for each column of the picture.
    ///
    /// # Shapes
    /// Returns `height * width * channels` bytes; a single channel is luma (ITU-R BT.601). A picture that already has the size keeps its pixels,
    /// unless only a part of its sides is to be used.
    pub fn fit(&self, shape: InputShape) -> Vec<u8> {
        let has_size = (self.width, self.height) == (shape.width, shape.height);
        let rgb = if has_size && shape.fit.keeps_pixels() {
            self.pixels.clone()
        } else {
            self.resized(shape)
        };
        match shape.channels {
            1 => rgb.chunks_exact(3).map(luma).collect(),
            _ => rgb,
        }
    }

    /// A view of the pixels for the crate `image`, without a copy.
    pub fn view(&self) -> ImageBuffer<Rgb<u8>, &[u8]> {
        let view = ImageBuffer::from_raw(self.width as u32, self.height as u32, &self.pixels[..]);
        view.unwrap_or_default()
    }

    fn resized(&self, shape: InputShape) -> Vec<u8> {
        let sides = [self.width, self.height];
        let from = if shape.fit.frame == Frame::Middle { shape.crop(sides) } else { sides };
        let (to, scaled) = ([shape.width, shape.height], shape.scaled_sides(sides));
        Resize {
            pixels: &self.pixels,
            stride: self.width,
            origin: [0, 1].map(|side| (sides[side] - from[side]) / 2),
            from,
            scaled,
            first: [0, 1].map(|side| (scaled[side] - to[side]) / 2),
            to,
            interpolation: shape.fit.interpolation,
        }
        .run()
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_as_many_as_columns_and_rows_say() {
        assert_eq!(Picture::new(2, 1, vec![1; 6]).unwrap().pixels(), [1; 6]);
        for (width, height, bytes) in
            [(0, 0, 0), (0, 5, 0), (2, 1, 5), (2, 1, 9), (usize::MAX, 2, 6)]
        {
            let error = Picture::new(width, height, vec![0; bytes]).unwrap_err();
            assert!(error.to_string().contains("are no"), "{error}");
        }
    }

    #[test]
    fn fit_keeps_equal_sizes_and_crops_the_centre() {
        let shape = InputShape::new(2, 2, 3);
        let same = Picture { width: 2, height: 2, pixels: (0..12).collect() };
        assert_eq!(same.fit(shape), same.pixels);
        let row = [[0u8; 3], [9; 3], [9; 3], [0; 3]].concat();
        let wide = Picture { width: 4, height: 2, pixels: [row.clone(), row].concat() };
        assert_eq!(wide.fit(shape), vec![9; 12]);
        let dot = Picture { width: 1, height: 1, pixels: vec![10, 10, 10] };
        assert_eq!(dot.fit(InputShape::new(32, 32, 1)), vec![10; 1024]);
        let line = Picture { width: 1, height: 500, pixels: vec![3; 1500] };
        assert_eq!(line.fit(shape), vec![3; 12]);
    }
}
