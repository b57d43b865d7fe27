//! The highly interrelated (HI) loss.
//!
//! He Zhouyu, Feng Xupeng, Liu Lijun, Huang Qingsong: "Deep Highly Interrelated Hashing for Fast Image Retrieval", Journal
//! of Computer Research and Development 57(11):2375-2388, 2020. **This is a reconstruction**: the abstract says that the loss
//! adjusts distances between features by changing the model's sensitivity to the weight matrix, larger between classes and
//! smaller within, under unary supervision; it gives no equation. Both readings that fit are here, as modes.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::parts::{mean_labelled, softplus};
use super::quantization;

/// How the sensitivity acts on the logits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiMode {
    /// The true class's logit becomes `phi(z)`: `alpha z` where positive, `z / alpha` where negative.
    #[default]
    Target,
    /// Every logit is multiplied by alpha, an inverse temperature.
    Global,
}

/// The constants of the HI loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hi {
    /// How the sensitivity acts.
    pub mode: HiMode,
    /// The sensitivity: in (0, 1] for `target`, where 1 is plain softmax; positive for `global`.
    pub alpha: f64,
    /// Weight of the quantisation term.
    pub lambda_q: f64,
}

impl Default for Hi {
    fn default() -> Self {
        Self { mode: HiMode::Target, alpha: 0.8, lambda_q: 0.01 }
    }
}

/// The loss of a batch, `mean_i ( L_i + lambda_q mean_k (|h_ik| - 1)^2 )`, with
///
/// `L_i = 1/|Y_i| sum_{c in Y_i} -log [ e^{phi(z_c)} / ( e^{phi(z_c)} + sum_{j not in Y_i} e^{z_j} ) ]`.
///
/// Positives do not compete with one another; with one label this is cross-entropy with a harder true class. A sample
/// without labels contributes nothing and is not counted in the mean.
///
/// # Shapes
/// `v`: `[n, K]`, `weight`: `[C, K]`, `labels`: `[n, C]` of 0 and 1; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn hi(v: &Tensor, weight: &Tensor, labels: &Tensor, config: &Hi) -> Result<Tensor> {
    let h = v.tanh()?;
    let z = h.matmul(&weight.t()?)?;
    let (z, target) = match config.mode {
        HiMode::Target => (z.clone(), sensitive(&z, config.alpha)?),
        HiMode::Global => (z * config.alpha).map(|z| (z.clone(), z))?,
    };
    // log sum exp of the other classes; a label moves its class out of the sum.
    let others = (z + (labels * -1e9)?)?.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
    let each = softplus(&others.broadcast_sub(&target)?)?;
    let each = (each * labels)?.sum(D::Minus1)? / labels.sum(D::Minus1)?.maximum(1f64)?;
    mean_labelled(&(each? + (quantization(&h)? * config.lambda_q)?)?, labels)
}

/// phi: continuous, increasing, and never above its argument for alpha up to 1.
fn sensitive(z: &Tensor, alpha: f64) -> Result<Tensor> {
    (z.relu()? * alpha)? - (z.neg()?.relu()? / alpha)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn tensor(values: &[f64], shape: (usize, usize)) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn alpha_one_is_softmax_cross_entropy() {
        let v = tensor(&[0.3, -1.2, 0.7, 2.0, 0.1, -0.4], (2, 3));
        let w = tensor(&[0.5, 0.2, -0.3, -0.8, 0.1, 0.4], (2, 3));
        let labels = tensor(&[1.0, 0.0, 0.0, 1.0], (2, 2));
        let config = Hi { alpha: 1.0, lambda_q: 0.0, ..Hi::default() };
        let loss = hi(&v, &w, &labels, &config).unwrap().to_scalar::<f64>().unwrap();
        let z = v.tanh().unwrap().matmul(&w.t().unwrap()).unwrap();
        let log_softmax = candle_nn::ops::log_softmax(&z, D::Minus1).unwrap();
        let expected = (log_softmax * labels).unwrap().sum_all().unwrap().to_scalar::<f64>();
        assert!((loss + expected.unwrap() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_lower_alpha_is_harder() {
        let (v, w) = (tensor(&[0.3, -1.2], (1, 2)), tensor(&[0.5, 0.2, -0.8, 0.1], (2, 2)));
        let labels = tensor(&[1.0, 0.0], (1, 2));
        let loss = |alpha| {
            let config = Hi { alpha, lambda_q: 0.0, ..Hi::default() };
            hi(&v, &w, &labels, &config).unwrap().to_scalar::<f64>().unwrap()
        };
        assert!(loss(0.25) > loss(0.5) && loss(0.5) > loss(1.0));
    }

    #[test]
    fn unlabelled_and_fully_labelled_samples_stay_finite() {
        let v = Var::from_tensor(&tensor(&[0.3, -1.2, 5.0, 80.0], (2, 2))).unwrap();
        let w = tensor(&[50.0, 0.2, -0.8, 60.0], (2, 2));
        let labels = tensor(&[0.0, 0.0, 1.0, 1.0], (2, 2));
        let loss = hi(v.as_tensor(), &w, &labels, &Hi::default()).unwrap();
        let gradients = loss.backward().unwrap();
        let gradient = gradients.get(&v).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
        assert!(loss.to_scalar::<f64>().unwrap().is_finite());
    }
}
