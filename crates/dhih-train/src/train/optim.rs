//! The optimiser: what it remembers of each trained variable, in the order of their names.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use dhih_model::Parameters;
use dhih_model::loss::CLASS_DIRECTIONS;
use dhih_model::ops::{AdamW, Muon, Sgd, adamw_step, muon_step, sgd_step};
use dhih_model::pretrained::BACKBONE;
use serde::{Deserialize, Serialize};

use crate::error::{Result, by_name};
use crate::train::variables;

/// How gradients move variables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Stochastic gradient descent with Nesterov momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW,
    /// Orthogonal steps for the filters of the backbone's convolutions (Jordan et al., 2024), SGD for the rest.
    Muon,
}

impl OptimizerName {
    const ALL: [(&'static str, Self); 3] =
        [("sgd", Self::Sgd), ("adamw", Self::AdamW), ("muon", Self::Muon)];

    /// Reads a name.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) with the nearest known name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        by_name("optimizer", name, Self::ALL.into_iter())
    }
}

/// The constants of all steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OptimizerConfig {
    pub(crate) method: OptimizerName,
    /// Of SGD; Adam's first decay.
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    /// The length to which all gradients together are cut, where they are longer.
    pub(crate) clip_norm: Option<f64>,
    /// The backbone learns at this times the rate of the rest; at 0 it is left out.
    pub(crate) backbone_scale: f64,
    /// The shifts of the backbone's batch norm learn at this times the rate of its weights. Where it is not 1 they are drawn towards 0 as
    /// fast as weights are.
    pub(crate) norm_shift_scale: f64,
    /// Whether the scales of the backbone's batch norm are trained.
    pub(crate) trains_norm_scales: bool,
    /// With Muon, the learning rate of filters as a multiple of the others', and their momentum.
    pub(crate) filters: FilterRates,
}

/// What Muon's filters learn by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FilterRates {
    pub(crate) rate_scale: f64,
    pub(crate) momentum: f64,
}

impl Default for OptimizerConfig {
    /// SGD with the usual momentum, one rate for all, and no decay.
    fn default() -> Self {
        Self {
            method: OptimizerName::Sgd,
            momentum: 0.9,
            weight_decay: 0.0,
            clip_norm: None,
            backbone_scale: 1.0,
            norm_shift_scale: 1.0,
            trains_norm_scales: true,
            filters: FilterRates { rate_scale: 1.0, momentum: 0.6 },
        }
    }
}

/// What a variable is, as far as its rates go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The filters of a convolution in the backbone.
    Filters,
    /// Another weight that is multiplied with activations.
    Weight,
    /// A scale or shift of batch norm in the backbone.
    NormScale,
    NormShift,
    /// Another bias, or the scale or shift of the hash layer's batch norm.
    Other,
}

impl Role {
    fn of(name: &str, var: &Var, parameters: &Parameters) -> Self {
        let norm = name.rsplit_once('.').filter(|(layer, _)| {
            name.starts_with(BACKBONE) && parameters.get(&format!("{layer}.running_var")).is_some()
        });
        match norm {
            Some((_, "weight")) => Self::NormScale,
            Some((_, "bias")) => Self::NormShift,
            _ if var.rank() == 4 && name.starts_with(BACKBONE) => Self::Filters,
            // Directions of classes have no length that counts.
            _ if name == CLASS_DIRECTIONS => Self::Other,
            _ if var.rank() > 1 && !name.ends_with("bias") => Self::Weight,
            _ => Self::Other,
        }
    }
}

/// The factors of a variable's learning rate and weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factors {
    rate: f64,
    decay: f64,
}

impl OptimizerConfig {
    /// Those of a variable; `None` where it is not trained.
    fn factors(&self, name: &str, role: Role) -> Option<Factors> {
        let part = if name.starts_with(BACKBONE) { self.backbone_scale } else { 1.0 };
        let (rate, decay) = match role {
            Role::Filters if self.method == OptimizerName::Muon => {
                (part * self.filters.rate_scale, 0.0)
            }
            Role::Filters | Role::Weight => (part, 1.0),
            // Scales and shifts are not drawn towards 0: they set the size of activations, not of weights.
            Role::Other => (part, 0.0),
            Role::NormScale if self.trains_norm_scales => (part, 0.0),
            Role::NormScale => return None,
            Role::NormShift if self.norm_shift_scale == 1.0 => (part, 0.0),
            // Decay acts by its product with the rate.
            Role::NormShift => (part * self.norm_shift_scale, 1.0 / self.norm_shift_scale),
        };
        (rate > 0.0).then_some(Factors { rate, decay })
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) learning_rate: f64,
}

