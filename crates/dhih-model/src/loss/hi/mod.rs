//! The highly interrelated (HI) loss.
//!
//! He Zhouyu, Feng Xupeng, Liu Lijun, Huang Qingsong: "Deep Highly Interrelated Hashing for Fast Image Retrieval", Journal of Computer Research
//! and Development 57(11):2375-2388, 2020. **This is a reconstruction.** The abstract says that the loss adjusts distances between features by
//! changing the sensitivity of the model to the weight matrix, larger between classes and smaller within, under unary supervision; it gives no
//! equation. The modes are the readings that fit. In all of them the sensitivity alpha scales the derivative of logits with respect to the
//! weight matrix. `cosine` and `cosine-weights` are hybrids: their cosines to far codewords are those of OrthoHash (Hoe et al., NeurIPS 2021),
//! with the sensitivity in place of its margin. Supervised quantisation is our own addition; with fixed codewords it is the central similarity
//! of CSQ (Yuan et al., CVPR 2020).
//!
//! `constants.rs` has the constants, `classes.rs` has what outputs are compared with.

mod classes;
mod constants;

pub use classes::{CLASS_DIRECTIONS, HiClasses};
pub use constants::{Hi, HiMode};

use candle_core::{D, Result, Tensor};

use super::hash_loss::{ClassSource, HashLoss};
use super::parts::{cosine, softplus};
use super::quantization;
use super::range::Range;
use super::supervision::{Supervision, uniform_cross_entropy};
use crate::hash_layer::HashNorm;

impl HashLoss for Hi {
    const NAME: &'static str = "hi";
    const DESCRIPTION: &'static str =
        "unary; highly interrelated loss (He et al., 2020; a reconstruction)";

    type Classes = HiClasses;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        self.number_ranges()
    }

    fn hash_norm(&self) -> HashNorm {
        if self.batch_norm { HashNorm::Batch } else { HashNorm::None }
    }

    fn classes(&self, source: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(match self.mode {
            HiMode::Target | HiMode::Global => HiClasses::Weights(source.weights()?),
            HiMode::Cosine => {
                HiClasses::Codewords(source.centres(self.codewords, self.codeword_seed)?)
            }
            HiMode::CosineWeights => {
                let codewords = source.codewords(self.codewords, self.codeword_seed);
                HiClasses::directions(codewords, source.vb)?
            }
        })
    }

    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor> {
        hi(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        // The schedules do not change the order of the logits.
        Ok(Some(hi_logits(v, classes, self, 1.0)?))
    }
}

/// The loss of a batch,
/// `mean_i ( L_i + lambda_q mean_k (|h_ik| - 1)^2 + mu mean_k softplus(-2 v_ik sign(w_ik)) ) + beta |W^ W^^T - I|_F^2 / (C (C - 1))`,
/// with
///
/// `L_i = 1/|Y_i| sum_{c in Y_i} -log [ e^{t_c} / ( e^{t_c} + sum_{j not in Y_i} e^{z_j} ) ]`.
///
/// The logits z and, for the true classes, t are defined as follows, where `phi(x) = alpha x` for `x >= 0` and `x / alpha` for `x < 0`:
///
/// - `target`: `z_c = h . w_c`, `t_c = phi(z_c)`, `h = tanh(v)`
/// - `global`: `z_c = t_c = alpha h . w_c`
/// - `cosine`, `cosine-weights`: `z_c = s cos(v, w_c)`, `t_c = s phi(cos(v, w_c))`
///
/// `w_c` is the row of a class: a trained weight, or a fixed codeword in the mode `cosine`. `sign(w_i)` is the sign of the sample's row, see
/// `HiClasses::signs`; it is a target through which no gradient goes. The term with beta is there in the mode `cosine-weights` alone. `alpha`
/// and `s = scale_factor sqrt(K)` follow schedules during training.
///
/// The classes of a sample do not compete with one another. With one label, L is cross-entropy with a harder true class. A sample without labels
/// contributes nothing and is not counted in the mean. With label smoothing r, `L_i` becomes `(1 - r) L_i - r / C sum_c log softmax(z_i)_c`, and
/// the other terms do not change.
///
/// # Shapes
/// `v`: `[n, K]`, `classes`: C rows of K values, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn hi(
    v: &Tensor,
    classes: &HiClasses,
    supervision: Supervision<'_>,
    config: &Hi,
) -> Result<Tensor> {
    let Supervision { labels, progress, .. } = supervision;
    let z = hi_logits(v, classes, config, progress)?;
    let harder = match config.mode {
        HiMode::Global => z.clone(),
        // phi(s c) = s phi(c).
        HiMode::Target | HiMode::Cosine | HiMode::CosineWeights => {
            sensitive(&z, config.alpha_at(progress))?
        }
    };
    // The log-sum-exp of the other classes: a label removes its class from the sum.
    let others = (&z + (labels * -1e9)?)?.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
    let each = softplus(&others.broadcast_sub(&harder)?)?;
    let each = ((each * labels)?.sum(D::Minus1)? / labels.sum(D::Minus1)?.maximum(1f64)?)?;
    let mut each = supervision.smooth(each, || uniform_cross_entropy(&z))?;
    if config.lambda_q > 0.0 {
        each = (each + (quantization(&v.tanh()?)? * config.lambda_q)?)?;
    }
    if config.mu > 0.0 {
        let wrong = (v * classes.signs(labels)?)?.affine(-2.0, 0.0)?;
        each = (each + (softplus(&wrong)?.mean(D::Minus1)? * config.mu)?)?;
    }
    let value = supervision.mean(&each)?;
    if config.mode == HiMode::CosineWeights && config.beta > 0.0 {
        return value + (classes.coherence()? * config.beta)?;
    }
    Ok(value)
}

/// The class logits z of [`hi`], before the sensitivity acts on the true class.
///
/// # Shapes
/// `v`: `[n, K]`, `classes`: C rows of K values; returns `[n, C]`.
fn hi_logits(v: &Tensor, classes: &HiClasses, config: &Hi, progress: f64) -> Result<Tensor> {
    let rows = classes.rows();
    match config.mode {
        HiMode::Target => v.tanh()?.matmul(&rows.t()?),
        HiMode::Global => v.tanh()?.matmul(&rows.t()?)? * config.alpha_at(progress),
        HiMode::Cosine | HiMode::CosineWeights => {
            cosine(v, rows)? * config.scale_at(progress, rows.dim(1)?)
        }
    }
}

/// The function phi. It is continuous and increasing, and for alpha up to 1 it never exceeds its argument.
fn sensitive(z: &Tensor, alpha: f64) -> Result<Tensor> {
    (z.relu()? * alpha)? - (z.neg()?.relu()? / alpha)?
}
