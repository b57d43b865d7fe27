//! CSQ: each bit is classified as the bit of the class's codeword.
//!
//! Li Yuan, Tao Wang, Xiaopeng Zhang, Francis E. H. Tay, Zequn Jie, Wei Liu, Jiashi Feng: "Central Similarity Quantization
//! for Efficient Image and Video Retrieval", CVPR 2020.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::centres::Centres;
use super::hash_loss::{ClassSource, HashLoss};
use super::parts::softplus;
use super::quantization;
use super::range::Range;
use super::supervision::Supervision;
use crate::codewords::Scheme;

/// The constants of CSQ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csq {
    /// Weight of the quantisation term.
    pub lambda: f64,
    /// The scheme of the codewords.
    pub codewords: Scheme,
    /// The seed of random codewords.
    pub codeword_seed: u64,
}

impl Default for Csq {
    fn default() -> Self {
        Self { lambda: 1e-4, codewords: Scheme::Auto, codeword_seed: 0 }
    }
}

impl HashLoss for Csq {
    const NAME: &'static str = "csq";
    const DESCRIPTION: &'static str =
        "unary; bitwise cross-entropy with codewords (Yuan et al., 2020)";

    type Classes = Centres;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("lambda", self.lambda)]
    }

    fn classes(&self, source: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        source.centres(self.codewords, self.codeword_seed)
    }

    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor> {
        csq(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(v.tanh()?.matmul(&classes.codes.t()?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `mean_k BCE((h_ik + 1)/2, (t_ik + 1)/2) + lambda mean_k (|h_ik| - 1)^2`, where `h = tanh(v)` and t is the sample's target code
/// ([`Centres::targets`]). With smoothed labels t is `(1 - s) t + s mean_c t_c` over the codewords t_c of all classes: a share s of the cost is
/// that of a sample of each class, on average.
///
/// # Shapes
/// `v`: `[n, K]`, `centres`: C codewords of K bits, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn csq(
    v: &Tensor,
    centres: &Centres,
    supervision: Supervision<'_>,
    config: &Csq,
) -> Result<Tensor> {
    // Because (tanh(v) + 1)/2 = sigmoid(2v), the cross-entropy is finite even where tanh rounds to +-1.
    let price = |margin: &Tensor| softplus(&(margin * -2.0)?);
    let each = centres.price_of_bits(v, supervision, price)?.mean(D::Minus1)?;
    supervision.mean(&(each + (quantization(&v.tanh()?)? * config.lambda)?)?)
}
