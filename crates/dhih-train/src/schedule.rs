//! Learning rate over the steps of a run.

/// Linear warm-up, then half a cosine to 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// The highest rate.
    pub(crate) peak: f64,
    /// Steps of the rise; may be a fraction.
    pub(crate) warmup: f64,
    /// Steps of the whole run.
    pub(crate) steps: f64,
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        // The middle of the step, so that neither the first nor the last is lost.
        let at = step as f64 + 0.5;
        if at < self.warmup {
            return self.peak * at / self.warmup;
        }
        let done = (at - self.warmup) / (self.steps - self.warmup).max(1.0);
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_then_falls_to_nothing() {
        let schedule = Schedule { peak: 0.4, warmup: 10.0, steps: 100.0 };
        let rates: Vec<f64> = (0..100).map(|step| schedule.rate(step)).collect();
        assert!(rates[..10].is_sorted() && rates[10..].iter().rev().is_sorted());
        assert!(rates[0] > 0.0 && rates[99] > 0.0 && rates[99] < 0.001);
        assert!((rates[10] - 0.4).abs() < 0.001);
    }

    #[test]
    fn no_warm_up_starts_at_the_peak() {
        let schedule = Schedule { peak: 0.1, warmup: 0.0, steps: 4.0 };
        assert!(schedule.rate(0) > 0.09);
    }
}
