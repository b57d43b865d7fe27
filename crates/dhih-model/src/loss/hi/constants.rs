//! The constants of the HI loss: modes, defaults, their meaning in older files, ranges, and schedules. `mod.rs` has the loss itself.

use serde::{Deserialize, Serialize};

use crate::codewords::Scheme;
use crate::loss::range::Range;

/// The form of the logits, and how the sensitivity acts on them. See [`hi`](super::hi()) for `phi`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiMode {
    /// Logits are products of relaxed code and trained class weights. The logit z of the true class becomes `phi(z)`.
    #[default]
    Target,
    /// Logits are the same products. All of them are multiplied by alpha, an inverse temperature.
    Global,
    /// Logits are scaled cosines of output and fixed codewords. The cosine c of the true class becomes `phi(c)`.
    Cosine,
    /// Logits are scaled cosines of output and trained class weights that are initialised with codewords. The cosine c of the true class becomes
    /// `phi(c)`.
    CosineWeights,
}

impl HiMode {
    /// Whether the logits are cosines.
    pub fn is_cosine(self) -> bool {
        matches!(self, Self::Cosine | Self::CosineWeights)
    }
}

/// The constants of the HI loss. [`Default`] gives those of new runs in the mode `target`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "Hi::of_older_files")]
pub struct Hi {
    /// The form of the logits.
    pub mode: HiMode,
    /// The sensitivity alpha, in (0, 1]; 1 is plain softmax. For `global` it may be any positive number.
    pub alpha: f64,
    /// The share of training in which alpha goes linearly from 1 to its value; 0 means that it has its value from the beginning.
    pub alpha_ramp: f64,
    /// The weight of the quantisation term `(|h| - 1)^2`.
    pub lambda_q: f64,
    /// The weight mu of supervised quantisation, which draws each output to the sign of its class at this bit.
    pub mu: f64,
    /// For `cosine-weights`: the weight of the term that keeps class weights orthogonal.
    pub beta: f64,
    /// For the modes with cosines: cosines are multiplied by this times sqrt(K).
    pub scale_factor: f64,
    /// For the modes with cosines: the scale factor at the beginning of training, where `scale_ramp` is above 0.
    pub scale_start: f64,
    /// For the modes with cosines: the share of training in which the scale factor goes linearly from `scale_start` to `scale_factor`; 0 means
    /// that it is `scale_factor` from the beginning.
    pub scale_ramp: f64,
    /// For the modes with cosines: the scheme of the codewords.
    pub codewords: Scheme,
    /// For the modes with cosines: the seed of random codewords.
    pub codeword_seed: u64,
    /// Whether the hash layer ends in batch norm where the user does not say.
    pub batch_norm: bool,
}

impl Default for Hi {
    fn default() -> Self {
        Self::of_mode(HiMode::default())
    }
}

impl Hi {
    /// The defaults of new runs in a mode. This is the only place that decides them.
    pub fn of_mode(mode: HiMode) -> Self {
        let mu = match mode {
            HiMode::Target => 1.0,
            HiMode::Global | HiMode::Cosine | HiMode::CosineWeights => 0.0,
        };
        Self {
            mode,
            alpha: 0.8,
            alpha_ramp: 0.0,
            lambda_q: Self::default_lambda_q(mode, mu),
            mu,
            beta: if mode == HiMode::CosineWeights { 0.1 } else { 0.0 },
            scale_factor: 1.0,
            scale_start: 0.5,
            scale_ramp: 0.0,
            codewords: Scheme::Distant,
            codeword_seed: 0,
            batch_norm: true,
        }
    }

    /// The default weight `lambda_q` of the quantisation term. Supervised quantisation of weight `mu` replaces the term. Cosines do not depend
    /// on the magnitude of outputs, so that the modes with cosines have neither by default.
    pub fn default_lambda_q(mode: HiMode, mu: f64) -> f64 {
        if mu > 0.0 || mode.is_cosine() { 0.0 } else { 0.01 }
    }

