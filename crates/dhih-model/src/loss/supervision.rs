//! What a batch is trained towards: its labels, how much of their weight is spread over all classes, and how far training has come.

use candle_core::{D, Result, Tensor};

/// The labels of a batch and what changes their effect. [`Supervision::of`] has the labels alone.
#[derive(Debug, Clone, Copy)]
pub struct Supervision<'a> {
    /// `[n, C]` of 0 and 1; a sample may have several labels, or none.
    pub labels: &'a Tensor,
    /// Label smoothing s (Szegedy et al., 2016): the part of the labels' weight that is spread over all classes equally, 0 to below 1.
    pub smoothing: f64,
    /// The part of training that is done, 0 to 1. Schedules of constants go by it.
    pub progress: f64,
}

impl<'a> Supervision<'a> {
    /// Labels without smoothing, at the beginning of training.
    pub fn of(labels: &'a Tensor) -> Self {
        Self { labels, smoothing: 0.0, progress: 0.0 }
    }

    /// `(1 - s) each + s uniform`, where `uniform` is what each sample would cost if it had all classes equally. It is not computed
    /// where labels are not smoothed.
    ///
    /// # Shapes
    /// `each`: any, the shape of what `uniform` returns.
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

    /// Cross-entropy of each sample's logits and its smoothed labels, which share the rest of the probability equally:
    /// `(1 - s) Y / sum(Y) + s / C`.
    ///
    /// # Shapes
    /// `z`: `[n, C]`; returns `[n]`, of no meaning for a sample without labels.
    pub(super) fn cross_entropy(&self, z: &Tensor) -> Result<Tensor> {
        let shared = self.labels.sum_keepdim(D::Minus1)?.maximum(1f64)?;
        let target = self.labels.broadcast_div(&shared)?;
        let log_p = z.broadcast_sub(&z.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?;
        let each = (target * log_p)?.sum(D::Minus1)?.neg()?;
        self.smooth(each, || uniform_cross_entropy(z))
    }

    /// Mean over the samples that have a label. Samples without labels are left out of unary losses here, and only here.
    ///
    /// # Shapes
    /// `each`: `[n]`; returns a scalar, 0 where nothing is labelled.
    pub(super) fn mean(&self, each: &Tensor) -> Result<Tensor> {
        let labelled = self.labelled()?;
        (each * &labelled)?.sum_all()? / labelled.sum_all()?.maximum(1f64)?
    }

    /// 1 for each sample that has a label, else 0: `[n]`.
    pub(super) fn labelled(&self) -> Result<Tensor> {
        self.labels.sum(D::Minus1)?.minimum(1f64)
    }
}

/// Cross-entropy of each sample's logits and the uniform distribution, `-1/C sum_c log softmax(z)_c`.
///
/// # Shapes
/// `z`: `[n, C]`; returns `[n]`.
pub(super) fn uniform_cross_entropy(z: &Tensor) -> Result<Tensor> {
    z.log_sum_exp(D::Minus1)? - z.mean(D::Minus1)?
}
