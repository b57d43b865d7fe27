//! Both gradients of a convolution over a batch. Each part of the images has its own sum of weight gradients, and these sums are added in a
//! fixed order.
//!
//! With few threads, a task computes both gradients of some images while these are in cache. With more threads than parts, the two gradients are
//! separate tasks, and the sum of a part is divided by output channels. The values of the sums are the same either way.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::{Geometry, InputGradient, WeightGradient};
use crate::ops::fresh::{fill_parts, fresh, zeroed};
use crate::ops::scratch::{Scratch, with_scratch};
use crate::ops::tasks::{region, task, threads};
use crate::ops::{Tasks, add_to};

/// The source of the gradients of the output.
pub(in crate::ops) enum OutputGradient<'a> {
    /// They are given, `[n, output]`.
    Given(&'a [f32]),
    /// They are computed for some images at a time when they are needed, and stay in cache.
    Computed(&'a (dyn Fn(Range<usize>, &mut [f32]) + Sync)),
}

/// The settings of a backward pass.
pub(in crate::ops) struct Backward<'a> {
    geometry: Geometry,
    x: &'a [f32],
    /// The number of images.
    n: usize,
    dy: OutputGradient<'a>,
    input: Option<InputGradient>,
    weights: WeightGradient,
    /// The number of images of a part.
    part: usize,
}

/// The gradients of the input, where wanted, and of the weights.
type Gradients = (Option<Vec<f32>>, Vec<f32>);

/// A task where the two gradients are computed separately.
enum Task<'a> {
    Input { images: Range<usize>, dx: &'a mut [MaybeUninit<f32>] },
    Weights { images: Range<usize>, columns: Range<usize> },
}

