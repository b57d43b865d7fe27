//! Learning rate over the steps of a run.

use serde::{Deserialize, Serialize};

use crate::error::{Result, by_name};

/// The course of the learning rate after warm-up, in which it rises linearly from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// Half a cosine, to 0 (Loshchilov and Hutter, 2017).
    #[default]
    Cosine,
    /// Linear to 0; with a long warm-up this is a triangle (Smith and Topin, 2019). Older versions called it `one-cycle`.
    #[serde(alias = "one-cycle")]
    Linear,
    /// The learning rate does not change.
    Constant,
}

impl ScheduleName {
    const ALL: [(&'static str, Self); 3] =
        [("cosine", Self::Cosine), ("linear", Self::Linear), ("constant", Self::Constant)];

    /// Parses a name, including those of older versions.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the known names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let name = if name == "one-cycle" { "linear" } else { name };
        by_name("schedule", name, Self::ALL.into_iter())
    }
}

/// Linear warm-up, followed by the rest of the schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// The highest learning rate.
    pub(crate) peak: f64,
    /// The number of warm-up steps, which may be fractional.
    pub(crate) warmup: f64,
    /// The number of steps of the whole run.
    pub(crate) steps: f64,
    pub(crate) shape: ScheduleName,
}

impl Schedule {
    /// The learning rate of step number `step`, from 0.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        // The middle of the step, so that neither the first nor the last step has a rate of 0.
        let at = step as f64 + 0.5;
        if at < self.warmup {
            return self.peak * at / self.warmup;
        }
        let done = ((at - self.warmup) / (self.steps - self.warmup).max(1.0)).min(1.0);
        self.peak
            * match self.shape {
                ScheduleName::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
                ScheduleName::Linear => 1.0 - done,
                ScheduleName::Constant => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_then_falls_to_nothing() {
        for shape in [ScheduleName::Cosine, ScheduleName::Linear] {
            let schedule = Schedule { peak: 0.4, warmup: 10.0, steps: 100.0, shape };
            let rates: Vec<f64> = (0..100).map(|step| schedule.rate(step)).collect();
            assert!(rates[..10].is_sorted() && rates[10..].iter().rev().is_sorted());
            assert!(rates[0] > 0.0 && rates[99] > 0.0 && rates[99] < 0.004);
            assert!((rates[10] - 0.4).abs() < 0.004);
            // Half of the fall, half of the rate.
            assert!((rates[54] + rates[55] - 0.4).abs() < 1e-9);
        }
    }

    #[test]
    fn no_warm_up_starts_at_the_peak_and_a_constant_rate_stays() {
        let schedule = Schedule { peak: 0.1, warmup: 0.0, steps: 4.0, shape: ScheduleName::Cosine };
        assert!(schedule.rate(0) > 0.09);
        let schedule = Schedule { warmup: 1.0, shape: ScheduleName::Constant, ..schedule };
        assert_eq!([0, 1, 3].map(|step| schedule.rate(step)), [0.05, 0.1, 0.1]);
    }
}
