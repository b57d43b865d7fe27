//! Images with their border of zeros, in scratch memory: what patches see where they reach over an image.

use crate::ops::convolution::geometry::{Band, Geometry};
use crate::ops::convolution::product::Strides;
use crate::ops::scratch::Buffer;

/// The values from the first patch of a piece on, and how far apart its patches are. They lie in `x` itself where no patch reaches over the
/// image, else in `scratch`, to which the rows that the piece sees are copied with their border.
///
/// # Shapes
/// `x`: `[n, height, width, channels]`, of which the piece is a part.
pub(super) fn patches<'a>(
    geometry: &Geometry,
    x: &'a [f32],
    piece: &Band,
    scratch: &'a mut Buffer,
) -> (&'a [f32], Strides) {
    let (config, first) = (geometry.config, piece.rows.start);
    let (width, channels) = (geometry.padded_width(), geometry.channels);
    let (row, column) = (config.stride * width * channels, config.stride * channels);
    if !geometry.has_border() {
        let image = geometry.image();
        return (&x[piece.images.start * image + first * row..], Strides { image, row, column });
    }
    let border = Border {
        top: geometry.border.0 as isize - (first * config.stride) as isize,
        left: geometry.border.1 as isize,
        rows: geometry.patch_rows(piece.rows.len()),
        columns: width,
    };
    let image = border.rows * width * channels;
    let to = scratch.resize(piece.images.len() * image);
    let images = x.chunks_exact(geometry.image()).skip(piece.images.start);
    for (to, x) in to.chunks_exact_mut(image).zip(images) {
        border.copy(x, (geometry.height, geometry.width, channels), to);
    }
    (&*scratch, Strides { image, row, column })
}

/// A window on an image that may reach beyond it on any side.
#[derive(Debug)]
pub(super) struct Border {
    /// Rows of the window above the image; negative where it begins within the image.
    pub(super) top: isize,
    /// Columns of the window to the left of the image; negative where it begins within the image.
    pub(super) left: isize,
    /// Rows of the window.
    pub(super) rows: usize,
    /// Columns of the window.
    pub(super) columns: usize,
}

impl Border {
    /// Copies what the window shows of an image, and writes zeros outside of it.
    ///
    /// # Shapes
    /// `image`: `[height, width, channels]`; `to`: `[rows, columns, channels]`.
    pub(super) fn copy(
        &self,
        image: &[f32],
        (height, width, channels): (usize, usize, usize),
        to: &mut [f32],
    ) {
        let first = self.left.max(0) as usize;
        let skipped = (-self.left).max(0) as usize;
        let inside = width.saturating_sub(skipped).min(self.columns.saturating_sub(first));
        for (row, to) in to.chunks_exact_mut(self.columns * channels).enumerate() {
            match usize::try_from(row as isize - self.top) {
                Ok(y) if y < height && inside > 0 => {
                    let start = (y * width + skipped) * channels;
                    to[..first * channels].fill(0.0);
                    to[first * channels..][..inside * channels]
                        .copy_from_slice(&image[start..][..inside * channels]);
                    to[(first + inside) * channels..].fill(0.0);
                }
                _ => to.fill(0.0),
            }
        }
    }
}
