//! Both gradients of a convolution over a batch: images in parallel, each part's weight gradient summed on its own and the
//! parts added in a fixed order.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Geometry, InputGradient, WeightGradient};
use crate::ops::fresh::{fresh, zeroed};
use crate::ops::scratch::{Scratch, with_scratch};

/// Where the gradients of the output come from.
pub(in crate::ops) enum OutputGradient<'a> {
    /// They are there, `[n, output]`.
    Given(&'a [f32]),
    /// They are computed for some images when needed, and stay in cache.
    Computed(&'a (dyn Fn(Range<usize>, &mut [f32]) + Sync)),
}

/// A backward pass.
pub(in crate::ops) struct Backward<'a> {
    geometry: Geometry,
    x: &'a [f32],
    dy: OutputGradient<'a>,
    input: Option<InputGradient>,
    weights: WeightGradient,
    /// Images of a part.
    part: usize,
}

impl<'a> Backward<'a> {
    /// Of a convolution of `x` with `weight`, `[out, in / groups, kh, kw]`; the input's gradient only where it is wanted.
    pub(in crate::ops) fn new(
        geometry: Geometry,
        (x, weight): (&'a [f32], &[f32]),
        dy: OutputGradient<'a>,
        wants_dx: bool,
    ) -> Self {
        let n = x.len() / geometry.image();
        let input = wants_dx.then(|| InputGradient::new(geometry, weight));
        let weights = WeightGradient::new(geometry);
        let part = n.div_ceil(weights.parts(&geometry, n)).max(1);
        Self { geometry, x, dy, input, weights, part }
    }

    /// The gradients of the input, where wanted, and of the weights.
    pub(in crate::ops) fn run(&self) -> (Option<Vec<f32>>, Vec<f32>) {
        let n = self.x.len() / self.geometry.image();
        let len = if self.input.is_some() { self.x.len() } else { 0 };
        // SAFETY: `images` cuts all of `dx` into chunks of images and zeroes each.
        let (dx, sum) = unsafe { fresh(len, |dx| self.images(0..n, dx)) };
        (self.input.is_some().then_some(dx), self.weights.finish(&sum))
    }

    /// The sum over `images`; the input's gradient goes to `dx`.
    fn images(&self, images: Range<usize>, dx: &mut [MaybeUninit<f32>]) -> Vec<f32> {
        let parts = images.len().div_ceil(self.part);
        if parts <= 1 {
            return self.one_part(images, dx);
        }
        let middle = images.start + parts.div_ceil(2) * self.part;
        let dx_image = dx.len() / images.len();
        let (left, right) = dx.split_at_mut((middle - images.start) * dx_image);
        let (mut sum, other) = rayon::join(
            || self.images(images.start..middle, left),
            || self.images(middle..images.end, right),
        );
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        sum
    }

    fn one_part(&self, images: Range<usize>, dx: &mut [MaybeUninit<f32>]) -> Vec<f32> {
        let geometry = &self.geometry;
        let mut sum = vec![0.0; self.weights.sum_len()];
        let dx_image = dx.len() / images.len().max(1);
        let step = self.images_in_cache();
        for start in images.clone().step_by(step) {
            let chunk = start..images.end.min(start + step);
            let x = &self.x[chunk.start * geometry.image()..chunk.end * geometry.image()];
            let dx = zeroed(&mut dx[(start - images.start) * dx_image..][..chunk.len() * dx_image]);
            let mut both = |dy: &[f32]| {
                self.weights.add(x, dy, &mut sum);
                if let Some(input) = &self.input {
                    input.run(dy, dx);
                }
            };
            let output = geometry.output();
            match self.dy {
                OutputGradient::Given(dy) => both(&dy[chunk.start * output..chunk.end * output]),
                OutputGradient::Computed(compute) => {
                    with_scratch(|Scratch { gradient, .. }| {
                        let dy = gradient.resize(chunk.len() * output);
                        compute(chunk, dy);
                        both(dy);
                    })
                }
            }
        }
        sum
    }

    /// Images whose gradients are handled together: about as large as the sum that they are added to, or a few hundred kilobytes.
    fn images_in_cache(&self) -> usize {
        const VALUES: usize = 1 << 17;
        let values = VALUES.max(self.weights.sum_len());
        (values / self.geometry.output().max(self.geometry.image()).max(1)).max(1)
    }
}
