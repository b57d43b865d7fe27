//! DPN: each output is pushed beyond a margin, to the side of its bit in the class's codeword.
//!
//! Lixin Fan, Kam Woh Ng, Ce Ju, Tianyu Zhang, Chee Seng Chan: "Deep Polarized Network for Supervised Learning of Accurate
//! Binary Hashing Codes", IJCAI 2020.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::centres::Centres;
use super::hash_loss::{ClassSource, HashLoss};
use super::range::Range;
use super::supervision::Supervision;
use crate::codewords::Scheme;

/// The constants of DPN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpn {
    /// Outputs on the right side beyond this margin cost nothing.
    pub margin: f64,
    /// The scheme of the codewords.
    pub codewords: Scheme,
    /// The seed of random codewords.
    pub codeword_seed: u64,
}

impl Default for Dpn {
    fn default() -> Self {
        Self { margin: 1.0, codewords: Scheme::Auto, codeword_seed: 0 }
    }
}

impl HashLoss for Dpn {
    const NAME: &'static str = "dpn";
    const DESCRIPTION: &'static str =
        "unary; hinge of each output and its codeword's bit (Fan et al., 2020)";

    type Classes = Centres;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::factor("margin", self.margin)]
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
        dpn(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(v.matmul(&classes.codes.t()?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `sum_k max(0, margin - v_ik t_ik)`, where t is the sample's target code ([`Centres::targets`]). With smoothed labels it is `(1 - s)` times
/// this plus `s mean_c sum_k max(0, margin - v_ik t_ck)` over the codewords t_c of all classes.
///
/// # Shapes
/// `v`: `[n, K]`, `centres`: C codewords of K bits, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn dpn(
    v: &Tensor,
    centres: &Centres,
    supervision: Supervision<'_>,
    config: &Dpn,
) -> Result<Tensor> {
    let price = |margin: &Tensor| margin.affine(-1.0, config.margin)?.relu();
    supervision.mean(&centres.price_of_bits(v, supervision, price)?.sum(D::Minus1)?)
}
