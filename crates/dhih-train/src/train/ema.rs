//! The moving average of a network's weights over the steps of training, which generalises better than the last of them (Polyak
//! and Juditsky, 1992). Running statistics of batch norm are averaged along.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use dhih_model::Parameters;
use dhih_model::codewords::is_codeword;

use crate::error::Result;
use crate::train::variables;

/// An exponential moving average of variables.
pub(crate) struct WeightAverage {
    decay: f64,
    entries: Vec<(String, Var, Var)>,
}

impl WeightAverage {
    /// Of the variables whose names pass `wanted`, as they are now. Codewords do not change, and are left out.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn new(
        parameters: &Parameters,
        decay: f64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let is_averaged = |name: &str| wanted(name) && !is_codeword(name);
        let all = parameters.all().into_iter().filter(|(name, _)| is_averaged(name));
        let copied = |(name, var): (String, Var)| {
            let average = Var::from_tensor(&var.as_tensor().copy()?.detach())?;
            Ok((name, var, average))
        };
        Ok(Self { decay, entries: all.map(copied).collect::<Result<_>>()? })
    }

    /// Draws the averages towards the weights after step `step`, counted from 0. Early ones are soon forgotten.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn update(&self, step: usize) -> Result<()> {
        let decay = self.decay.min((step + 1) as f64 / (step + 10) as f64);
        for (_, var, average) in &self.entries {
            average.set(&((average.as_tensor() * decay)? + (var.as_tensor() * (1.0 - decay))?)?)?;
        }
        Ok(())
    }

    /// Exchanges weights and averages: the network computes with the averages until it is done again.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn exchange(&self) -> Result<()> {
        for (_, var, average) in &self.entries {
            let weights = var.as_tensor().copy()?.detach();
            var.set(average.as_tensor())?;
            average.set(&weights)?;
        }
        Ok(())
    }

    /// The averages by name, on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        variables::snapshot(self.named())
    }

    /// Takes averages back; `false` where one is missing or has another shape.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn restore(&self, averages: &BTreeMap<String, Tensor>) -> Result<bool> {
        variables::restore(self.named(), averages)
    }

    fn named(&self) -> impl Iterator<Item = (String, &Var)> {
        self.entries.iter().map(|(name, _, average)| (name.clone(), average))
    }
}
