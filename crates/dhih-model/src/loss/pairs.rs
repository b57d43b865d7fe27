//! The pairs of a batch for pairwise losses. Samples without labels are left out here: nothing says which samples they are similar to, not even
//! themselves.

use candle_core::{Result, Tensor};

use super::parts::softplus;
use super::supervision::Supervision;

/// All `n^2` ordered pairs of a batch, including each sample with itself.
pub(super) struct Pairs {
    /// `[n, n]`: 1 where two samples share a label, else 0.
    pub(super) similar: Tensor,
    /// `[n, n]`: 1 where both samples have labels and share none, else 0.
    pub(super) dissimilar: Tensor,
}

impl Pairs {
    pub(super) fn of(supervision: &Supervision<'_>) -> Result<Self> {
        let (labels, labelled) = (supervision.labels, supervision.labelled()?);
        let similar = labels.matmul(&labels.t()?)?.minimum(1f64)?;
        let both = labelled.unsqueeze(1)?.broadcast_mul(&labelled.unsqueeze(0)?)?;
        let dissimilar = (both - &similar)?;
        Ok(Self { similar, dissimilar })
    }

    /// The mean of `each` `[n, n]` over the pairs of labelled samples, a scalar.
    pub(super) fn mean(&self, each: &Tensor) -> Result<Tensor> {
        mean_of(each, &(&self.similar + &self.dissimilar)?)
    }

    /// The negative log-likelihood of the similarity s of each pair, `softplus(q) - s q` `[n, n]`, where `sigmoid(q)` is the probability of s =
    /// 1.
    pub(super) fn nll(&self, q: &Tensor) -> Result<Tensor> {
        softplus(q)? - (&self.similar * q)?
    }
}

/// The mean of `each` over the pairs for which `mask` is 1; 0 where there are none.
pub(super) fn mean_of(each: &Tensor, mask: &Tensor) -> Result<Tensor> {
    (each * mask)?.sum_all()? / mask.sum_all()?.maximum(1f64)?
}
