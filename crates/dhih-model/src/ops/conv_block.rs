//! Convolution, batch norm, ReLU and 2 x 2 maximum as one operator, the building block of small networks.
//!
//! As one operator it keeps from memory what four would write and read: the normalised image is never stored, its gradient
//! exists for one image at a time in cache, and the sums of batch norm's backward run over the pooled values alone, as
//! no other position has a gradient.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, ModuleT, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::conv2d::{BATCH_PARTS, add_in_order};
use super::convolution::{InputGradient, Plan};
use super::moments::Moments;
use super::pooled_norm::{Affine, Sizes, add_sums, input_gradient, pool_forward};
use super::{Activation, BatchNorm, Conv2d, Pool2dConfig, max_pool2d, values, with_values};

thread_local! {
    /// The gradient of one image before batch norm.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Convolution, batch norm with ReLU, and the maximum of each 2 x 2 window.
#[derive(Debug, Clone)]
pub struct ConvBlock {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvBlock {
    const POOL: Pool2dConfig = Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };

    /// Whether the three layers are what this block is made of.
    pub(crate) fn can_join(conv: &Conv2d, norm: &BatchNorm, pool: Pool2dConfig) -> bool {
        let Conv2d { bias, config, activation, .. } = conv;
        let plain = bias.is_none() && config.groups == 1 && config.dilation == 1;
        let activations = (*activation, norm.activation());
        plain && activations == (Activation::Identity, Activation::Relu) && pool == Self::POOL
    }

    /// Joins the two layers.
    pub fn new(conv: Conv2d, norm: BatchNorm) -> Self {
        Self { conv, norm }
    }

    /// The block made of its operators one by one: the oracle of the fused one, and what runs on a GPU.
    fn unfused(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        max_pool2d(&self.norm.forward_t(&self.conv.forward(x)?, train)?, Self::POOL)
    }
}

impl ModuleT for ConvBlock {
    /// # Shapes
    /// `[n, height, width, in]` to `[n, height' / 2, width' / 2, out]`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if !x.device().is_cpu() || self.norm.activation() != Activation::Relu {
            return self.unfused(x, train);
        }
        let affine = self.norm.affine()?;
        let state = Arc::new(Mutex::new(State::default()));
        let fixed = if train { None } else { Some(self.norm.running_moments()?) };
        let op = Block { conv: self.conv.clone(), fixed, state: Arc::clone(&state) };
        let weight = self.conv.weight().contiguous()?;
        let y = x.contiguous()?.apply_op3(&weight, &affine, op)?;
        if train {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let channels = y.dim(3)?;
            let rows = state.z.len() / channels;
            let mean = Tensor::from_slice(&state.moments.mean, channels, x.device())?;
            let var = Tensor::from_slice(&state.moments.var, channels, x.device())?;
            self.norm.update(rows, &mean, &var)?;
        }
        Ok(y)
    }
}

struct Block {
    conv: Conv2d,
    /// Statistics to normalise with instead of the batch's own.
    fixed: Option<Moments>,
    /// Of the one call this operator serves.
    state: Arc<Mutex<State>>,
}

/// What backward needs of forward.
#[derive(Default)]
struct State {
    moments: Moments,
    /// The convolution's output.
    z: Vec<f32>,
    /// For each pooled value, the normalised value it came from and its place in the window.
    normalised: Vec<f32>,
    winners: Vec<u8>,
}

