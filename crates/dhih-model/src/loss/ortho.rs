//! OrthoHash: classification by the cosine of output and codeword, with a margin on the true class.
//!
//! Jiun Tian Hoe, Kam Woh Ng, Tianyu Zhang, Chee Seng Chan, Yi-Zhe Song, Tao Xiang: "One Loss for All: Deep Hashing with a
//! Single Cosine Similarity based Learning Objective", NeurIPS 2021.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::centres::Centres;
use super::hash_loss::{ClassSource, HashLoss};
use super::parts::cosine;
use super::range::Range;
use super::supervision::{Supervision, uniform_cross_entropy};
use crate::codewords::Scheme;
use crate::hash_layer::HashNorm;

/// The constants of OrthoHash, for either margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ortho {
    /// The margin, subtracted from the true class's cosine or added to its angle in radians.
    pub margin: f64,
    /// The factor of cosines.
    pub scale: f64,
    /// The scheme of the codewords.
    pub codewords: Scheme,
    /// The seed of random codewords.
    pub codeword_seed: u64,
}

impl Ortho {
    /// The defaults for codes of `bits`: the scale is the square root of `bits`.
    pub fn new(bits: usize) -> Self {
        let scale = (bits as f64).sqrt();
        Self { margin: 0.2, scale, codewords: Scheme::Auto, codeword_seed: 0 }
    }
}

/// OrthoHash with its margin on the angle (`true`) or on the cosine (`false`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin<const ON_ANGLE: bool>(pub(super) Ortho);

impl<const ON_ANGLE: bool> HashLoss for Margin<ON_ANGLE> {
    const NAME: &'static str = if ON_ANGLE { "ortho-arc" } else { "ortho-cos" };
    const DESCRIPTION: &'static str = if ON_ANGLE {
        "unary; cosine to codewords, margin on the angle (Hoe et al., 2021)"
    } else {
        "unary; cosine to codewords, margin on the cosine (Hoe et al., 2021)"
    };

    type Classes = Centres;

    fn for_bits(bits: usize) -> Self {
        Self(Ortho::new(bits))
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("margin", self.0.margin), Range::factor("scale", self.0.scale)]
    }

    fn hash_norm(&self) -> HashNorm {
        // The published hash layer ends in batch norm.
        HashNorm::Batch
    }

    fn classes(&self, source: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        source.centres(self.0.codewords, self.0.codeword_seed)
    }

    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor> {
        let of = if ON_ANGLE { ortho_arc } else { ortho_cos };
        of(v, classes, supervision, &self.0)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(v.matmul(&classes.codes.t()?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of `CE(softmax(z_i), Y_i / |Y_i|)`,
///
/// `z_ic = scale (cos(v_i, t_c) - margin Y_ic)`.
///
/// The hash layer ends in batch norm, so that outputs are balanced around 0. With several labels each label has the margin, and the target is
/// spread over them equally. Label smoothing uses the cosines without the margin.
///
/// # Shapes
/// `v`: `[n, K]`, `centres`: C codewords of K bits, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn ortho_cos(
    v: &Tensor,
    centres: &Centres,
    supervision: Supervision<'_>,
    config: &Ortho,
) -> Result<Tensor> {
    let cos = cosine(v, &centres.codes)?;
    let harder = (&cos - (supervision.labels * config.margin)?)?;
    classify(&cos, &harder, supervision, config.scale)
}

/// As [`ortho_cos`], with the margin on the angle: `z_ic = scale cos(acos(cos(v_i, t_c)) + margin Y_ic)`.
///
/// # Shapes
/// As [`ortho_cos`].
///
/// # Errors
/// When shapes differ.
pub fn ortho_arc(
    v: &Tensor,
    centres: &Centres,
    supervision: Supervision<'_>,
    config: &Ortho,
) -> Result<Tensor> {
    let cos = cosine(v, &centres.codes)?;
    // cos(a + m) = cos a cos m - sin a sin m. The lower bound keeps the gradient of the square root finite where an output points exactly to a
    // codeword.
    let sin = cos.sqr()?.affine(-1.0, 1.0)?.maximum(1e-6)?.sqrt()?;
    let turned = ((&cos * config.margin.cos())? - (sin * config.margin.sin())?)?;
    let harder = (&cos + ((turned - &cos)? * supervision.labels)?)?;
    classify(&cos, &harder, supervision, config.scale)
}

/// Classification by `scale harder`, where `harder` are the cosines with the margin. Label smoothing uses `scale cos`.
fn classify(
    cos: &Tensor,
    harder: &Tensor,
    supervision: Supervision<'_>,
    scale: f64,
) -> Result<Tensor> {
    let each = Supervision { smoothing: 0.0, ..supervision }.cross_entropy(&(harder * scale)?)?;
    supervision.mean(&supervision.smooth(each, || uniform_cross_entropy(&(cos * scale)?))?)
}
