//! A factor for each channel, as in LayerScale at the end of a branch of CaiT (Touvron et al., 2021).

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{Compiled, Gradients, Operator, Sides, values};
use crate::ops::normalize::{rows_per_part, sum_rows};
use crate::ops::{Tasks, times};

/// Computes `y = x weight`, channel by channel.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The factors: as many values as there are channels, in any shape.
    pub(crate) weight: Tensor,
}

impl Operator for Scale {
    fn output(&self, input: Sides) -> Result<Sides> {
        if self.weight.elem_count() != input[2] {
            bail!("{} factors for {} channels", self.weight.elem_count(), input[2]);
        }
        Ok(input)
    }

    fn weights(&self) -> Vec<&Tensor> {
        vec![&self.weight]
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.broadcast_mul(&self.weight.flatten_all()?)
    }

    fn compiled(&self, _: Sides) -> Result<Box<dyn Compiled>> {
        Ok(Box::new(Factors(values(&self.weight)?)))
    }
}

#[derive(Debug)]
struct Factors(Vec<f32>);

impl Compiled for Factors {
    fn run(&self, x: &[f32], _: usize, y: &mut [f32], on_all: bool) {
        let Self(factors) = self;
        if !on_all {
            return times(x, factors, y);
        }
        let part = rows_per_part(factors.len()) * factors.len();
        y.par_chunks_mut(part).zip(x.par_chunks(part)).run(|(y, x)| times(x, factors, y));
    }

    fn back(&self, x: &[f32], n: usize, dy: &[f32], wants_dx: bool) -> Gradients {
        let mut product = vec![0.0; x.len()];
        let part = rows_per_part(self.0.len()) * self.0.len();
        let parts = product.par_chunks_mut(part).zip(x.par_chunks(part).zip(dy.par_chunks(part)));
        parts.run(|(y, (x, dy))| times(x, dy, y));
        let weight = sum_rows(&product, self.0.len());
        let dx = wants_dx.then(|| {
            self.run(dy, n, &mut product, true);
            product
        });
        Gradients { dx, weights: vec![weight] }
    }
}
