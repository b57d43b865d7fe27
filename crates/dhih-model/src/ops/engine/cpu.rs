//! Training on the CPU, by the operators of this crate.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{Engine, Traced, Value};
use crate::ops::fresh::fill_parts;
use crate::ops::multiversion::multiversion;
use crate::ops::{
    Activation, BatchNorm, Conv2d, ConvNorm, Grid, Operator, Pool2dConfig, Tasks, add_to,
    traced_add, traced_dropout, traced_linear, traced_max_pool2d, traced_operator,
};

/// The engine that computes with f32 values in memory, on all threads.
pub(crate) struct Cpu;

impl Engine for Cpu {
    type Value = Value;
    type Gradient = Vec<f32>;

    fn dims(x: &Value) -> &[usize] {
        &x.dims
    }

    fn conv(conv: &Conv2d, x: &Value) -> Result<Traced> {
        conv.trace(x)
    }

    fn conv_norm(block: &ConvNorm<'_>, x: &Value, momentum: f64) -> Result<Option<Traced>> {
        block.trace(x, momentum)
    }

    fn norm(norm: &BatchNorm, x: &Value, momentum: f64) -> Result<Traced> {
        norm.trace(x, momentum)
    }

    fn activation(activation: Activation, x: &Value) -> Result<Traced> {
        Ok(activation.trace(x))
    }

    fn max_pool(config: Pool2dConfig, x: &Value) -> Result<Traced> {
        traced_max_pool2d(x, config)
    }

    fn average(grid: Grid, x: &Value) -> Result<Traced> {
        grid.trace(x)
    }

    fn linear(
        (weight, bias): (&Tensor, Option<&Tensor>),
        activation: Activation,
        x: &Value,
    ) -> Result<Traced> {
        traced_linear(x, weight, bias, activation)
    }

    fn dropout(p: f64, seed: u64, x: &Value) -> Result<Traced> {
        traced_dropout(x, p, seed)
    }

    fn add(x: &Value, y: &Value, activation: Activation) -> Result<Traced> {
        traced_add(x, y, activation)
    }

    fn operator(operator: &dyn Operator, x: &Value) -> Result<Traced> {
        traced_operator(operator, x)
    }

    fn gate(x: &Value, gate: &Value) -> Result<Value> {
        let channels = gated(&x.dims, &gate.dims)?;
        let image = x.values.len() / (gate.values.len() / channels).max(1);
        let images = x.values.par_chunks(image).zip(gate.values.par_chunks(channels));
        let (y, _) = fill_parts(x.values.len(), image, images, |y, (x, gate)| times(x, gate, y));
        Ok(Value::new(y, &x.dims))
    }

    fn gate_back(dy: &Vec<f32>, x: &Value, gate: &Value) -> Result<(Vec<f32>, Vec<f32>)> {
        let channels = gated(&x.dims, &gate.dims)?;
        let image = dy.len() / (gate.values.len() / channels).max(1);
        let images = gate.values.par_chunks(channels);
        let images = images.zip(dy.par_chunks(image).zip(x.values.par_chunks(image)));
        let (dx, sums) = fill_parts(dy.len(), image, images, |dx, (gate, (dy, x))| {
            times(dy, gate, dx);
            let mut sum = vec![0f32; channels];
            for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
                for ((sum, dy), x) in sum.iter_mut().zip(dy).zip(x) {
                    *sum += dy * x;
                }
            }
            sum
        });
        Ok((dx, sums.concat()))
    }

    fn flatten(x: Value, dims: [usize; 4]) -> Result<Value> {
        Ok(flattened(x, dims))
    }

    fn unflatten(dy: Vec<f32>, dims: [usize; 4]) -> Result<Vec<f32>> {
        Ok(unflattened(dy, dims))
    }

    fn join(parts: &[Value]) -> Result<Value> {
        joined(parts)
    }

    fn pick(dy: &Vec<f32>, channels: usize, range: Range<usize>) -> Result<Vec<f32>> {
        Ok(picked(dy, channels, range))
    }

    fn copy(dy: &Vec<f32>) -> Vec<f32> {
        dy.clone()
    }

    fn total(mut a: Vec<f32>, b: Vec<f32>) -> Result<Vec<f32>> {
        add_to(&mut a, &b);
        Ok(a)
    }
}

