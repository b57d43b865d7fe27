//! A linear layer with packed weights. Few images are to read many weights once: the work is cut along the weights.

use candle_core::Result;
use rayon::prelude::*;

use crate::layer;
use crate::ops::{Conv2dConfig, Convolution, Geometry};

/// Convolutions of images of one pixel, each of some of the outputs.
#[derive(Debug)]
pub(super) struct Linear {
    columns: Vec<Convolution>,
    inputs: usize,
    outputs: usize,
}

/// Outputs and images of one task.
const PIECE: (usize, usize) = (64, 96);

impl Linear {
    pub(super) fn new(linear: &layer::Linear) -> Result<Self> {
        let (outputs, inputs) = linear.weight.dims2()?;
        let weight = linear.weight.flatten_all()?.to_vec1::<f32>()?;
        let bias = linear.bias.as_ref().map(|bias| bias.to_vec1::<f32>()).transpose()?;
        let pack = |(number, weight): (usize, &[f32])| {
            let shape = [weight.len() / inputs, inputs, 1, 1];
            let (geometry, _) = Geometry::new(&[1, 1, 1, inputs], &shape, Conv2dConfig::default())?;
            let bias = bias.as_ref().map(|bias| &bias[number * PIECE.0..][..shape[0]]);
            Ok(Convolution::new(geometry, weight, bias, linear.activation))
        };
        let columns = weight.par_chunks(PIECE.0 * inputs).enumerate().map(pack);
        Ok(Self { columns: columns.collect::<Result<_>>()?, inputs, outputs })
    }

    /// `x`: `[n, inputs]`, `y`: `[n, outputs]`.
    pub(super) fn run(&self, x: &[f32], y: &mut [f32]) {
        let rows = x.par_chunks(PIECE.1 * self.inputs).enumerate();
        let pieces = rows.flat_map(|(row, x)| {
            self.columns.par_iter().enumerate().map(move |(column, convolution)| {
                let width = convolution.geometry().out_channels;
                let mut piece = vec![0.0; x.len() / self.inputs * width];
                convolution.run(x, 0..1, &mut piece);
                (row * PIECE.1, column * PIECE.0, width, piece)
            })
        });
        for (row, column, width, piece) in pieces.collect::<Vec<_>>() {
            let rows = y[row * self.outputs..].chunks_mut(self.outputs);
            for (y, piece) in rows.zip(piece.chunks(width)) {
                y[column..column + width].copy_from_slice(piece);
            }
        }
    }
}
