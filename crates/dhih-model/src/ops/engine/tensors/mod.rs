//! Operators in training, forward and backward, in candle's tensor operations and without its graph, for training on a GPU. On the CPU they are
//! slower than the operators of this crate; there their results are compared with those of [`super::super::portable`].

mod activation;
mod convolution;
mod gather;
mod max_pool;
mod norm;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};

use self::activation::{Activated, activated};
use self::max_pool::MaxPool;
use super::{Back, Engine, Traced, add_tensor};
use crate::ops::mask::mask;
use crate::ops::portable::{add_bias, averaged, averaging};
use crate::ops::{
    Activation, BatchNorm, Conv2d, Conv2dConfig, ConvNorm, Grid, Operator, POOL, Pool2dConfig,
};

/// The engine that computes with tensors, on any device.
pub(crate) struct Tensors;

impl Engine for Tensors {
    type Value = Tensor;
    type Gradient = Tensor;

    fn dims(x: &Tensor) -> &[usize] {
        x.dims()
    }

    fn conv(conv: &Conv2d, x: &Tensor) -> Result<Traced<Tensors>> {
        let weights = (&conv.weight, conv.bias.as_ref());
        convolution::trace(x, weights, conv.config, conv.activation)
    }

    fn conv_norm(
        block: &ConvNorm<'_>,
        x: &Tensor,
        momentum: f64,
    ) -> Result<Option<Traced<Tensors>>> {
        let ConvNorm { conv, norm, pool } = *block;
        if conv.activation != Activation::Identity {
            return Ok(None);
        }
        // Batch norm cancels a bias before it, which changes the running mean only and has no gradient.
        let bias = conv.bias.as_ref().map(Tensor::detach);
        let weights = (&conv.weight, bias.as_ref());
        let mut steps = Vec::new();
        let mut then = |traced: Traced<Tensors>| {
            steps.push(traced.back);
            traced.y
        };
        let mut z = then(convolution::trace(x, weights, conv.config, Activation::Identity)?);
        if pool {
            z = then(MaxPool::new(&z, POOL)?.trace(&z)?);
        }
        let y = then(norm::trace(norm, &z, momentum)?);
        Ok(Some(Traced { y, back: Box::new(InTurn(steps)) }))
    }

    fn norm(norm: &BatchNorm, x: &Tensor, momentum: f64) -> Result<Traced<Tensors>> {
        norm::trace(norm, x, momentum)
    }

    fn activation(activation: Activation, x: &Tensor) -> Result<Traced<Tensors>> {
        let (y, back) = activated(activation, x.clone())?;
        Ok(Traced { y, back: Box::new(back) })
    }

    fn max_pool(config: Pool2dConfig, x: &Tensor) -> Result<Traced<Tensors>> {
        MaxPool::new(x, config)?.trace(x)
    }

    fn average(grid: Grid, x: &Tensor) -> Result<Traced<Tensors>> {
        let (n, height, width, channels) = x.dims4()?;
        let along = |windows, size| averaging(windows, size, x);
        let (rows, columns) = (along(&grid.rows, height)?, along(&grid.columns, width)?);
        let y = averaged(x, &rows, &columns)?;
        let back = Averaged { rows, columns, dims: [n, height, width, channels] };
        Ok(Traced { y, back: Box::new(back) })
    }

    fn linear(
        (weight, bias): (&Tensor, Option<&Tensor>),
        activation: Activation,
        x: &Tensor,
    ) -> Result<Traced<Tensors>> {
        let z = x.matmul(&weight.detach().t()?)?;
        let z = add_bias(&z, bias.map(Tensor::detach).as_ref(), Activation::Identity)?;
        let (y, activated) = activated(activation, z)?;
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
        Ok(Traced { y, back: Box::new(Product { x, weight, bias, activated }) })
    }

    fn dropout(p: f64, seed: u64, x: &Tensor) -> Result<Traced<Tensors>> {
        let mask = Tensor::from_vec(mask(x.elem_count(), p, seed)?, x.shape(), &Device::Cpu)?;
        let mask = mask.to_dtype(x.dtype())?.to_device(x.device())?;
        Ok(Traced { y: (x * &mask)?, back: Box::new(Masked(mask)) })
    }

    fn add(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Traced<Tensors>> {
        let (y, back) = activated(activation, (x + y)?)?;
        Ok(Traced { y, back: Box::new(back) })
    }

    fn operator(operator: &dyn Operator, x: &Tensor) -> Result<Traced<Tensors>> {
        let x = Var::from_tensor(x)?;
        let y = operator.forward(&x)?;
        let weights = operator.weights().into_iter().cloned().collect();
        Ok(Traced { y: y.detach(), back: Box::new(ByGraph { x, y, weights }) })
    }

    fn gate(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
        x.broadcast_mul(gate)
    }

    fn gate_back(dy: &Tensor, x: &Tensor, gate: &Tensor) -> Result<(Tensor, Tensor)> {
        let of_gate = (dy * x)?.sum_keepdim((1, 2))?;
        Ok((dy.broadcast_mul(gate)?, of_gate))
    }

    fn flatten(x: Tensor, _: [usize; 4]) -> Result<Tensor> {
        x.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)
    }