impl<'a> Backward<'a> {
    /// The backward pass of a convolution of `x` with `weight`, `[out, in / groups, kh, kw]`. The gradient of the input is computed only where
    /// it is wanted.
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
        Self { geometry, x, n, dy, input, weights, part }
    }

    /// Computes both gradients.
    pub(in crate::ops) fn run(&self) -> Gradients {
        let (parts, threads) = (self.n.div_ceil(self.part), threads());
        if parts == threads || parts >= 2 * threads {
            return self.together();
        }
        self.apart((2 * threads).div_ceil(parts.max(1)))
    }

    /// Computes both gradients with one task for each part.
    fn together(&self) -> Gradients {
        let len = if self.input.is_some() { self.x.len() } else { 0 };
        let columns = self.weights.all_columns();
        // SAFETY: `sum_of` divides all of `dx` into chunks of images and zeroes each chunk.
        let (dx, sum) = unsafe { fresh(len, |dx| region(|| self.sum_of(0..self.n, &columns, dx))) };
        (self.input.is_some().then_some(dx), self.weights.finish(&columns, &sum))
    }

    /// Returns the sum over `images`, and writes the gradient of the input to `dx`.
    fn sum_of(
        &self,
        images: Range<usize>,
        columns: &Range<usize>,
        dx: &mut [MaybeUninit<f32>],
    ) -> Vec<f32> {
        let parts = images.len().div_ceil(self.part);
        if parts <= 1 {
            return task(|| self.one_part(images, columns, dx));
        }
        let middle = images.start + parts.div_ceil(2) * self.part;
        let dx_image = dx.len() / images.len();
        let (left, right) = dx.split_at_mut((middle - images.start) * dx_image);
        let (mut sum, other) = rayon::join(
            || self.sum_of(images.start..middle, columns, left),
            || self.sum_of(middle..images.end, columns, right),
        );
        task(|| add_to(&mut sum, &other));
        sum
    }

    fn one_part(
        &self,
        images: Range<usize>,
        columns: &Range<usize>,
        dx: &mut [MaybeUninit<f32>],
    ) -> Vec<f32> {
        let mut sum = vec![0.0; self.weights.sum_len(columns)];
        let dx_image = dx.len() / images.len().max(1);
        let mut rest = dx;
        for chunk in self.chunks(images) {
            let (dx, behind) = rest.split_at_mut(chunk.len() * dx_image);
            rest = behind;
            let dx = zeroed(dx);
            let mut both = |dy: &[f32]| {
                self.weights.add(self.images(&chunk), dy, columns, &mut sum);
                if let Some(input) = &self.input {
                    input.run(dy, dx);
                }
            };
            let output = self.geometry.output();
            match self.dy {
                OutputGradient::Given(dy) => both(&dy[chunk.start * output..chunk.end * output]),
                OutputGradient::Computed(compute) => {
                    with_scratch(|Scratch { gradient, .. }| {
                        let dy = gradient.resize(chunk.len() * output);
                        compute(chunk.clone(), dy);
                        both(dy);
                    })
                }
            }
        }
        sum
    }

    /// Computes the gradients with separate tasks, those of the weights for up to `blocks` ranges of output channels.
    fn apart(&self, blocks: usize) -> Gradients {
        let (n, output) = (self.n, self.geometry.output());
        let few = n.div_ceil(2 * threads()).max(1);
        let cut = |few: usize| (0..n).step_by(few).map(move |i| i..n.min(i + few));
        let dy = match self.dy {
            OutputGradient::Given(dy) => Cow::Borrowed(dy),
            OutputGradient::Computed(compute) => {
                let images: Vec<Range<usize>> = cut(few).collect();
                let inputs = images.into_par_iter();
                let fill = |dy: &mut [f32], images| compute(images, dy);
                Cow::Owned(fill_parts(n * output, few * output, inputs, fill).0)
            }
        };
        let columns = self.weights.columns(&self.geometry, blocks);
        let len = if self.input.is_some() { self.x.len() } else { 0 };
        let run = |dx: &mut [MaybeUninit<f32>]| {
            let of_weights = columns.iter().flat_map(|columns| {
                cut(self.part).map(|images| Task::Weights { images, columns: columns.clone() })
            });
            let chunks = dx.chunks_mut(few * self.geometry.image());
            let of_input = cut(few).zip(chunks).map(|(images, dx)| Task::Input { images, dx });
            let tasks: Vec<Task<'_>> = of_weights.chain(of_input).collect();
            tasks.into_par_iter().run_all(|task| self.one_gradient(task, &dy))
        };
        // SAFETY: the chunks are all of `dx`, and `one_gradient` zeroes each of them.
        let (dx, sums) = unsafe { fresh(len, run) };
        let mut sums: Vec<Vec<f32>> = sums.into_iter().flatten().collect();
        let parts = n.div_ceil(self.part);
        let weights = sums.par_chunks_mut(parts.max(1)).zip(columns.par_iter());
        let weights = weights.run_all(|(sums, columns)| {
            let sum = total(sums);
            self.weights.finish(columns, &sum)
        });
        (self.input.is_some().then_some(dx), weights.concat())
    }

    fn one_gradient(&self, task: Task<'_>, dy: &[f32]) -> Option<Vec<f32>> {
        let output = self.geometry.output();
        let dy = |images: &Range<usize>| &dy[images.start * output..images.end * output];
        match task {
            Task::Input { images, dx } => {
                let dx = zeroed(dx);
                if let Some(input) = &self.input {
                    input.run(dy(&images), dx);
                }
                None
            }
            Task::Weights { images, columns } => {
                let mut sum = vec![0.0; self.weights.sum_len(&columns)];
                for chunk in self.chunks(images) {
                    self.weights.add(self.images(&chunk), dy(&chunk), &columns, &mut sum);
                }
                Some(sum)
            }
        }
    }

    fn images(&self, images: &Range<usize>) -> &'a [f32] {
        let image = self.geometry.image();
        &self.x[images.start * image..images.end * image]
    }

    /// Divides a part into chunks of images whose gradients are handled together. A chunk is about as large as the sum that it is added to, or a
    /// few hundred kilobytes.
    fn chunks(&self, images: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        const VALUES: usize = 1 << 17;
        let values = VALUES.max(self.weights.sum_len(&self.weights.all_columns()));
        let largest = self.geometry.output().max(self.geometry.image()).max(1);
        let (step, end) = ((values / largest).max(1), images.end);
        images.step_by(step).map(move |i| i..end.min(i + step))
    }
}

