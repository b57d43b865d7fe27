//! The gradient of the weights, summed in the transformed domain.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{POSITIONS, gather_weights};
use super::{Tiles, filled, line, plane_len, strides};
use crate::ops::Tasks;
use crate::ops::convolution::geometry::Geometry;
use crate::ops::convolution::outer::Outer;
use crate::ops::convolution::product::Segment;
use crate::ops::scratch::{Scratch, with_scratch};
use crate::ops::shared::Shared;

/// The sizes of the sum of weight gradients, in the transformed domain.
#[derive(Debug)]
pub(in crate::ops::convolution) struct WinogradWeights {
    tiles: Tiles,
}

impl WinogradWeights {
    /// `None` where this algorithm is not used.
    pub(in crate::ops::convolution) fn new(geometry: Geometry) -> Option<Self> {
        const SMALLEST: usize = 8_192;
        let whole = |channels: usize| channels == filled(channels);
        let fits = geometry.channels * geometry.out_channels >= SMALLEST
            && whole(geometry.channels)
            && whole(geometry.out_channels)
            && Tiles::fit(&geometry);
        fits.then(|| Self { tiles: Tiles::new(geometry) })
    }

    /// All output channels.
    pub(in crate::ops::convolution) fn all_columns(&self) -> Range<usize> {
        0..self.tiles.geometry.out_channels
    }

    /// The number of values of the sum that [`Self::add`] adds to.
    pub(in crate::ops::convolution) fn sum_len(&self, columns: &Range<usize>) -> usize {
        POSITIONS * self.tiles.geometry.channels * columns.len()
    }

    /// Adds what some images contribute to the sum of some columns, which are complete vectors.
    pub(in crate::ops::convolution) fn add(
        &self,
        x: &[f32],
        dy: &[f32],
        columns: &Range<usize>,
        sum: &mut [f32],
    ) {
        let (channels, width) = (self.tiles.geometry.channels, columns.len());
        let images = x.len() / self.tiles.geometry.image();
        let segments = [Segment { offset: 0, len: channels }];
        for tiles in self.tiles.groups(images, 0..self.tiles.geometry.out.0) {
            let count = tiles.len();
            let (x_plane, dy_plane) = (plane_len(count, channels), plane_len(count, width));
            with_scratch(|Scratch { inputs, outputs, .. }| {
                let inputs = inputs.resize(POSITIONS * x_plane);
                let outputs = outputs.resize(POSITIONS * dy_plane);
                // SAFETY: the planes are borrowed by this call alone.
                unsafe { self.tiles.transform_inputs(x, &tiles, Shared::new(inputs), x_plane) }
                self.tiles.transform_gradients(dy, columns, &tiles, outputs, dy_plane);
                let planes = inputs.chunks_exact(x_plane).zip(outputs.chunks_exact(dy_plane));
                for ((x, dy), sum) in planes.zip(sum.chunks_exact_mut(channels * width)) {
                    let job = Outer { grid: line(count), segments: &segments[..], width };
                    job.run((x, strides(channels)), (dy, strides(width)), sum);
                }
            });
        }
    }

    /// The sum in the order of the weights.
    pub(in crate::ops::convolution) fn finish(
        &self,
        columns: &Range<usize>,
        sum: &[f32],
    ) -> Vec<f32> {
        const BLOCK: usize = 16;
        let (channels, out) = (self.tiles.geometry.channels, columns.len());
        let mut weight = vec![0.0; 9 * channels * out];
        weight.par_chunks_mut(BLOCK * channels * 9).enumerate().run(|(block, weight)| {
            let (first, width) = (block * BLOCK, weight.len() / (channels * 9));
            let mut taps = [0.0; 9 * BLOCK];
            for c in 0..channels {
                let taps = &mut taps[..9 * width];
                let at = |position: usize| (position * channels + c) * out + first;
                gather_weights(std::array::from_fn(|p| &sum[at(p)..][..width]), taps);
                for (o, weight) in weight.chunks_exact_mut(channels * 9).enumerate() {
                    (0..9).for_each(|tap| weight[c * 9 + tap] = taps[tap * width + o]);
                }
            }
        });
        weight
    }
}
