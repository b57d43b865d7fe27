//! The arithmetic of convolutions on channels-last images. There are no tensors here. This file chooses the algorithm, and each algorithm has
//! its own file.

mod backward;
mod depthwise;
mod direct;
mod factor;
mod geometry;
mod outer;
mod packed;
mod product;
mod quantized;
mod winograd;

use std::ops::Range;

pub(super) use self::backward::{Backward, OutputGradient};
pub(super) use self::factor::{Factor, Rows};
pub(super) use self::geometry::Band;
pub(crate) use self::geometry::{Geometry, filters};
pub(crate) use self::quantized::{Filters, InputScale, QuantizedConvolution, Scale};

use self::depthwise::{Depthwise, DepthwiseWeights};
use self::direct::{Direct, DirectWeights, Phases};
use self::product::Epilogue;
use self::winograd::{Winograd, WinogradWeights};
use super::Activation;
use super::simd::isa;

/// A convolution with its bias, its activation, and its weights in the order in which they are used.
#[derive(Debug)]
pub(crate) struct Convolution {
    geometry: Geometry,
    algorithm: Algorithm,
    /// The bias, with zeros behind the last channel for vectors that reach beyond it.
    bias: Option<Vec<f32>>,
    activation: Activation,
}

#[derive(Debug)]
enum Algorithm {
    Direct(Direct),
    Winograd(Winograd),
    Depthwise(Depthwise),
}

impl Convolution {
    /// `weight`: `[out, in / groups, kh, kw]`; `bias`: `[out]`.
    pub(crate) fn new(
        geometry: Geometry,
        weight: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Self {
        let algorithm = if geometry.is_depthwise() {
            Algorithm::Depthwise(Depthwise::new(geometry, weight))
        } else if let Some(winograd) = Winograd::new(geometry, weight) {
            Algorithm::Winograd(winograd)
        } else {
            Algorithm::Direct(Direct::new(geometry, weight))
        };
        let bias = bias.map(|bias| [bias, &[0.0; 64]].concat());
        Self { geometry, algorithm, bias, activation }
    }

    /// The sizes of the convolution.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Convolves `n` images, in parallel. `y` may end with the last value that is written.
    pub(crate) fn run_batch(&self, x: &[f32], n: usize, y: &mut [f32]) {
        match &self.algorithm {
            Algorithm::Winograd(winograd) if winograd.has_few_tiles(n) => {
                winograd.run_together(x, n, y, self.epilogue());
            }
            Algorithm::Direct(direct) => direct.run_batch(x, n, y, self.epilogue()),
            algorithm => {
                // Winograd's tiles have four rows.
                let multiple = if matches!(algorithm, Algorithm::Winograd(_)) { 4 } else { 1 };
                let run = |x: &[f32], rows, y: &mut [f32]| self.run(x, rows, y);
                self.geometry.run_in_bands((x, n), multiple, y, run);
            }
        }
    }

    /// Computes the output rows `rows` of each image in `x`. These are all rows where there are several images, else they begin at a multiple of
    /// four.
    pub(crate) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32]) {
        match &self.algorithm {
            Algorithm::Winograd(winograd) => winograd.run(x, rows, y, self.epilogue()),
            Algorithm::Direct(direct) => direct.run(x, rows, y, self.epilogue()),
            Algorithm::Depthwise(depthwise) => depthwise.run(x, rows, y, self.epilogue()),
        }
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: self.bias.as_deref(), activation: self.activation }
    }
}

/// Computes the gradient of a convolution's input.
#[derive(Debug)]
pub(super) struct InputGradient(InputAlgorithm);

#[derive(Debug)]
enum InputAlgorithm {
    Winograd { winograd: Winograd, rows: usize },
    Phases(Phases),
    Depthwise(Depthwise),
}

impl InputGradient {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        Self(if geometry.is_depthwise() {
            InputAlgorithm::Depthwise(Depthwise::new(geometry, weight))
        } else if let Some(winograd) = Winograd::of_gradient(geometry, weight) {
            InputAlgorithm::Winograd { winograd, rows: geometry.height }
        } else {
            InputAlgorithm::Phases(Phases::new(geometry, weight))
        })
    }

    /// Writes the gradients of whole images.
    pub(super) fn run(&self, dy: &[f32], dx: &mut [f32]) {
        match &self.0 {
            InputAlgorithm::Winograd { winograd, rows } => {
                winograd.run(dy, 0..*rows, dx, Epilogue::NONE);
            }
            InputAlgorithm::Phases(phases) => phases.run(dy, dx),
            InputAlgorithm::Depthwise(depthwise) => depthwise.input_gradient(dy, dx),
        }
    }
}

