//! DPN: every output is polarised to the sign of its bit in the class's codeword, beyond a margin.
//!
//! Lixin Fan, Kam Woh Ng, Ce Ju, Tianyu Zhang, Chee Seng Chan: "Deep Polarized Network for Supervised Learning of Accurate
//! Binary Hashing Codes", IJCAI 2020.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::centres::Centres;
use super::parts::mean_labelled;
use crate::codewords::Scheme;

/// The constants of DPN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpn {
    /// Outputs beyond it on the right side cost nothing.
    pub margin: f64,
    /// How codewords are made.
    pub codewords: Scheme,
    /// Seed of those that are drawn.
    pub codeword_seed: u64,
}

impl Default for Dpn {
    fn default() -> Self {
        Self { margin: 1.0, codewords: Scheme::Auto, codeword_seed: 0 }
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `sum_k max(0, margin - v_ik t_ik)`, t the sample's target code ([`Centres::targets`]).
///
/// # Shapes
/// `v`: `[n, K]`, `centres`: C codewords of K bits, `labels`: `[n, C]` of 0 and 1; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn dpn(v: &Tensor, centres: &Centres, labels: &Tensor, config: &Dpn) -> Result<Tensor> {
    let short = (v * centres.targets(labels)?)?.affine(-1.0, config.margin)?;
    mean_labelled(&short.relu()?.sum(D::Minus1)?, labels)
}
