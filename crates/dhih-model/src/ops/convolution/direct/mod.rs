//! Convolution of any kind, forward and backward, as products of patches with matrices of weights. A patch is the part of an image that one
//! output pixel sees. Patches are not copied next to each other (no im2col): the kernels read them where they lie in the image.
//!
//! ```text
//! forward.rs          y  = patches of x  * weights          kernel: product.rs
//! input_gradient.rs   dx = patches of dy * transposed weights   kernel: product.rs, for each phase of the stride
//! weight_gradient.rs  dw = sum over pixels of patch of x * dy   kernel: outer.rs
//! border.rs           the copy of an image with its border of zeros
//! ```
//!
//! Invariants that the three share:
//!
//! - Images are channels-last. A patch is a list of [`Segment`](super::product::Segment)s: runs of consecutive values at fixed offsets from
//!   the first value of the patch, in the order kernel row, kernel column, channel. All patches of a convolution have the same segments, which
//!   [`Geometry::segments`] makes.
//! - The rows of a packed matrix come in the order of the values of a patch, and its columns are output channels, cut into blocks of vectors
//!   ([`Packed`](super::packed::Packed)). A convolution in groups has one matrix for each group. A group sees the same segments, shifted by
//!   its first channel.
//! - The kernels never read beyond the slice that they are given. Where patches reach over the border of an image, `border.rs` first copies the
//!   image into scratch memory with zeros around it; elsewhere the image itself is read. `Product::run` and `Outer::run` assert that the last
//!   patch lies within their slice.
//! - Of the columns beyond the last output channel, which fill up the last vector, the packed weights are zeros and the results are not stored.

mod border;
mod forward;
mod input_gradient;
mod weight_gradient;

pub(super) use self::forward::Direct;
pub(super) use self::input_gradient::Phases;
pub(super) use self::weight_gradient::DirectWeights;

use super::geometry::{Band, Geometry};
use super::product::Grid;

/// The weights of each group, `[out / groups, in / groups, kh, kw]`.
fn by_group<'a>(geometry: &Geometry, weight: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
    weight.chunks_exact(weight.len() / geometry.config.groups)
}

/// The output pixels of a piece.
fn grid(geometry: &Geometry, piece: &Band) -> Grid {
    Grid { images: piece.images.len(), rows: piece.rows.len(), columns: geometry.out.1 }
}