/// Computes the gradient of a convolution's weights, summed over images.
#[derive(Debug)]
pub(super) struct WeightGradient(WeightAlgorithm);

#[derive(Debug)]
enum WeightAlgorithm {
    Direct(DirectWeights),
    Winograd(WinogradWeights),
    Depthwise(DepthwiseWeights),
}

impl WeightGradient {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self(if geometry.is_depthwise() {
            WeightAlgorithm::Depthwise(DepthwiseWeights::new(geometry))
        } else if let Some(winograd) = WinogradWeights::new(geometry) {
            WeightAlgorithm::Winograd(winograd)
        } else {
            WeightAlgorithm::Direct(DirectWeights::new(geometry))
        })
    }

    /// The number of parts into which a batch of `n` images is divided, each with a sum of its own. It is limited so that the sums take less
    /// work and memory than the products. It depends on the sizes alone, so that sums do not depend on the machine.
    pub(super) fn parts(&self, geometry: &Geometry, n: usize) -> usize {
        // The least number of additions that justifies one value of a sum.
        const WORTH: usize = 128;
        // The most values in the sums of all parts.
        const VALUES: usize = 1 << 21;
        let len = self.sum_len(&self.all_columns()).max(1);
        let cost = n * geometry.cost() / len;
        (cost / WORTH).clamp(2, (VALUES / len).clamp(8, 64))
    }

    /// The range of output channels of a group. The sums of single channels do not depend on each other.
    pub(super) fn all_columns(&self) -> Range<usize> {
        match &self.0 {
            WeightAlgorithm::Direct(direct) => direct.all_columns(),
            WeightAlgorithm::Winograd(winograd) => winograd.all_columns(),
            WeightAlgorithm::Depthwise(_) => 0..1,
        }
    }

    /// All output channels, in up to `wanted` ranges of complete vectors. With several groups they stay together.
    pub(super) fn columns(&self, geometry: &Geometry, wanted: usize) -> Vec<Range<usize>> {
        // With a single vector, the kernels would wait for each sum in turn.
        const LEAST_VECTORS: usize = 2;
        let all = self.all_columns();
        let lanes = isa().lanes();
        let vectors = all.len().div_ceil(lanes).div_ceil(wanted.max(1)).max(LEAST_VECTORS);
        if geometry.config.groups > 1 {
            return vec![all];
        }
        all.clone().step_by(vectors * lanes).map(|c| c..all.end.min(c + vectors * lanes)).collect()
    }

    /// The number of values of the sum that [`Self::add`] adds to. The sum is 0 at first.
    pub(super) fn sum_len(&self, columns: &Range<usize>) -> usize {
        match &self.0 {
            WeightAlgorithm::Direct(direct) => direct.sum_len(columns),
            WeightAlgorithm::Winograd(winograd) => winograd.sum_len(columns),
            WeightAlgorithm::Depthwise(depthwise) => depthwise.sum_len(),
        }
    }

    /// Adds what some images contribute to the sum of some columns.
    pub(super) fn add(&self, x: &[f32], dy: &[f32], columns: &Range<usize>, sum: &mut [f32]) {
        match &self.0 {
            WeightAlgorithm::Winograd(winograd) => winograd.add(x, dy, columns, sum),
            WeightAlgorithm::Direct(direct) => direct.add(x, dy, columns, sum),
            WeightAlgorithm::Depthwise(depthwise) => depthwise.add(x, dy, sum),
        }
    }

    /// The sum of some columns in the order of their weights, `[columns, in / groups, kh, kw]`, group by group.
    pub(super) fn finish(&self, columns: &Range<usize>, sum: &[f32]) -> Vec<f32> {
        match &self.0 {
            WeightAlgorithm::Direct(direct) => direct.finish(columns, sum),
            WeightAlgorithm::Winograd(winograd) => winograd.finish(columns, sum),
            WeightAlgorithm::Depthwise(depthwise) => depthwise.finish(sum),
        }
    }
}