/// An optimiser over all trained variables.
pub(crate) struct Optimizer {
    config: OptimizerConfig,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    moments: Moments,
    factors: Factors,
}

/// Running means of a variable's gradients.
enum Moments {
    Velocity(Var),
    /// Of filters that take orthogonal steps.
    Muon(Var),
    /// First and second.
    Adam(Var, Var),
}

impl Moments {
    fn all(&self) -> impl Iterator<Item = &Var> {
        let (first, second) = match self {
            Self::Velocity(velocity) | Self::Muon(velocity) => (velocity, None),
            Self::Adam(first, second) => (first, Some(second)),
        };
        std::iter::once(first).chain(second)
    }
}

impl Optimizer {
    /// All moments 0.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn new(parameters: &Parameters, config: OptimizerConfig) -> Result<Self> {
        let slot = |(name, var): (String, Var)| {
            let role = Role::of(&name, &var, parameters);
            let Some(factors) = config.factors(&name, role) else { return Ok(None) };
            let zeros = || Var::from_tensor(&var.as_tensor().zeros_like()?);
            let moments = match config.method {
                OptimizerName::Muon if role == Role::Filters => Moments::Muon(zeros()?),
                OptimizerName::Sgd | OptimizerName::Muon => Moments::Velocity(zeros()?),
                OptimizerName::AdamW => Moments::Adam(zeros()?, zeros()?),
            };
            Ok(Some(Slot { name, var, moments, factors }))
        };
        let slots = parameters.trainable().into_iter().map(slot);
        Ok(Self { config, slots: slots.filter_map(Result::transpose).collect::<Result<_>>()? })
    }

    /// One step down `loss`, whose value is returned; where that or the gradients' length is not finite, nothing is changed, and
    /// NaN is returned for the latter.
    ///
    /// # Errors
    /// Those of candle.
    pub(crate) fn descend(&self, loss: &Tensor, step: Step) -> Result<f32> {
        self.descend_sum(std::iter::once(Ok((loss.clone(), 1.0))), step)
    }

    /// As [`Self::descend`], down a sum of losses with their weights. Each is asked for when the gradients of the one before are
    /// there, so that the memory of one is enough.
    ///
    /// # Errors
    /// Those of candle and of `losses`.
    pub(crate) fn descend_sum(
        &self,
        losses: impl Iterator<Item = Result<(Tensor, f64)>>,
        step: Step,
    ) -> Result<f32> {
        let mut value = 0.0;
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.slots.len()];
        for weighted in losses {
            let (loss, weight) = weighted?;
            value += loss.to_scalar::<f32>()? * weight as f32;
            if !value.is_finite() {
                return Ok(value);
            }
            let of_loss = loss.backward()?;
            for (sum, slot) in gradients.iter_mut().zip(&self.slots) {
                let Some(gradient) = of_loss.get(&slot.var) else { continue };
                let scaled = if weight == 1.0 { gradient.clone() } else { (gradient * weight)? };
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + scaled)?,
                    None => scaled,
                });
            }
        }
        let scale = match self.config.clip_norm {
            None => 1.0,
            Some(longest) => {
                let norm = norm(&gradients)?;
                if !norm.is_finite() {
                    return Ok(f32::NAN);
                }
                (longest / norm.max(f64::MIN_POSITIVE)).min(1.0)
            }
        };
        self.step(&gradients, scale, step)?;
        Ok(value)
    }

    /// One step on every variable that has a gradient, of `scale` times its length.
    fn step(&self, gradients: &[Option<Tensor>], scale: f64, step: Step) -> Result<()> {
        let OptimizerConfig { momentum, weight_decay, .. } = self.config;
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let Slot { var, moments, factors, .. } = slot;
            let Some(gradient) = gradient else { continue };
            let clipped = if scale < 1.0 { Some((gradient * scale)?) } else { None };
            let gradient = clipped.as_ref().unwrap_or(gradient);
            let weight_decay = (weight_decay * factors.decay) as f32;
            let learning_rate = (step.learning_rate * factors.rate) as f32;
            match moments {
                Moments::Velocity(velocity) => {
                    let sgd = Sgd { learning_rate, momentum: momentum as f32, weight_decay };
                    sgd_step(var, velocity, gradient, sgd)?;
                }
                Moments::Muon(velocity) => {
                    let momentum = self.config.filters.momentum as f32;
                    muon_step(var, velocity, gradient, Muon { learning_rate, momentum })?;
                }
                Moments::Adam(first, second) => {
                    let (beta1, beta2, eps) = (momentum as f32, 0.999, 1e-8);
                    let adamw = AdamW { learning_rate, beta1, beta2, eps, weight_decay };
                    adamw_step(var, (first, second), gradient, step.number as u32 + 1, adamw)?;
                }
            }
        }
        Ok(())
    }

    /// The moments by their number and the name of their variable, on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        variables::snapshot(self.named())
    }

    /// Takes moments back; `false` where one is missing or has another shape, and then nothing is to be relied on.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn restore(&self, moments: &BTreeMap<String, Tensor>) -> Result<bool> {
        variables::restore(self.named(), moments)
    }

    fn named(&self) -> impl Iterator<Item = (String, &Var)> {
        self.slots.iter().flat_map(|slot| {
            let moments = slot.moments.all().enumerate();
            moments.map(|(number, moment)| (format!("{number}:{}", slot.name), moment))
        })
    }
}

