//! A small network for small images: three 3x3 convolutions of 32, 64 and 128 channels, each with batch norm, ReLU and a
//! halving of the resolution.

use candle_core::{ModuleT, Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::InputShape;
use crate::ops::{Activation, BatchNorm, Conv2d, Conv2dConfig, ConvNorm};

/// Three blocks of convolution, batch norm, ReLU and 2 x 2 maximum; the features are the last block's values, flattened.
#[derive(Debug, Clone)]
pub struct Small {
    blocks: Vec<(Conv2d, BatchNorm)>,
}

impl Small {
    /// The smallest image side, in pixels: the resolution is halved three times.
    pub const MIN_SIDE: usize = 8;
    const CHANNELS: [usize; 3] = [32, 64, 128];

    /// Names `conv{1,2,3}` and `bn{1,2,3}` under `vb`; also returns the number of features.
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(input: InputShape, vb: VarBuilder<'_>) -> Result<(Self, usize)> {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        let mut channels = input.channels;
        let mut blocks = Vec::with_capacity(Self::CHANNELS.len());
        for (i, out) in Self::CHANNELS.into_iter().enumerate() {
            let conv = Conv2d::new((channels, out), 3, config, vb.pp(format!("conv{}", i + 1)))?;
            let norm = BatchNorm::new(out, Activation::Relu, vb.pp(format!("bn{}", i + 1)))?;
            blocks.push((conv, norm));
            channels = out;
        }
        Ok((Self { blocks }, (input.height / 8) * (input.width / 8) * channels))
    }
}

impl ModuleT for Small {
    /// # Shapes
    /// `[n, height, width, channels]` to `[n, height / 8 * width / 8 * 128]`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for (conv, norm) in &self.blocks {
            x = ConvNorm { conv, norm, pool: true }.forward_t(&x, train)?;
        }
        x.flatten_from(1)
    }
}