/// The number of channels of images and of their gates, which have one pixel each.
fn gated(x: &[usize], gate: &[usize]) -> Result<usize> {
    match (x, gate) {
        (&[n, _, _, channels], &[gates, 1, 1, each]) if n == gates && channels == each => {
            Ok(channels.max(1))
        }
        _ => bail!("images of {x:?} with gates of {gate:?}"),
    }
}

multiversion! {
    /// Computes `y = x gate`, pixel by pixel.
    pub(crate) fn times(x: &[f32], gate: &[f32], y: &mut [f32]) {
        for (y, x) in y.chunks_exact_mut(gate.len()).zip(x.chunks_exact(gate.len())) {
            for ((y, x), gate) in y.iter_mut().zip(x).zip(gate) {
                *y = x * gate;
            }
        }
    }
}

/// Images to vectors, channel by channel.
fn flattened(x: Value, [n, height, width, channels]: [usize; 4]) -> Value {
    let dims = [n, height * width * channels];
    if height * width == 1 || channels == 1 {
        return Value { values: x.values, dims: dims.to_vec() };
    }
    Value::new(transposed(&x.values, height * width, channels), &dims)
}

fn unflattened(dy: Vec<f32>, [_, height, width, channels]: [usize; 4]) -> Vec<f32> {
    if height * width == 1 || channels == 1 {
        return dy;
    }
    transposed(&dy, channels, height * width)
}

/// Transposes each matrix `[rows, columns]` to `[columns, rows]`.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let images = y.par_chunks_mut(rows * columns).zip(x.par_chunks(rows * columns));
    images.run(|(y, x)| {
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (column, x) in x.iter().enumerate() {
                y[column * rows + row] = *x;
            }
        }
    });
    y
}

/// Images joined along the channels.
fn joined(parts: &[Value]) -> Result<Value> {
    let dims = |part: &Value| match part.dims[..] {
        [n, height, width, channels] => Ok([n, height, width, channels]),
        _ => bail!("images are joined, got {:?}", part.dims),
    };
    let all = parts.iter().map(dims).collect::<Result<Vec<_>>>()?;
    let Some(&[n, height, width, _]) = all.first() else { bail!("no branches to join") };
    if all.iter().any(|dims| dims[..3] != [n, height, width]) {
        bail!("branches of different sizes: {all:?}");
    }
    let channels: usize = all.iter().map(|dims| dims[3]).sum();
    let mut y = vec![0.0; n * height * width * channels];
    let image = height * width;
    y.par_chunks_mut((image * channels).max(1)).enumerate().run(|(number, y)| {
        let mut first = 0;
        for (part, [.., own]) in parts.iter().zip(&all) {
            let x = &part.values[number * image * own..][..image * own];
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(*own)) {
                y[first..first + own].copy_from_slice(x);
            }
            first += own;
        }
    });
    Ok(Value { values: Arc::new(y), dims: vec![n, height, width, channels] })
}

/// Some of the channels of each pixel.
fn picked(x: &[f32], channels: usize, range: Range<usize>) -> Vec<f32> {
    let own = range.len();
    let mut y = vec![0.0; x.len() / channels.max(1) * own];
    const PIXELS: usize = 256;
    y.par_chunks_mut((PIXELS * own).max(1)).zip(x.par_chunks(PIXELS * channels)).run(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(own).zip(x.chunks_exact(channels)) {
            y.copy_from_slice(&x[range.clone()]);
        }
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_transposed_joined_and_picked() {
        let x = Value::new((0..12).map(|i| i as f32).collect(), &[2, 1, 3, 2]);
        let dims = [2, 1, 3, 2];
        let flat = flattened(x.clone(), dims);
        assert_eq!(flat.values[..6], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(unflattened(flat.values.to_vec(), dims), *x.values);
        let both = joined(&[x.clone(), x.clone()]).unwrap();
        assert_eq!(both.values[..8], [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        assert_eq!(picked(&both.values, 4, 2..4), *x.values);
        let other = Value::new(vec![0.0; 4], &[1, 1, 2, 2]);
        assert!(joined(&[x, other]).is_err() && joined(&[]).is_err());
    }
}
