//! CroVCA: two views of a sample are to have one code. It takes no labels, and so it is no [`Loss`](super::Loss).
//!
//! Ilyass Moummad, Kawtar Zaher, Hervé Goëau, Alexis Joly: "Image Hashing via Cross-View Code Alignment in the Age of Foundation Models",
//! arXiv 2510.27584, 2025.

use candle_core::{Result, Tensor};

use super::coding_rate::coding_rate;
use super::parts::softplus;
use super::range::Range;
use crate::error;

/// The constants of CroVCA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CroVca {
    /// The weight of the coding rate.
    pub rate: f64,
    /// The squared error up to which the coding rate tells outputs apart.
    pub distortion: f64,
}

impl Default for CroVca {
    fn default() -> Self {
        Self { rate: 0.1, distortion: 0.05 }
    }
}

impl CroVca {
    /// Checks the range of every constant.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the first constant that is out of range.
    pub fn check(&self) -> error::Result<()> {
        Range::weight("rate", self.rate).check()?;
        Range::factor("distortion", self.distortion).check()
    }
}

/// The loss of a batch of samples, whose outputs are `v` for one view and `w` for the other:
///
/// `1/2 mean_ik [ BCE(sigmoid(v_ik), w_ik >= 0) + BCE(sigmoid(w_ik), v_ik >= 0) ] - rate/2 [ R(v) + R(w) ]`
///
/// Each view predicts the bits of the other, through which no gradient goes. R is the coding rate, which is greatest where the outputs of
/// different samples point in all directions:
///
/// `R(v) = (n + K) / (2 n K) ln det( I + K / (n distortion) Z^T Z )`, where the rows of Z are those of v, scaled to length 1.
///
/// # Shapes
/// `v` and `w`: `[n, K]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn crovca(v: &Tensor, w: &Tensor, config: &CroVca) -> Result<Tensor> {
    let agreement = (missed_bits(v, w)? + missed_bits(w, v)?)?;
    let rate = (coding_rate(v, config.distortion)? + coding_rate(w, config.distortion)?)?;
    (agreement - (rate * config.rate)?)? * 0.5
}

/// The mean of `BCE(sigmoid(v), w >= 0)`, a scalar.
fn missed_bits(v: &Tensor, w: &Tensor) -> Result<Tensor> {
    let bits = w.ge(0f64)?.to_dtype(v.dtype())?;
    (softplus(v)? - (bits * v)?)?.mean_all()
}
