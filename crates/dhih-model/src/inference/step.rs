//! The arithmetic of one step, on plain slices.

use rayon::prelude::*;

use super::linear::Linear;
use crate::ops::{
    Activation, Compiled, Convolution, Grid, MaxWindows, QuantizedConvolution, scale_and_shift,
    sum, times,
};

/// What is computed of one value, or of two.
#[derive(Debug)]
pub(super) enum Op {
    /// A convolution with bias and activation. It may write only some channels of its output.
    Conv(Box<Convolution>),
    /// A convolution whose products and sums are computed in integers.
    Quantized(Box<QuantizedConvolution>),
    Linear(Linear),
    MaxPool(MaxWindows),
    /// Average pooling of images with this number of columns and of channels.
    AvgPool(Grid, (usize, usize)),
    /// `activation(scale x + shift)`.
    Norm {
        scale: Vec<f32>,
        shift: Vec<f32>,
        activation: Activation,
    },
    Activation(Activation),
    /// `activation(x + y)`.
    Add(Activation),
    /// `x y`, where `y` is one pixel an image.
    Gate,
    /// An operator that only some families of networks have.
    Unary(Box<dyn Compiled>),
    /// Pixels of so many channels to vectors, channel by channel.
    Flatten(usize),
    /// Pixels of so many channels into pixels of more.
    Copy {
        channels: usize,
        pixel: usize,
    },
}

/// Who computes a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Threads {
    /// This thread: others have images of their own.
    One,
    /// All threads together.
    All,
}

impl Op {
    /// Computes the step for `n` images. `x`, `y` and the second operand `other`, where there is one, are `[n, ..]`.
    pub(super) fn run(
        &self,
        (x, other): (&[f32], Option<&[f32]>),
        n: usize,
        y: &mut [f32],
        threads: Threads,
    ) {
        let (image, output) = (x.len() / n.max(1), y.len() / n.max(1));
        let mut each = |f: &(dyn Fn(&[f32], &mut [f32]) + Sync)| match threads {
            Threads::All => {
                y.par_chunks_mut(output).zip(x.par_chunks(image)).for_each(|(y, x)| f(x, y));
            }
            Threads::One => y.chunks_mut(output).zip(x.chunks(image)).for_each(|(y, x)| f(x, y)),
        };
        match self {
            Self::Conv(convolution) if threads == Threads::All => convolution.run_batch(x, n, y),
            Self::Conv(convolution) => convolution.run(x, 0..convolution.geometry().out.0, y),
            Self::Quantized(convolution) if threads == Threads::All => {
                convolution.run_batch(x, n, y);
            }
            Self::Quantized(convolution) => {
                convolution.run(x, 0..convolution.geometry().out.0, y);
            }
            Self::Linear(linear) => linear.run(x, y),
            Self::MaxPool(windows) if threads == Threads::All => {
                let rows = (output / windows.out_row()).max(1);
                y.par_chunks_mut(windows.out_row()).enumerate().for_each(|(row, y)| {
                    windows.row(&x[row / rows * image..][..image], row % rows, y);
                });
            }
            Self::MaxPool(windows) => each(&|x, y| {
                let rows = y.chunks_mut(windows.out_row());
                rows.enumerate().for_each(|(row, y)| windows.row(x, row, y));
            }),
            Self::AvgPool(grid, sizes) => each(&|x, y| grid.image(*sizes, x, y)),
            Self::Norm { scale, shift, activation } => {
                let operands = Operands::alike(x, x, y, scale.len());
                operands.run(threads, |x, _, y| {
                    scale_and_shift(x, scale, shift, y);
                    activation.apply_in_place(y);
                });
            }
            Self::Activation(activation) => Operands::alike(x, x, y, 1).run(threads, |x, _, y| {
                y.copy_from_slice(x);
                activation.apply_in_place(y);
            }),
            Self::Add(activation) => {
                let operands = Operands::alike(x, other.unwrap_or(x), y, 1);
                operands.run(threads, |x, other, y| {
                    sum(x, other, y);
                    activation.apply_in_place(y);
                });
            }
            Self::Gate => Operands::of_images((x, other.unwrap_or(x)), n, y).run(threads, times),
            Self::Unary(operator) => operator.run(x, n, y, threads == Threads::All),
            Self::Flatten(channels) => each(&|x, y| {
                let pixels = x.len() / channels;
                for (pixel, values) in x.chunks_exact(*channels).enumerate() {
                    for (channel, value) in values.iter().enumerate() {
                        y[channel * pixels + pixel] = *value;
                    }
                }
            }),
            Self::Copy { channels, pixel } => {
                let pixels = y.chunks_mut(*pixel).zip(x.chunks_exact(*channels));
                pixels.for_each(|(y, x)| y[..*channels].copy_from_slice(x));
            }
        }
    }
}

/// Two operands and an output, each cut into as many parts.
struct Operands<'a> {
    x: &'a [f32],
    other: &'a [f32],
    y: &'a mut [f32],
    /// Values of a part of each.
    parts: [usize; 3],
}

impl<'a> Operands<'a> {
    /// All three are pixels of so many channels, which are computed one by one.
    fn alike(x: &'a [f32], other: &'a [f32], y: &'a mut [f32], channels: usize) -> Self {
        /// Values that are worth a task.
        const VALUES: usize = 1 << 14;
        let part = (VALUES / channels.max(1)).max(1) * channels.max(1);
        Self { x, other, y, parts: [part; 3] }
    }

    /// Values of `n` images, as many of each in each of the three.
    fn of_images((x, other): (&'a [f32], &'a [f32]), n: usize, y: &'a mut [f32]) -> Self {
        let parts = [x.len(), other.len(), y.len()].map(|len| (len / n.max(1)).max(1));
        Self { x, other, y, parts }
    }

    /// Calls `f` with each part.
    fn run(self, threads: Threads, f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) {
        let Self { x, other, y, parts: [of_x, of_other, of_y] } = self;
        match threads {
            Threads::All => y
                .par_chunks_mut(of_y)
                .zip(x.par_chunks(of_x).zip(other.par_chunks(of_other)))
                .for_each(|(y, (x, other))| f(x, other, y)),
            Threads::One => y
                .chunks_mut(of_y)
                .zip(x.chunks(of_x).zip(other.chunks(of_other)))
                .for_each(|(y, (x, other))| f(x, other, y)),
        }
    }
}