    fn unflatten(dy: Tensor, [n, height, width, channels]: [usize; 4]) -> Result<Tensor> {
        dy.reshape((n, channels, height, width))?.permute((0, 2, 3, 1))?.contiguous()
    }

    fn join(parts: &[Tensor]) -> Result<Tensor> {
        Tensor::cat(parts, 3)
    }

    fn pick(dy: &Tensor, _: usize, range: std::ops::Range<usize>) -> Result<Tensor> {
        dy.narrow(3, range.start, range.len())?.contiguous()
    }

    fn copy(dy: &Tensor) -> Tensor {
        dy.clone()
    }

    fn total(a: Tensor, b: Tensor) -> Result<Tensor> {
        a + b
    }
}

/// A convolution with bias and activation, without a backward pass.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Tensor> {
    Ok(convolution::trace(x, (weight, bias), config, activation)?.y)
}

/// The backward passes of operators that follow each other.
struct InTurn(Vec<Box<dyn Back<Tensor>>>);

impl Back<Tensor> for InTurn {
    fn back(&self, dy: Tensor, wants_dx: bool, to: &mut GradStore) -> Result<Option<Tensor>> {
        let mut dy = dy;
        for (number, operator) in self.0.iter().enumerate().rev() {
            match operator.back(dy, wants_dx || number > 0, to)? {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(Some(dy))
    }
}

/// What the backward pass of a linear layer needs.
struct Product {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    activated: Activated,
}

impl Back<Tensor> for Product {
    fn back(&self, dy: Tensor, wants_dx: bool, to: &mut GradStore) -> Result<Option<Tensor>> {
        let Self { x, weight, bias, activated } = self;
        let dz = activated.back(&dy)?;
        if let Some(bias) = bias {
            add_tensor(to, bias, dz.sum(0)?)?;
        }
        if weight.track_op() {
            add_tensor(to, weight, dz.t()?.matmul(x)?)?;
        }
        wants_dx.then(|| dz.matmul(&weight.detach())).transpose()
    }
}

/// An operator that has its own candle graph.
struct ByGraph {
    x: Var,
    y: Tensor,
    weights: Vec<Tensor>,
}

impl Back<Tensor> for ByGraph {
    fn back(&self, dy: Tensor, _: bool, to: &mut GradStore) -> Result<Option<Tensor>> {
        let mut gradients = (&self.y * dy)?.backward()?;
        for weight in &self.weights {
            if let Some(gradient) = gradients.remove(weight) {
                add_tensor(to, weight, gradient)?;
            }
        }
        Ok(gradients.remove(&self.x))
    }
}

/// The mask of a dropout.
struct Masked(Tensor);

impl Back<Tensor> for Masked {
    fn back(&self, dy: Tensor, _: bool, _: &mut GradStore) -> Result<Option<Tensor>> {
        Ok(Some((dy * &self.0)?))
    }
}

/// What the backward pass of average pooling needs: the matrices along rows and along columns.
struct Averaged {
    rows: Tensor,
    columns: Tensor,
    dims: [usize; 4],
}

impl Back<Tensor> for Averaged {
    fn back(&self, dy: Tensor, _: bool, _: &mut GradStore) -> Result<Option<Tensor>> {
        let transposed = |matrix: &Tensor| matrix.t()?.contiguous();
        let dx = averaged(&dy, &transposed(&self.rows)?, &transposed(&self.columns)?)?;
        Ok(Some(dx.reshape(&self.dims[..])?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::ops::testing::{assert_close, variable};
    use crate::ops::{Padding, portable};

    /// Compares an operator with candle's graph: its values, and the gradients of `x` and of `weights`.
    fn agrees(
        x: &Var,
        weights: &[&Var],
        ours: impl Fn(&Tensor) -> Result<Traced<Tensors>>,
        oracle: impl Fn(&Tensor) -> Result<Tensor>,
    ) {
        let Traced { y, back } = ours(&x.as_tensor().detach()).unwrap();
        let expected_y = oracle(x.as_tensor()).unwrap();
        assert_close(&y, &expected_y, 1e-5);
        let dy = variable("dy", y.dims()).as_tensor().detach();
        let expected = (expected_y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
        let mut got =
            Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap().backward().unwrap();
        let dx = back.back(dy, true, &mut got).unwrap().unwrap();
        assert_close(&dx, expected.get(x).unwrap(), 1e-5);
        for weight in weights {
            assert_close(got.get(weight).unwrap(), expected.get(weight).unwrap(), 1e-5);
        }
    }

    #[test]
    fn convolutions_agree_with_the_oracle() {
        let plain = Conv2dConfig::default();
        let each = |padding| Conv2dConfig { padding: Padding::Each(padding), ..plain };
        for (size, out, kernel, config) in [
            ([2, 6, 5, 4], 3, 3, each(1)),
            ([3, 7, 7, 4], 6, 1, plain),
            ([2, 7, 7, 4], 6, 1, Conv2dConfig { stride: 2, ..plain }),
            ([2, 8, 8, 3], 5, 3, Conv2dConfig { stride: 2, ..each(1) }),
            ([2, 9, 9, 3], 5, 3, Conv2dConfig { dilation: 2, ..each(2) }),
            ([2, 8, 8, 3], 4, 5, Conv2dConfig { stride: 2, padding: Padding::Same, ..plain }),
            ([2, 6, 6, 4], 6, 3, Conv2dConfig { groups: 2, ..each(1) }),
            ([2, 6, 6, 5], 5, 3, Conv2dConfig { groups: 5, ..each(1) }),
            ([2, 7, 7, 5], 5, 3, Conv2dConfig { groups: 5, stride: 2, ..each(1) }),
        ] {
            let (x, bias) = (variable("x", &size), variable("b", &[out]));
            let weight = variable("w", &[out, size[3] / config.groups, kernel, kernel]);
            for activation in [Activation::Identity, Activation::Relu, Activation::Gelu] {
                let (w, b) = (weight.as_tensor(), Some(bias.as_tensor()));
                agrees(
                    &x,
                    &[&weight, &bias],
                    |x| convolution::trace(x, (w, b), config, activation),
                    |x| portable::conv2d(x, w, b, config, activation),
                );
            }
        }
    }

    #[test]
    fn other_operators_agree_with_the_oracle() {
        let x = variable("x", &[3, 5, 6, 4]);
        for activation in Activation::ALL {
            // Values beyond both ends of the range.
            let wide = Var::from_tensor(&(x.as_tensor() * 9.0).unwrap()).unwrap();
            let oracle = |x: &Tensor| portable::activation(activation, x);
            agrees(&wide, &[], |x| Tensors::activation(activation, x), oracle);
        }
        for config in [
            Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false },
            Pool2dConfig { kernel: 3, stride: 2, padding: 1, ceil: true },
        ] {
            let oracle = |x: &Tensor| portable::max_pool2d(x, config);
            agrees(&x, &[], |x| Tensors::max_pool(config, x), oracle);
            let grid = || Grid::sliding((5, 6), config);
            let oracle = |x: &Tensor| portable::avg_pool2d(x, config);
            agrees(&x, &[], |x| Tensors::average(grid()?, x), oracle);
        }
        let oracle = |x: &Tensor| portable::dropout(x, 0.3, 8);
        agrees(&x, &[], |x| Tensors::dropout(0.3, 8, x), oracle);
        let other = variable("other", &[3, 5, 6, 4]).as_tensor().detach();
        let oracle = |x: &Tensor| portable::add(x, &other, Activation::Relu);
        agrees(&x, &[], |x| Tensors::add(x, &other, Activation::Relu), oracle);
        let (x, w, b) = (variable("x", &[4, 7]), variable("w", &[5, 7]), variable("b", &[5]));
        let weights = (w.as_tensor(), Some(b.as_tensor()));
        for activation in [Activation::Identity, Activation::Gelu] {
            let oracle = |x: &Tensor| portable::linear(x, weights.0, weights.1, activation);
            agrees(&x, &[&w, &b], |x| Tensors::linear(weights, activation, x), oracle);
        }
    }

    #[test]
    fn many_images_are_convolved_in_parts() {
        let config = Conv2dConfig { padding: Padding::Each(1), ..Conv2dConfig::default() };
        let (x, weight) = (variable("x", &[5, 6, 6, 3]), variable("w", &[4, 3, 3, 3]));
        let (x, weight) = (x.as_tensor().detach(), weight.as_tensor().detach());
        let whole = convolution::Convolution::new(&x, &weight, config).unwrap();
        let parts = convolution::Convolution::new(&x, &weight, config).unwrap().at_a_time(2);
        let (y, expected) = (parts.forward(&x, &weight), whole.forward(&x, &weight));
        assert_close(&y.unwrap(), expected.as_ref().unwrap(), 0.0);
        let dy = variable("dy", expected.unwrap().dims()).as_tensor().detach();
        let (dx, dw) = parts.gradients(&x, &weight, &dy, true).unwrap();
        let (expected_dx, expected_dw) = whole.gradients(&x, &weight, &dy, true).unwrap();
        assert_close(&dx.unwrap(), &expected_dx.unwrap(), 1e-6);
        assert_close(&dw, &expected_dw, 1e-5);
    }

    #[test]
    fn many_images_are_pooled_in_parts() {
        let config = Pool2dConfig { kernel: 3, stride: 2, padding: 1, ceil: false };
        let x = variable("x", &[5, 6, 7, 3]);
        let pool = |x: &Tensor| MaxPool::new(x, config);
        agrees(&x, &[], |x| pool(x)?.at_a_time(2).trace(x), |x| portable::max_pool2d(x, config));
    }
}