/// The length of all gradients as one vector.
fn norm(gradients: &[Option<Tensor>]) -> Result<f64> {
    let square = |gradient: &Tensor| {
        let sum = gradient.sqr()?.sum_all()?.to_dtype(candle_core::DType::F32)?;
        Ok(f64::from(sum.to_scalar::<f32>()?))
    };
    let squares = gradients.iter().flatten().map(square).collect::<Result<Vec<f64>>>()?;
    Ok(squares.into_iter().sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::Init;
    use dhih_model::ops::{Activation, BatchNorm};

    /// Two variables; their gradients under the loss below are (3, 0) and (0, 4): of length 5 together.
    fn variables() -> (Parameters, Tensor) {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let [a, b] = ["a", "b"].map(|n| vb.get_with_hints((1, 2), n, Init::Const(1.0)).unwrap());
        let weigh =
            |t: &Tensor, w: [f32; 2]| (t * Tensor::new(&[w], &Device::Cpu).unwrap()).unwrap();
        let loss = (weigh(&a, [3.0, 0.0]) + weigh(&b, [0.0, 4.0])).unwrap().sum_all().unwrap();
        (parameters, loss)
    }

    fn config(method: OptimizerName) -> OptimizerConfig {
        OptimizerConfig { method, momentum: 0.0, ..OptimizerConfig::default() }
    }

    fn moved(config: OptimizerConfig) -> Vec<f32> {
        let (parameters, loss) = variables();
        let optimizer = Optimizer::new(&parameters, config).unwrap();
        let step = Step { number: 0, learning_rate: 0.1 };
        assert_eq!(optimizer.descend(&loss, step).unwrap(), 7.0);
        let all = parameters.all().into_iter();
        all.flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    }

    fn assert_near(got: &[f32], expected: [f32; 4]) {
        let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-5);
        assert!(near, "{got:?}, expected {expected:?}");
    }

    #[test]
    fn long_gradients_are_cut_and_short_ones_stay() {
        let sgd = config(OptimizerName::Sgd);
        assert_near(&moved(sgd), [0.7, 1.0, 1.0, 0.6]);
        // Cut to length 1: 3/5 and 4/5.
        assert_near(
            &moved(OptimizerConfig { clip_norm: Some(1.0), ..sgd }),
            [0.94, 1.0, 1.0, 0.92],
        );
        assert_near(&moved(OptimizerConfig { clip_norm: Some(9.0), ..sgd }), [0.7, 1.0, 1.0, 0.6]);
    }

    #[test]
    fn adams_first_step_is_of_the_learning_rate_and_decays_weights_alone() {
        let adamw =
            OptimizerConfig { momentum: 0.9, weight_decay: 0.5, ..config(OptimizerName::AdamW) };
        assert_near(&moved(adamw), [0.85, 0.95, 0.95, 0.85]);
    }

    #[test]
    fn batch_norm_of_the_backbone_has_rates_of_its_own() {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        for layer in ["backbone.bn1", "hash_layer.norm"] {
            BatchNorm::new(2, Activation::Identity, vb.pp(layer)).unwrap();
        }
        vb.get_with_hints((2, 2), "backbone.conv1.weight", Init::Const(1.0)).unwrap();
        vb.get_with_hints(2, "backbone.conv1.bias", Init::Const(1.0)).unwrap();
        let factors = |config: OptimizerConfig| {
            let slots = Optimizer::new(&parameters, config).unwrap().slots.into_iter();
            let told = |slot: Slot| (slot.name, (slot.factors.rate, slot.factors.decay));
            slots.map(told).collect::<BTreeMap<_, _>>()
        };
        let usual = factors(config(OptimizerName::Sgd));
        assert_eq!(usual["backbone.bn1.bias"], (1.0, 0.0));
        assert_eq!(usual["backbone.bn1.weight"], (1.0, 0.0));
        assert_eq!(usual["backbone.conv1.weight"], (1.0, 1.0));
        let fast = factors(OptimizerConfig {
            norm_shift_scale: 64.0,
            trains_norm_scales: false,
            backbone_scale: 0.5,
            ..config(OptimizerName::Sgd)
        });
        assert_eq!(fast["backbone.bn1.bias"], (32.0, 1.0 / 64.0));
        assert!(!fast.contains_key("backbone.bn1.weight"));
        assert_eq!(fast["backbone.conv1.bias"], (0.5, 0.0));
        for name in ["hash_layer.norm.weight", "hash_layer.norm.bias"] {
            assert_eq!(fast[name], (1.0, 0.0));
        }
    }

    #[test]
    fn gradients_without_end_change_nothing() {
        let (parameters, loss) = variables();
        let clipped = OptimizerConfig { clip_norm: Some(1.0), ..config(OptimizerName::Sgd) };
        let optimizer = Optimizer::new(&parameters, clipped).unwrap();
        // Finite itself, with a gradient that is not.
        let loss = ((&loss - 7.0).unwrap().sqrt().unwrap() + 1.0).unwrap();
        let step = Step { number: 0, learning_rate: 0.1 };
        assert!(optimizer.descend(&loss, step).unwrap().is_nan());
        let all = parameters.all().into_iter();
        let values = all.flat_map(|(_, v)| v.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert_near(&values.collect::<Vec<_>>(), [1.0; 4]);
    }

    #[test]
    fn a_sum_of_losses_is_descended_as_their_mean() {
        let of = |weights: &[f64]| {
            let (parameters, loss) = variables();
            let optimizer = Optimizer::new(&parameters, config(OptimizerName::Sgd)).unwrap();
            let losses = weights.iter().map(|weight| Ok((loss.clone(), *weight)));
            let step = Step { number: 0, learning_rate: 0.1 };
            assert_eq!(optimizer.descend_sum(losses, step).unwrap(), 7.0);
            let all = parameters.all().into_iter();
            let flat = |var: Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            all.flat_map(|(_, var)| flat(var)).collect::<Vec<f32>>()
        };
        assert_near(&of(&[0.25, 0.75]), of(&[1.0]).try_into().unwrap());
    }

    #[test]
    fn moments_come_back_and_those_of_another_method_do_not() {
        let (parameters, loss) = variables();
        let adamw = Optimizer::new(&parameters, config(OptimizerName::AdamW)).unwrap();
        adamw.descend(&loss, Step { number: 0, learning_rate: 0.1 }).unwrap();
        let saved = adamw.snapshot().unwrap();
        assert_eq!(saved.keys().collect::<Vec<_>>(), ["0:a", "0:b", "1:a", "1:b"]);
        assert!(
            Optimizer::new(&parameters, config(OptimizerName::AdamW))
                .unwrap()
                .restore(&saved)
                .unwrap()
        );
        assert!(
            !Optimizer::new(&parameters, config(OptimizerName::Sgd))
                .unwrap()
                .restore(&saved)
                .unwrap()
        );
    }

    #[test]
    fn lengths_that_do_not_count_are_not_decayed() {
        let parameters = Parameters::seeded(0);
        let role = |name: &str, dims: &[usize]| {
            Role::of(name, &Var::zeros(dims, DType::F32, &Device::Cpu).unwrap(), &parameters)
        };
        assert_eq!(role("class_weights", &[2, 3]), Role::Weight);
        for (name, dims) in
            [(CLASS_DIRECTIONS, &[2, 3][..]), ("hash_layer.bias", &[3]), ("norm.weight", &[3])]
        {
            assert_eq!(role(name, dims), Role::Other, "{name}");
        }
    }
}