    /// The meaning of a file that omits constants, or names no loss at all: the loss as it was when it had only mode, alpha and `lambda_q`.
    pub(crate) fn of_older_files() -> Self {
        let mu = 0.0;
        let lambda_q = Self::default_lambda_q(HiMode::Target, mu);
        Self { lambda_q, mu, batch_norm: false, ..Self::of_mode(HiMode::Target) }
    }

    /// Alpha at `progress`, the share of training that is done: `1 - (1 - alpha) min(1, progress / alpha_ramp)`.
    pub(super) fn alpha_at(&self, progress: f64) -> f64 {
        1.0 - (1.0 - self.alpha) * ramp(progress, self.alpha_ramp)
    }

    /// The factor of cosines at `progress`.
    pub(super) fn scale_at(&self, progress: f64, bits: usize) -> f64 {
        let Self { scale_factor, scale_start, scale_ramp, .. } = *self;
        let factor = scale_start + (scale_factor - scale_start) * ramp(progress, scale_ramp);
        factor * (bits as f64).sqrt()
    }

    /// The ranges of its numbers.
    pub(super) fn number_ranges(&self) -> Vec<Range> {
        let part = |name, got: f64| Range {
            name,
            got,
            fits: (0.0..=1.0).contains(&got),
            expected: "a part of training, 0 to 1",
        };
        let (most, expected) = match self.mode {
            HiMode::Global => (100.0, "above 0, at most 100"),
            _ => (1.0, "above 0, at most 1"),
        };
        let fits = self.alpha > 0.0 && self.alpha <= most;
        vec![
            Range { name: "hi_alpha", got: self.alpha, fits, expected },
            part("alpha_ramp", self.alpha_ramp),
            Range::weight("hi_lambda_q", self.lambda_q),
            Range::weight("mu", self.mu),
            Range::weight("beta", self.beta),
            Range::factor("scale_factor", self.scale_factor),
            Range::factor("scale_start", self.scale_start),
            part("scale_ramp", self.scale_ramp),
        ]
    }
}

/// How much of a linear change is done at `progress`, 0 to 1, where the change takes the share `length` of training.
fn ramp(progress: f64, length: f64) -> f64 {
    if length > 0.0 { (progress / length).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_and_scale_go_along_their_ramps_and_stay() {
        let constant = Hi { alpha: 0.6, scale_factor: 1.5, ..Hi::default() };
        let ramped = Hi { alpha_ramp: 0.5, scale_ramp: 0.25, scale_start: 0.5, ..constant };
        for (progress, alpha, scale) in
            [(0.0, 1.0, 2.0), (0.125, 0.9, 4.0), (0.25, 0.8, 6.0), (0.5, 0.6, 6.0), (1.0, 0.6, 6.0)]
        {
            assert!((ramped.alpha_at(progress) - alpha).abs() < 1e-12, "{progress}");
            assert!((ramped.scale_at(progress, 16) - scale).abs() < 1e-12, "{progress}");
            assert_eq!((constant.alpha_at(progress), constant.scale_at(progress, 16)), (0.6, 6.0));
        }
    }

    #[test]
    fn a_file_that_names_three_constants_means_the_loss_of_three_constants() {
        let old = r#"{"mode":"target","alpha":0.7,"lambda_q":0.02}"#;
        let hi: Hi = serde_json::from_str(old).unwrap();
        assert_eq!((hi.mode, hi.alpha, hi.lambda_q), (HiMode::Target, 0.7, 0.02));
        assert_eq!((hi.mu, hi.beta, hi.alpha_ramp, hi.scale_ramp), (0.0, 0.0, 0.0, 0.0));
        assert!(!hi.batch_norm);
        let again: Hi = serde_json::from_str(&serde_json::to_string(&hi).unwrap()).unwrap();
        assert_eq!(again, hi);
        assert!(serde_json::from_str::<Hi>(r#"{"gamma":1}"#).is_err());
    }
}
