//! The optimiser: its state for each trained variable, in the order of their names. `config.rs` has its constants, and the rates of variables by
//! their roles.

mod config;

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use dhih_model::ops::{AdamW, Muon, Sgd, adamw_step, muon_step, sgd_step};
use dhih_model::{Parameters, Trace};

pub use self::config::OptimizerName;
use self::config::{Factors, Role};
pub(crate) use self::config::{FilterRates, OptimizerConfig};
use crate::error::{Error, Result};
use crate::train::variables;

/// The position in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The number of the step, from 0.
    pub(crate) number: usize,
    pub(crate) learning_rate: f64,
}

/// A part of the loss of a step.
pub(crate) struct LossPart {
    pub(crate) loss: Tensor,
    /// The weight of the part in the sum.
    pub(crate) weight: f64,
    /// The backward pass of the backbone, where the loss was computed from its features.
    pub(crate) trace: Option<Trace>,
}

/// An optimiser of all trained variables.
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
    /// The momentum of filters that take orthogonalised steps.
    Muon(Var),
    /// The first and the second moment.
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
    /// An optimiser of all trainable parameters, with moments of 0.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn new(parameters: &Parameters, config: OptimizerConfig) -> Result<Self> {
        Self::of_some(parameters, config, |_| true)
    }

    /// As [`Self::new`], for the parameters whose names pass `is_trained`. The others neither change nor decay.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of_some(
        parameters: &Parameters,
        config: OptimizerConfig,
        is_trained: impl Fn(&str) -> bool,
    ) -> Result<Self> {
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
        let trained = parameters.trainable().into_iter().filter(|(name, _)| is_trained(name));
        let slots = trained.map(slot);
        Ok(Self { config, slots: slots.filter_map(Result::transpose).collect::<Result<_>>()? })
    }

    /// Takes one step of gradient descent on `loss` and returns the value of the loss. If this value is not finite, nothing changes. Where
    /// gradients are clipped and their norm is not finite, nothing changes either, and NaN is returned. Without clipping, the norm is not known:
    /// such gradients spoil the weights, which the trainer checks at the end of an epoch.
    ///
    /// # Errors
    /// Those of candle.
    pub(crate) fn descend(&self, loss: LossPart, step: Step) -> Result<f32> {
        self.descend_sum(std::iter::once(Ok(loss)), step)
    }

    /// As [`Self::descend`], on the sum of the parts of a loss. Each part is computed after the gradients of the one before, so that the memory
    /// of one part suffices.
    ///
    /// # Errors
    /// Those of candle and of `parts`.
    pub(crate) fn descend_sum(
        &self,
        parts: impl Iterator<Item = Result<LossPart>>,
        step: Step,
    ) -> Result<f32> {
        // Values are read after all gradients are queued, because a GPU would wait for each.
        let mut values = Vec::new();
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.slots.len()];
        for part in parts {
            let LossPart { loss, weight, trace } = part?;
            values.push((loss.detach(), weight));
            let mut of_loss = loss.backward()?;
            drop(loss);
            if let Some(trace) = trace {
                trace.back(&mut of_loss)?;
            }
            for (sum, slot) in gradients.iter_mut().zip(&self.slots) {
                let Some(gradient) = of_loss.get(&slot.var) else { continue };
                let scaled = if weight == 1.0 { gradient.clone() } else { (gradient * weight)? };
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + scaled)?,
                    None => scaled,
                });
            }
        }
        let mut value = 0.0;
        for (loss, weight) in values {
            value += loss.to_scalar::<f32>()? * weight as f32;
        }
        if !value.is_finite() {
            return Ok(value);
        }
        if step.number == 0 {
            self.check_reached(&gradients)?;
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

    /// Checks that every weight has a gradient. A bias may have none, because batch norm behind a layer cancels it.
    fn check_reached(&self, gradients: &[Option<Tensor>]) -> Result<()> {
        let without = self.slots.iter().zip(gradients).filter(|(_, gradient)| gradient.is_none());
        let names =
            without.map(|(slot, _)| slot.name.clone()).filter(|name| !name.ends_with(".bias"));
        match names.collect::<Vec<_>>() {
            names if names.is_empty() => Ok(()),
            names => Err(Error::NoGradient { names }),
        }
    }

    /// Updates every variable that has a gradient, scaled by `scale`.
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

    /// The moments on the CPU, by their number and the name of their variable.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        variables::snapshot(self.named())
    }

    /// Restores moments. Returns `false` where one is missing or has another shape; the state is undefined then.
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

/// The norm of all gradients as one vector.
fn norm(gradients: &[Option<Tensor>]) -> Result<f64> {
    let square = |gradient: &Tensor| {
        let sum = gradient.sqr()?.sum_all()?.to_dtype(candle_core::DType::F32)?;
        Ok(f64::from(sum.to_scalar::<f32>()?))
    };
    let squares = gradients.iter().flatten().map(square).collect::<Result<Vec<f64>>>()?;
    Ok(squares.into_iter().sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests;
