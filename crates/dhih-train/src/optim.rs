//! The optimiser's state: one velocity for each trained variable, in the order of their names.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use dhih_model::Parameters;
use dhih_model::ops::{Sgd, sgd_step};
use dhih_model::pretrained::BACKBONE;

use crate::error::Result;

/// Stochastic gradient descent with Nesterov momentum over all trained variables.
pub(crate) struct Optimizer {
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    velocity: Var,
    rate_scale: f64,
}

impl Optimizer {
    /// All velocities 0. The backbone learns at `backbone_scale` times the rate of the rest; at 0 it is left out.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn new(parameters: &Parameters, backbone_scale: f64) -> Result<Self> {
        let slot = |(name, var): (String, Var)| {
            let rate_scale = if name.starts_with(BACKBONE) { backbone_scale } else { 1.0 };
            if rate_scale == 0.0 {
                return Ok(None);
            }
            let velocity = Var::from_tensor(&var.as_tensor().zeros_like()?)?;
            Ok(Some(Slot { name, var, velocity, rate_scale }))
        };
        let slots = parameters.trainable().into_iter().map(slot);
        Ok(Self { slots: slots.filter_map(Result::transpose).collect::<Result<_>>()? })
    }

    /// One step down `loss`, whose value is returned; where that is not finite, nothing is changed.
    ///
    /// # Errors
    /// Those of candle.
    pub(crate) fn descend(&self, loss: &Tensor, sgd: Sgd) -> Result<f32> {
        let value = loss.to_scalar::<f32>()?;
        if value.is_finite() {
            self.step(&loss.backward()?, sgd)?;
        }
        Ok(value)
    }

    /// One step on every variable that has a gradient.
    ///
    /// # Errors
    /// Those of candle.
    fn step(&self, gradients: &GradStore, sgd: Sgd) -> Result<()> {
        for Slot { name, var, velocity, rate_scale } in &self.slots {
            // Scales and shifts are not drawn towards 0: they set the size of activations, not of weights.
            let weight_decay = if is_decayed(name, var) { sgd.weight_decay } else { 0.0 };
            if let Some(gradient) = gradients.get(var) {
                let learning_rate = sgd.learning_rate * *rate_scale as f32;
                sgd_step(var, velocity, gradient, Sgd { learning_rate, weight_decay, ..sgd })?;
            }
        }
        Ok(())
    }

    /// The velocities by the names of their variables, on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        let copy = |slot: &Slot| {
            let velocity = slot.velocity.as_tensor().copy()?.detach();
            Ok((slot.name.clone(), velocity.to_device(&candle_core::Device::Cpu)?))
        };
        self.slots.iter().map(copy).collect()
    }

    /// Takes velocities back; `false` where one is missing or has another shape, and then nothing is to be relied on.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn restore(&self, velocities: &BTreeMap<String, Tensor>) -> Result<bool> {
        for slot in &self.slots {
            match velocities.get(&slot.name) {
                Some(tensor) if tensor.shape() == slot.velocity.shape() => {
                    slot.velocity.set(&tensor.to_device(slot.velocity.device())?)?;
                }
                _ => return Ok(false),
            }
        }
        Ok(velocities.len() == self.slots.len())
    }
}

fn is_decayed(name: &str, var: &Var) -> bool {
    var.rank() > 1 && !name.ends_with("bias")
}