impl CustomOp3 for Block {
    fn name(&self) -> &'static str {
        "conv_block"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (plan, n) = Plan::new(x_layout.dims(), weight_layout.dims(), self.conv.config())?;
        let (x, affine) = (values(x, x_layout)?, values(affine, affine_layout)?);
        let packed = plan.pack(values(weight, weight_layout)?);
        let sizes = Sizes::of(&plan);
        if affine.len() != 2 * plan.out || sizes.pooled_len() == 0 {
            bail!("conv_block of {:?} and {} norm values", x_layout.dims(), affine.len());
        }
        let mut z = vec![0.0; n * plan.output()];
        let images = z.par_chunks_mut(plan.output()).zip(x.par_chunks(plan.image()));
        images.for_each(|(z, x)| plan.forward(x, &packed, z));
        let moments = match &self.fixed {
            Some(moments) => moments.clone(),
            None => Moments::measure(&z, plan.out),
        };
        let pooled = sizes.pooled_len();
        let mut y = vec![0.0; n * pooled];
        let (mut normalised, mut winners) = (vec![0.0; n * pooled], vec![0; n * pooled]);
        let applied = Affine::new(&moments, affine);
        let outputs = y.par_chunks_mut(pooled).zip(normalised.par_chunks_mut(pooled));
        let outputs = outputs.zip(winners.par_chunks_mut(pooled));
        outputs.zip(z.par_chunks(plan.output())).for_each(|(((y, normalised), winners), z)| {
            pool_forward(z, sizes, &applied, y, normalised, winners);
        });
        let state = State { moments, z, normalised, winners };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        let (height, width) = sizes.pooled();
        Ok((CpuStorage::F32(y), Shape::from((n, height, width, plan.out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.fixed.is_some() {
            bail!("conv_block has no gradient in evaluation mode");
        }
        let (plan, _) = Plan::new(x.dims(), weight.dims(), self.conv.config())?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gradients = with_values(x, |x_values| {
            with_values(weight, |weight| {
                with_values(affine, |affine| {
                    with_values(dy, |dy| {
                        let inputs = (x_values, weight, affine, dy);
                        Ok(state.gradients(&plan, inputs, x.track_op()))
                    })
                })
            })
        })?;
        let like = |values: Vec<f32>, tensor: &Tensor| {
            Tensor::from_vec(values, tensor.shape(), tensor.device())
        };
        let dx = gradients.x.map(|dx| like(dx, x)).transpose()?;
        let dw = like(plan.unpack(&gradients.packed), weight)?;
        Ok((dx, Some(dw), Some(like(gradients.affine, affine)?)))
    }
}

struct Gradients {
    x: Option<Vec<f32>>,
    packed: Vec<f32>,
    affine: Vec<f32>,
}

impl State {
    fn gradients(
        &self,
        plan: &Plan,
        (x, weight, affine, dy): (&[f32], &[f32], &[f32], &[f32]),
        wants_dx: bool,
    ) -> Gradients {
        let (sizes, channels) = (Sizes::of(plan), plan.out);
        let (pooled, rows) = (sizes.pooled_len(), (self.z.len() / channels) as f32);
        let part = (x.len() / plan.image()).div_ceil(BATCH_PARTS).max(1);

        let parts = dy.par_chunks(part * pooled).zip(self.normalised.par_chunks(part * pooled));
        let parts = parts.zip(self.winners.par_chunks(part * pooled));
        let parts = parts.map(|((dy, normalised), winners)| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            add_sums(dy, normalised, winners, &mut sums);
            sums
        });
        let (bias, weights) = parts.collect::<Vec<_>>().into_iter().map(|[b, w]| (b, w)).unzip();
        let [d_bias, d_weight] = [add_in_order(bias, channels), add_in_order(weights, channels)];

        let applied = Affine::new(&self.moments, affine);
        let scale: Vec<f32> =
            applied.weight.iter().zip(&applied.rstd).map(|(w, r)| w * r).collect();
        let constant: Vec<f32> = d_bias.iter().map(|sum| sum / rows).collect();
        let slope: Vec<f32> = d_weight.iter().map(|sum| sum / rows).collect();

        let input = wants_dx.then(|| InputGradient::new(*plan, plan.pack(weight)));
        let mut dx = vec![0.0; if wants_dx { x.len() } else { 0 }];
        // Without a wanted gradient the parts of `dx` are empty, but as many.
        let dx_image = if wants_dx { plan.image() } else { 0 };
        let mut dx_parts: Vec<&mut [f32]> = match wants_dx {
            true => dx.chunks_mut(part * dx_image).collect(),
            false => x.chunks(part * plan.image()).map(|_| Default::default()).collect(),
        };
        let parts = dx_parts.par_iter_mut().enumerate().map(|(at, dx)| {
            let mut sum = vec![0.0; plan.weights()];
            let first = at * part;
            for image in first..(first + part).min(x.len() / plan.image()) {
                let z = &self.z[image * plan.output()..][..plan.output()];
                let dy = &dy[image * pooled..][..pooled];
                let winners = &self.winners[image * pooled..][..pooled];
                let x = &x[image * plan.image()..][..plan.image()];
                SCRATCH.with_borrow_mut(|dz| {
                    dz.resize(plan.output(), 0.0);
                    let constants = (&scale[..], &constant[..], &slope[..]);
                    input_gradient((z, dy, winners), sizes, &applied, constants, dz);
                    plan.add_weight_gradient(x, dz, &mut sum);
                    if let Some(input) = &input {
                        input.compute(dz, &mut dx[(image - first) * dx_image..][..dx_image]);
                    }
                });
            }
            sum
        });
        let packed = add_in_order(parts.collect(), plan.weights());
        let affine = [d_weight, d_bias].concat();
        Gradients { x: wants_dx.then_some(dx), packed, affine }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Conv2dConfig;
    use super::super::testing::{assert_close, assert_same_gradients, variable};
    use super::*;
    use crate::init::Parameters;
    use candle_core::{DType, Device, Var};

    fn block(
        channels: (usize, usize),
        kernel: usize,
        config: Conv2dConfig,
    ) -> (ConvBlock, Vec<Var>) {
        let parameters = Parameters::seeded(3);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let conv = Conv2d::new(channels, kernel, config, vb.pp("conv")).unwrap();
        let norm = BatchNorm::new(channels.1, Activation::Relu, vb.pp("norm")).unwrap();
        for (name, var) in parameters.trainable() {
            if name.starts_with("norm") {
                var.set(variable(&name, var.dims()).as_tensor()).unwrap();
            }
        }
        let vars = parameters.trainable().into_iter().map(|(_, var)| var).collect();
        (ConvBlock::new(conv, norm), vars)
    }

    #[test]
    fn agrees_with_its_operators_one_by_one() {
        for (kernel, stride, padding, n, side) in
            [(3, 1, 1, 5, 8), (3, 1, 1, 17, 7), (5, 1, 2, 2, 9), (3, 2, 1, 3, 9), (1, 1, 0, 2, 6)]
        {
            let (block, vars) =
                block((3, 5), kernel, Conv2dConfig { stride, padding, ..Default::default() });
            let x = variable("x", &[n, side, side, 3]);
            let vars: Vec<&Var> = vars.iter().chain([&x]).collect();
            let ours = || block.forward_t(x.as_tensor(), true);
            let oracle = || block.unfused(x.as_tensor(), true);
            assert_same_gradients(&vars, ours, oracle, 1e-4);
            let fixed = block.forward_t(x.as_tensor(), false).unwrap();
            assert_close(&fixed, &block.unfused(x.as_tensor(), false).unwrap(), 1e-5);
        }
    }

    #[test]
    fn both_forms_move_the_running_statistics_alike() {
        let config = Conv2dConfig { stride: 1, padding: 1, ..Default::default() };
        let x = variable("x", &[4, 6, 6, 2]);
        let (fused, _) = block((2, 3), 3, config);
        let (unfused, _) = block((2, 3), 3, config);
        for _ in 0..3 {
            fused.forward_t(x.as_tensor(), true).unwrap();
            unfused.unfused(x.as_tensor(), true).unwrap();
        }
        let got = fused.forward_t(x.as_tensor(), false).unwrap();
        assert_close(&got, &unfused.unfused(x.as_tensor(), false).unwrap(), 1e-5);
    }

    #[test]
    fn images_too_small_to_pool_and_gradients_of_evaluation_are_refused() {
        let (block, _) =
            block((2, 3), 3, Conv2dConfig { stride: 1, padding: 1, ..Default::default() });
        let dot = variable("x", &[4, 1, 1, 2]);
        assert!(block.forward_t(dot.as_tensor(), true).is_err());
        let x = variable("x", &[4, 6, 6, 2]);
        let y = block.forward_t(x.as_tensor(), false).unwrap().sum_all().unwrap();
        assert!(y.backward().is_err());
    }
}
