//! The targets of a batch: its labels, their smoothing, and the progress of training.

use candle_core::{D, Result, Tensor};

/// The labels of a batch, and what changes their effect.
#[derive(Debug, Clone, Copy)]
pub struct Supervision<'a> {
    /// Labels, `[n, C]` of 0 and 1. A sample may have several labels, or none.
    pub labels: &'a Tensor,
    /// Label smoothing s (Szegedy et al., 2016): the share of the labels' weight that is spread over all classes equally, at least 0 and below
    /// 1.
    pub smoothing: f64,
    /// The share of training that is done, 0 to 1, on which schedules of constants depend.
    pub progress: f64,
}

impl<'a> Supervision<'a> {
    /// Labels without smoothing, at the beginning of training.
    pub fn of(labels: &'a Tensor) -> Self {
        Self { labels, smoothing: 0.0, progress: 0.0 }
    }

    /// `(1 - s) each + s uniform`, where `uniform` is the cost of each sample if it had all classes equally. It is not computed where s is 0.
    ///
    /// # Shapes
    /// `each` has any shape, and `uniform` returns the same.
    pub(super) fn smooth(
        &self,
        each: Tensor,
        uniform: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self.smoothing {
            0.0 => Ok(each),
            s => (each * (1.0 - s))? + (uniform()? * s)?,
        }
    }

    /// The cross-entropy of each sample's logits with its smoothed labels `(1 - s) Y / sum(Y) + s / C`.
    ///
    /// # Shapes
    /// `z`: `[n, C]`; returns `[n]`, which is meaningless for samples without labels.
    pub(super) fn cross_entropy(&self, z: &Tensor) -> Result<Tensor> {
        let shared = self.labels.sum_keepdim(D::Minus1)?.maximum(1f64)?;
        let target = self.labels.broadcast_div(&shared)?;
        let log_p = z.broadcast_sub(&z.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?;
        let each = (target * log_p)?.sum(D::Minus1)?.neg()?;
        self.smooth(each, || uniform_cross_entropy(z))
    }

    /// The mean over the samples that have a label. This is the only place where unary losses leave out samples without labels.
    ///
    /// # Shapes
    /// `each`: `[n]`; returns a scalar, 0 where nothing is labelled.
    pub(super) fn mean(&self, each: &Tensor) -> Result<Tensor> {
        let labelled = self.labelled()?;
        (each * &labelled)?.sum_all()? / labelled.sum_all()?.maximum(1f64)?
    }

    /// `[n]`: 1 for each sample that has a label, else 0.
    pub(super) fn labelled(&self) -> Result<Tensor> {
        self.labels.sum(D::Minus1)?.minimum(1f64)
    }
}

/// The cross-entropy of each sample's logits with the uniform distribution, `-1/C sum_c log softmax(z)_c`.
///
/// # Shapes
/// `z`: `[n, C]`; returns `[n]`.
pub(super) fn uniform_cross_entropy(z: &Tensor) -> Result<Tensor> {
    z.log_sum_exp(D::Minus1)? - z.mean(D::Minus1)?
}