/// The sums of some parts, added in the order of [`Backward::sum_of`].
fn total(sums: &mut [Vec<f32>]) -> Vec<f32> {
    match sums {
        [] => Vec::new(),
        [one] => std::mem::take(one),
        _ => {
            let (left, right) = sums.split_at_mut(sums.len().div_ceil(2));
            let (mut sum, other) = (total(left), total(right));
            add_to(&mut sum, &other);
            sum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2dConfig, Padding, Recording};

    fn pass(
        shape: [usize; 4],
        (out, kernel): (usize, usize),
        config: Conv2dConfig,
        threads: usize,
    ) -> (Gradients, Recording) {
        let weight = [out, shape[3] / config.groups, kernel, kernel];
        let (geometry, n) = Geometry::new(&shape, &weight, config).unwrap();
        let values = |count: usize, salt: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 37 + salt) % 23) as f32 * 0.1 - 1.1).collect()
        };
        let (x, w) = (values(shape.iter().product(), 1), values(weight.iter().product(), 2));
        let dy = values(n * geometry.output(), 3);
        let compute = |images: Range<usize>, to: &mut [f32]| {
            let output = geometry.output();
            to.copy_from_slice(&dy[images.start * output..images.end * output]);
        };
        let run = || {
            let given = Backward::new(geometry, (&x, &w), OutputGradient::Given(&dy), true).run();
            let dy = OutputGradient::Computed(&compute);
            assert_eq!(Backward::new(geometry, (&x, &w), dy, true).run(), given);
            Ok(given)
        };
        Recording::of(threads, run).unwrap()
    }

    const EACH: Conv2dConfig =
        Conv2dConfig { stride: 1, padding: Padding::Each(1), dilation: 1, groups: 1 };

    #[test]
    fn gradients_do_not_depend_on_how_work_is_cut() {
        let cases = [
            // Winograd, direct with and without complete vectors, groups, depthwise, and a single image.
            ([7, 8, 8, 128], (96, 3), EACH),
            ([9, 6, 5, 12], (40, 3), EACH),
            ([6, 7, 7, 32], (64, 3), Conv2dConfig { stride: 2, ..EACH }),
            ([5, 6, 6, 12], (20, 3), Conv2dConfig { groups: 2, ..EACH }),
            ([5, 6, 6, 24], (24, 3), Conv2dConfig { groups: 24, ..EACH }),
            ([1, 9, 9, 32], (64, 1), Conv2dConfig { padding: Padding::Each(0), ..EACH }),
        ];
        for (shape, filters, config) in cases {
            let (expected, _) = pass(shape, filters, config, 1);
            for threads in [2, 3, 16, 64] {
                let (got, _) = pass(shape, filters, config, threads);
                assert_eq!(got, expected, "{shape:?} {filters:?} {config:?} {threads}");
            }
        }
    }

    #[test]
    fn a_batch_of_64_keeps_64_threads_busy() {
        // The convolutions of the networks for 32 x 32 images, by their shapes, and one of 7 x 7 pixels.
        let cases = [
            (32, 3, 32),
            (31, 24, 64),
            (16, 32, 64),
            (15, 64, 256),
            (8, 64, 128),
            (7, 256, 256),
            (4, 512, 512),
        ];
        for (side, channels, out) in cases {
            let (_, recording) = pass([64, side, side, channels], (out, 3), EACH, 64);
            let most = recording.regions().iter().map(crate::ops::Region::tasks).max();
            assert!(most >= Some(64), "{side} {channels} {out}: {most:?} tasks");
        }
    }
}
