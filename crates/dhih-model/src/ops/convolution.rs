//! The arithmetic of a convolution on one channels-last image: patches are unrolled block by block into cache-sized scratch
//! and multiplied there. No tensors and no threads here; the operators spread images over threads.

use std::cell::RefCell;

use candle_core::{Result, bail};

use super::gemm::{Matrix, multiply};
use super::im2col::Patches;
use super::{Conv2dConfig, positions};

thread_local! {
    /// Scratch for unrolled patches, kept from call to call: fresh pages cost as much as the arithmetic.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) patches: Patches,
    /// Output channels.
    pub(super) out: usize,
}

impl Plan {
    /// Checks the shapes `[n, h, w, c]` and `[out, in, kh, kw]`; also returns n.
    pub(super) fn new(
        x: &[usize],
        weight: &[usize],
        config: Conv2dConfig,
    ) -> Result<(Self, usize)> {
        let (&[n, height, width, channels], &[out, channels_in, kh, kw]) = (x, weight) else {
            bail!("conv2d takes [n, h, w, c] and [out, in, kh, kw], got {x:?} and {weight:?}");
        };
        if channels != channels_in {
            bail!("conv2d of {channels} channels with weights for {channels_in}");
        }
        let Conv2dConfig { stride, padding, .. } = config;
        let sizes =
            (positions(height, kh, stride, padding)?, positions(width, kw, stride, padding)?);
        let kernel = (kh, kw);
        let patches = Patches { height, width, channels, kernel, stride, padding, out: sizes };
        Ok((Self { patches, out }, n))
    }

    /// Values of one input image.
    pub(super) fn image(&self) -> usize {
        self.patches.height * self.patches.width * self.patches.channels
    }

    /// Values of one output image.
    pub(super) fn output(&self) -> usize {
        self.patches.out.0 * self.patches.out.1 * self.out
    }

    /// Values of the weights.
    pub(super) fn weights(&self) -> usize {
        self.patches.patch_len() * self.out
    }

    /// Weights `[out, in, kh, kw]` as `[kh * kw * in, out]`, the order of a channels-last patch.
    pub(super) fn pack(&self, weight: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; weight.len()];
        self.for_each_weight(|by_channel, by_patch| packed[by_patch] = weight[by_channel]);
        packed
    }

    /// The inverse of [`Self::pack`].
    pub(super) fn unpack(&self, packed: &[f32]) -> Vec<f32> {
        let mut weight = vec![0.0; packed.len()];
        self.for_each_weight(|by_channel, by_patch| weight[by_channel] = packed[by_patch]);
        weight
    }

    fn for_each_weight(&self, mut f: impl FnMut(usize, usize)) {
        let (channels, taps) =
            (self.patches.channels, self.patches.kernel.0 * self.patches.kernel.1);
        for o in 0..self.out {
            for c in 0..channels {
                for t in 0..taps {
                    f((o * channels + c) * taps + t, (t * channels + c) * self.out + o);
                }
            }
        }
    }

    /// The output of one image, with packed weights.
    pub(super) fn forward(&self, x: &[f32], packed: &[f32], y: &mut [f32]) {
        let weight = Matrix::new(packed, self.patches.patch_len(), self.out);
        self.for_each_block(x, |start, pixels, columns| {
            let columns = Matrix::new(columns, pixels, self.patches.patch_len());
            let y = &mut y[start * self.out..(start + pixels) * self.out];
            multiply(columns, weight, y, false);
        });
    }

    /// Adds one image's part of the packed weights' gradient to `sum`.
    pub(super) fn add_weight_gradient(&self, x: &[f32], dy: &[f32], sum: &mut [f32]) {
        self.for_each_block(x, |start, pixels, columns| {
            let columns = Matrix::new(columns, pixels, self.patches.patch_len()).transposed();
            let dy = &dy[start * self.out..(start + pixels) * self.out];
            multiply(columns, Matrix::new(dy, pixels, self.out), sum, true);
        });
    }

    /// Calls `f` with the patch matrix of each block of output rows: `(first output pixel, output pixels, patches)`.
    fn for_each_block(&self, image: &[f32], mut f: impl FnMut(usize, usize, &[f32])) {
        let patches = &self.patches;
        let (rows, width) = patches.out;
        if patches.is_pointwise() {
            return f(0, rows * width, image);
        }
        let step = patches.rows_per_block();
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(step * width * patches.patch_len(), 0.0);
            for start in (0..rows).step_by(step) {
                let end = rows.min(start + step);
                patches.unroll(image, start..end, scratch);
                f(start * width, (end - start) * width, scratch);
            }
        });
    }
}

/// How the gradient of an image is computed from that of its output.
pub(super) enum InputGradient {
    /// With stride 1 it is itself a convolution, with the kernel turned by 180 degrees.
    Convolution { plan: Plan, packed: Vec<f32> },
    /// Otherwise the patches' gradients are added back.
    Scatter { plan: Plan, packed: Vec<f32> },
}

impl InputGradient {
    pub(super) fn new(plan: Plan, packed: Vec<f32>) -> Self {
        let Plan { patches, out } = plan;
        let ((kh, kw), channels) = (patches.kernel, patches.channels);
        if patches.stride != 1 || kh != kw || patches.padding >= kh {
            return Self::Scatter { plan, packed };
        }
        let mut turned = vec![0.0; packed.len()];
        for (tap, block) in packed.chunks_exact(channels * out).enumerate() {
            let to = (kh * kw - 1 - tap) * out * channels;
            for (i, value) in block.iter().enumerate() {
                turned[to + i % out * channels + i / out] = *value;
            }
        }
        let patches = Patches {
            height: patches.out.0,
            width: patches.out.1,
            channels: out,
            padding: kh - 1 - patches.padding,
            out: (patches.height, patches.width),
            ..patches
        };
        Self::Convolution { plan: Plan { patches, out: channels }, packed: turned }
    }

    /// Writes the gradient of one image; `dx` holds zeros.
    pub(super) fn compute(&self, dy: &[f32], dx: &mut [f32]) {
        let (Plan { patches, out }, packed) = match self {
            Self::Convolution { plan, packed } => return plan.forward(dy, packed, dx),
            Self::Scatter { plan, packed } => (plan, packed),
        };
        let (rows, width) = patches.out;
        let weight = Matrix::new(packed, patches.patch_len(), *out).transposed();
        SCRATCH.with_borrow_mut(|scratch| {
            let step = patches.rows_per_block();
            scratch.resize(step * width * patches.patch_len(), 0.0);
            for start in (0..rows).step_by(step) {
                let end = rows.min(start + step);
                let dy = &dy[start * width * out..end * width * out];
                let dy = Matrix::new(dy, (end - start) * width, *out);
                multiply(dy, weight, scratch, false);
                patches.roll(scratch, start..end, dx);
            }
        });
    }
}
