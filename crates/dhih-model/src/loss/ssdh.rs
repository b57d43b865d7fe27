//! SSDH: classification by sigmoid codes that are pushed to 0 or 1 and kept balanced.
//!
//! Huei-Fang Yang, Kevin Lin, Chu-Song Chen: "Supervised Learning of Semantics-Preserving Hash via Deep Convolutional Neural
//! Networks", IEEE Transactions on Pattern Analysis and Machine Intelligence 40(2):437-451, 2018.

use candle_core::{D, Result, Tensor};
use candle_nn::Init;
use candle_nn::ops::sigmoid;
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::range::Range;
use super::supervision::Supervision;

/// The constants of SSDH.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssdh {
    /// The weight of the term that pushes each bit away from 1/2.
    pub binary: f64,
    /// The weight of the term that keeps half of the bits of each code set.
    pub balance: f64,
}

impl Default for Ssdh {
    fn default() -> Self {
        Self { binary: 1.0, balance: 1.0 }
    }
}

/// A linear classifier of relaxed codes.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// The weight W, `[C, K]`.
    pub weight: Tensor,
    /// The bias a, `[C]`.
    pub bias: Tensor,
}

impl Classifier {
    /// The class logits `h W^T + a`.
    ///
    /// # Shapes
    /// `h`: `[n, K]`; returns `[n, C]`.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn logits(&self, h: &Tensor) -> Result<Tensor> {
        h.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

impl HashLoss for Ssdh {
    const NAME: &'static str = "ssdh";
    const DESCRIPTION: &'static str =
        "unary; cross-entropy of sigmoid codes, bits polar and balanced (Yang et al., 2018)";

    type Classes = Classifier;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("binary", self.binary), Range::weight("balance", self.balance)]
    }

    fn classes(&self, source: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        let bias = source.vb.get_with_hints(source.classes, "class_bias", Init::Const(0.0))?;
        Ok(Classifier { weight: source.weights()?, bias })
    }

    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor> {
        ssdh(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(classes.logits(&sigmoid(v)?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `CE(softmax(h_i W^T + a), Y_i / |Y_i|) - binary mean_k (h_ik - 1/2)^2 + balance (mean_k h_ik - 1/2)^2`, where `h = sigmoid(v)`.
///
/// A bit is set where `h >= 1/2`, that is where `v >= 0`. With several labels the target is spread over them equally.
///
/// # Shapes
/// `v`: `[n, K]`; `classifier`: of C classes; `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn ssdh(
    v: &Tensor,
    classifier: &Classifier,
    supervision: Supervision<'_>,
    config: &Ssdh,
) -> Result<Tensor> {
    let h = sigmoid(v)?;
    let each = supervision.cross_entropy(&classifier.logits(&h)?)?;
    let h = (h - 0.5)?;
    let binary = (h.sqr()?.mean(D::Minus1)? * config.binary)?;
    let balance = (h.mean(D::Minus1)?.sqr()? * config.balance)?;
    supervision.mean(&((each - binary)? + balance)?)
}
