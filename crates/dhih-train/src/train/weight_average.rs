//! Averages of a network's weights over the steps of training, which generalise better than the last weights. Running statistics of batch norm
//! are averaged, too.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use dhih_model::Parameters;
use dhih_model::codewords::is_codeword;

use crate::error::Result;
use crate::train::variables;

/// How weights are averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Averaging {
    /// An exponential moving average with this decay, which does not influence training (Polyak and Juditsky, 1992).
    Moving { decay: f64 },
    /// Every `every` steps, slow weights move towards the trained ones, which then continue from there (Zhang et al., "Lookahead optimizer",
    /// 2019). The slow weights keep a share of 0.95^5 p^3, where p is the share of training that is done (Jordan, 2024): almost nothing at
    /// first, three quarters at the end.
    Lookahead { every: usize },
}

/// An average of variables.
pub(crate) struct WeightAverage {
    averaging: Averaging,
    entries: Vec<(String, Var, Var)>,
}

impl WeightAverage {
    /// Averages of the variables whose names pass `wanted`, beginning with their current values. Codewords never change and are left out.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn new(
        parameters: &Parameters,
        averaging: Averaging,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let is_averaged = |name: &str| wanted(name) && !is_codeword(name);
        let all = parameters.all().into_iter().filter(|(name, _)| is_averaged(name));
        let copied = |(name, var): (String, Var)| {
            let average = Var::from_tensor(&var.as_tensor().copy()?.detach())?;
            Ok((name, var, average))
        };
        Ok(Self { averaging, entries: all.map(copied).collect::<Result<_>>()? })
    }

    /// Updates the averages after step number `step`, from 0, when the share `progress` of training is done. Early weights are soon forgotten.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn update(&self, step: usize, progress: f64) -> Result<()> {
        let is_lookahead = matches!(self.averaging, Averaging::Lookahead { .. });
        let decay = match self.averaging {
            Averaging::Moving { decay } => decay.min((step + 1) as f64 / (step + 10) as f64),
            Averaging::Lookahead { every } if (step + 1).is_multiple_of(every) => {
                0.95f64.powi(5) * progress.powi(3)
            }
            Averaging::Lookahead { .. } => return Ok(()),
        };
        for (_, var, average) in &self.entries {
            average.set(&((average.as_tensor() * decay)? + (var.as_tensor() * (1.0 - decay))?)?)?;
            if is_lookahead {
                var.set(average.as_tensor())?;
            }
        }
        Ok(())
    }

    /// Exchanges weights and averages: the network uses the averages until this is called again.
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

    /// Restores averages. Returns `false` where one is missing or has another shape.
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::Init;

    /// A weight and its average, when the weight becomes `steps[t]` at step t.
    fn averaged(averaging: Averaging, steps: &[f32]) -> Vec<(f32, f32)> {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        vb.get_with_hints(1, "w", Init::Const(0.0)).unwrap();
        let var = parameters.get("w").unwrap();
        let average = WeightAverage::new(&parameters, averaging, |_| true).unwrap();
        let value = |var: &Var| var.as_tensor().to_vec1::<f32>().unwrap()[0];
        let after = |(step, weight): (usize, &f32)| {
            var.set(&Tensor::new(&[*weight], &Device::Cpu).unwrap()).unwrap();
            average.update(step, (step + 1) as f64 / steps.len() as f64).unwrap();
            (value(&var), value(&average.entries[0].2))
        };
        steps.iter().enumerate().map(after).collect()
    }

    #[test]
    fn a_moving_average_leaves_the_weights_alone() {
        let all = averaged(Averaging::Moving { decay: 0.5 }, &[1.0, 1.0, 2.0]);
        assert_eq!(all.iter().map(|(weight, _)| *weight).collect::<Vec<_>>(), [1.0, 1.0, 2.0]);
        // The decays are 1/10, 2/11 and 3/12.
        let mut expected = 0.0;
        for ((_, average), (weight, decay)) in
            all.iter().zip([(1.0, 0.1), (1.0, 2.0 / 11.0), (2.0, 0.25)])
        {
            expected = expected * decay + weight * (1.0 - decay);
            assert!((average - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn lookahead_draws_the_weights_back_every_so_many_steps() {
        let all = averaged(Averaging::Lookahead { every: 2 }, &[1.0, 2.0, 7.0, 4.0, 6.0]);
        let kept = |progress: f32| 0.95f32.powi(5) * progress.powi(3);
        assert_eq!(all[0], (1.0, 0.0));
        let second = 2.0 * (1.0 - kept(0.4));
        assert!((all[1].0 - second).abs() < 1e-6 && all[1].0 == all[1].1, "{all:?}");
        assert_eq!(all[2], (7.0, all[1].1));
        let fourth = second * kept(0.8) + 4.0 * (1.0 - kept(0.8));
        assert!((all[3].1 - fourth).abs() < 1e-6, "{all:?}");
        assert_eq!(all[4], (6.0, all[3].1));
    }
}
