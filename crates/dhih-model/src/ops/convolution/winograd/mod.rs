//! 3 x 3 convolution by Winograd's F(4 x 4, 3 x 3), with a quarter of the multiplications. Tiles of 6 x 6 pixels are transformed, multiplied
//! position by position, and transformed back. [`transform`] has the transforms.
#![allow(unsafe_code)]

mod forward;
mod transform;
mod weight_gradient;

use std::ops::Range;

pub(super) use self::forward::Winograd;
pub(super) use self::weight_gradient::WinogradWeights;

use self::transform::{INPUT, OUTPUT, POSITIONS, gradient_tile, input_tile};
use super::geometry::Geometry;
use super::product::{Grid, Strides};
use crate::ops::shared::Shared;
use crate::ops::simd::isa;

/// The tiles of an image.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    geometry: Geometry,
    /// The numbers of rows and columns of tiles.
    size: (usize, usize),
}

/// A tile: its image, and its row and column among the tiles.
type Tile = (usize, usize, usize);

impl Tiles {
    fn new(geometry: Geometry) -> Self {
        let size = (geometry.out.0.div_ceil(OUTPUT), geometry.out.1.div_ceil(OUTPUT));
        Self { geometry, size }
    }

    /// Whether this algorithm is used. It does not depend on the number of images, so that one image and many give the same bits.
    fn fit(geometry: &Geometry) -> bool {
        const LARGEST: usize = 1 << 18;
        let config = geometry.config;
        let most_of_a_vector = |channels: usize| channels >= isa().lanes();
        geometry.kernel == (3, 3)
            && geometry.border == (1, 1)
            && geometry.out == (geometry.height, geometry.width)
            && (config.stride, config.dilation, config.groups) == (1, 1, 1)
            && most_of_a_vector(geometry.channels)
            && most_of_a_vector(geometry.out_channels)
            && geometry.out.0.min(geometry.out.1) >= 3
            && geometry.channels * geometry.out_channels <= LARGEST
    }

    /// The number of tiles that are transformed together, such that their planes fit into the cache and the weights are read rarely.
    fn group(&self) -> usize {
        const VALUES: usize = 1 << 18;
        let Geometry { channels, out_channels, .. } = self.geometry;
        let channels_of_both = channels + out_channels;
        let in_cache = VALUES / (POSITIONS * channels_of_both);
        // So many tiles have as many values as the weights.
        let balanced = channels * out_channels / channels_of_both;
        in_cache.max(balanced).clamp(36, 192).next_multiple_of(6)
    }

    /// The tiles of `images` images that produce the output rows `rows`.
    fn all(&self, images: usize, rows: Range<usize>) -> impl Iterator<Item = Tile> + use<> {
        let columns = self.size.1;
        let lines = rows.start / OUTPUT..rows.end.div_ceil(OUTPUT);
        (0..images).flat_map(move |image| {
            let lines = lines.clone();
            lines.flat_map(move |row| (0..columns).map(move |column| (image, row, column)))
        })
    }

    /// As [`Self::all`], in groups.
    fn groups(&self, images: usize, rows: Range<usize>) -> impl Iterator<Item = Vec<Tile>> + use<> {
        let group = self.group();
        let mut tiles = self.all(images, rows).peekable();
        std::iter::from_fn(move || {
            tiles.peek()?;
            Some(tiles.by_ref().take(group).collect())
        })
    }

    /// Transforms input tiles to `planes`, in which they have the places from 0 on: `[positions, tiles, channels]`, with planes of `plane`
    /// values and channels filled up to complete vectors.
    ///
    /// # Safety
    /// While this runs, no one else accesses the places of these tiles.
    unsafe fn transform_inputs(&self, x: &[f32], tiles: &[Tile], planes: Shared<'_>, plane: usize) {
        let Geometry { height, width, channels, .. } = self.geometry;
        let (zeros, tile) = (vec![0f32; channels], filled(channels));
        let end = (POSITIONS - 1) * plane + tiles.len() * tile;
        assert!(plane >= tiles.len() * tile && planes.len() >= end, "planes too short");
        for (at, &(image, row, column)) in tiles.iter().enumerate() {
            let image = &x[image * height * width * channels..][..height * width * channels];
            let pixels: [*const f32; POSITIONS] = std::array::from_fn(|i| {
                let y = (row * OUTPUT + i / INPUT).wrapping_sub(1);
                let x = (column * OUTPUT + i % INPUT).wrapping_sub(1);
                let inside = y < height && x < width;
                if inside { image[(y * width + x) * channels..].as_ptr() } else { zeros.as_ptr() }
            });
            // SAFETY: each pixel points to `channels` values, of the image or of `zeros`; the assertion covers the planes.
            unsafe { input_tile(&pixels, channels, planes.from(at * tile).as_mut_ptr(), plane) }
        }
    }

    /// As [`Self::transform_inputs`], for some channels of the output's gradients.
    fn transform_gradients(
        &self,
        dy: &[f32],
        columns: &Range<usize>,
        tiles: &[Tile],
        planes: &mut [f32],
        plane: usize,
    ) {
        let Geometry { out: (height, width), out_channels: channels, .. } = self.geometry;
        let count = columns.len();
        let zeros = vec![0f32; count];
        assert!(plane >= tiles.len() * count && planes.len() >= POSITIONS * plane);
        for (at, &(image, row, column)) in tiles.iter().enumerate() {
            let image = &dy[image * height * width * channels..][..height * width * channels];
            let pixels: [*const f32; OUTPUT * OUTPUT] = std::array::from_fn(|i| {
                let (y, x) = (row * OUTPUT + i / OUTPUT, column * OUTPUT + i % OUTPUT);
                let inside = y < height && x < width;
                let pixel = (y * width + x) * channels;
                if !inside {
                    return zeros.as_ptr();
                }
                image[pixel + columns.start..pixel + columns.end].as_ptr()
            });
            // SAFETY: each pixel points to `count` values; the assertion covers the planes.
            unsafe { gradient_tile(&pixels, count, planes[at * count..].as_mut_ptr(), plane) }
        }
    }
}

/// Tiles as a grid of one row.
fn line(count: usize) -> Grid {
    Grid { images: 1, rows: 1, columns: count }
}

/// The strides of tiles with `column` channels, one after the other.
fn strides(column: usize) -> Strides {
    Strides { image: 0, row: 0, column }
}

/// The channels of a plane: complete vectors.
fn filled(channels: usize) -> usize {
    channels.next_multiple_of(isa().lanes())
}

/// The distance from one plane to the next, in values. It is not a power of two, since all planes would then compete for the same cache lines.
fn plane_len(tiles: usize, channels: usize) -> usize {
    (tiles * filled(channels)).next_multiple_of(1024) + 16
}
