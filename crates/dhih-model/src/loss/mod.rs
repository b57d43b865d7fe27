//! Losses of the hash layer's output: one file each, pure functions of tensors; [`Loss`] is the list, [`Objective`] one of
//! them with what it compares codes with.
//!
//! Symbols, as in the literature: `v` `[n, K]` is the hash layer's output, `h = tanh(v)` the relaxed code, `b = sign(v)` with
//! `sign(0) = +1` the code, `W` `[C, K]` the class weights without bias, `z = h W^T` `[n, C]` the class logits, `Y` `[n, C]`
//! the labels as 0 and 1, t `[C, K]` codewords. Unary losses take each sample by itself, pairwise ones
//! all pairs of a batch; both leave out samples without labels.

mod centres;
mod csq;
mod dpn;
mod dpsh;
mod dsh;
mod greedyhash;
mod hashnet;
mod hi;
mod objective;
mod ortho;
mod pairs;
mod parts;
mod quantization;
mod range;
mod softmax;
mod ssdh;
mod supervision;

pub use centres::Centres;
pub use csq::{Csq, csq};
pub use dpn::{Dpn, dpn};
pub use dpsh::{Dpsh, dpsh};
pub use dsh::{Dsh, dsh};
pub use greedyhash::{GreedyHash, greedyhash};
pub use hashnet::{HashNet, hashnet};
pub use hi::{CLASS_DIRECTIONS, Hi, HiClasses, HiMode, hi};
pub use objective::{Objective, ObjectiveConfig};
pub use ortho::{Ortho, ortho_arc, ortho_cos};
pub use quantization::quantization;
pub use softmax::{Softmax, softmax};
pub use ssdh::{Classifier, Ssdh, ssdh};
pub use supervision::Supervision;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::hash_layer::HashNorm;

use range::Range;

/// Which loss trains a network, with its constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described where its constants are")]
pub enum Loss {
    Hi(Hi),
    Softmax(Softmax),
    Ssdh(Ssdh),
    #[serde(rename = "greedyhash")]
    GreedyHash(GreedyHash),
    Csq(Csq),
    Dpn(Dpn),
    OrthoCos(Ortho),
    OrthoArc(Ortho),
    Dsh(Dsh),
    Dpsh(Dpsh),
    #[serde(rename = "hashnet")]
    HashNet(HashNet),
}

impl Default for Loss {
    /// The HI loss with the constants of new runs.
    fn default() -> Self {
        Self::Hi(Hi::default())
    }
}

impl Loss {
    /// The loss of networks whose configuration does not name one: the HI loss, which all were trained with at the time.
    pub(crate) fn of_older_files() -> Self {
        Self::Hi(Hi::of_older_files())
    }

    /// Names and one line on each.
    pub const ALL: [(&str, &str); 11] = [
        ("hi", "unary; highly interrelated loss (He et al., 2020; a reconstruction)"),
        ("softmax", "unary; cross-entropy of relaxed codes, the baseline"),
        (
            "ssdh",
            "unary; cross-entropy of sigmoid codes, bits polar and balanced (Yang et al., 2018)",
        ),
        (
            "greedyhash",
            "unary; cross-entropy of codes, straight through the sign (Su et al., 2018)",
        ),
        ("csq", "unary; bitwise cross-entropy with codewords (Yuan et al., 2020)"),
        ("dpn", "unary; hinge of each output and its codeword's bit (Fan et al., 2020)"),
        ("ortho-cos", "unary; cosine to codewords, margin on the cosine (Hoe et al., 2021)"),
        ("ortho-arc", "unary; cosine to codewords, margin on the angle (Hoe et al., 2021)"),
        ("dsh", "pairwise; contrastive squared distances (Liu et al., 2016)"),
        ("dpsh", "pairwise; likelihood of similarities (Li et al., 2016)"),
        ("hashnet", "pairwise; weighted likelihood, sharpened by continuation (Cao et al., 2017)"),
    ];

    /// The loss of that name with its defaults for codes of `bits`; `None` where there is none.
    pub fn named(name: &str, bits: usize) -> Option<Self> {
        Some(match name {
            "hi" => Self::Hi(Hi::default()),
            "softmax" => Self::Softmax(Softmax::default()),
            "ssdh" => Self::Ssdh(Ssdh::default()),
            "greedyhash" => Self::GreedyHash(GreedyHash::default()),
            "csq" => Self::Csq(Csq::default()),
            "dpn" => Self::Dpn(Dpn::default()),
            "ortho-cos" => Self::OrthoCos(Ortho::new(bits)),
            "ortho-arc" => Self::OrthoArc(Ortho::new(bits)),
            "dsh" => Self::Dsh(Dsh::new(bits)),
            "dpsh" => Self::Dpsh(Dpsh::default()),
            "hashnet" => Self::HashNet(HashNet::new(bits)),
            _ => return None,
        })
    }

    /// The name used in flags and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hi(_) => "hi",
            Self::Softmax(_) => "softmax",
            Self::Ssdh(_) => "ssdh",
            Self::GreedyHash(_) => "greedyhash",
            Self::Csq(_) => "csq",
            Self::Dpn(_) => "dpn",
            Self::OrthoCos(_) => "ortho-cos",
            Self::OrthoArc(_) => "ortho-arc",
            Self::Dsh(_) => "dsh",
            Self::Dpsh(_) => "dpsh",
            Self::HashNet(_) => "hashnet",
        }
    }

    /// Whether it compares the samples of a batch with each other. Then it knows no classes, and labels can neither be smoothed nor mixed.
    pub fn is_pairwise(&self) -> bool {
        matches!(self, Self::Dsh(_) | Self::Dpsh(_) | Self::HashNet(_))
    }

    /// What the hash layer is to end in, where the user does not say: batch norm for OrthoHash, as published, for HI where its constants say so,
    /// and for pairwise losses, whose inner products and distances otherwise run away from a fresh network's common mean until all images
    /// have one code.
    pub fn hash_norm(&self) -> HashNorm {
        match self {
            Self::OrthoCos(_) | Self::OrthoArc(_) => HashNorm::Batch,
            Self::Dsh(_) | Self::Dpsh(_) | Self::HashNet(_) => HashNorm::Batch,
            Self::Hi(Hi { batch_norm: true, .. }) => HashNorm::Batch,
            Self::Hi(_) | Self::Softmax(_) | Self::Ssdh(_) => HashNorm::None,
            Self::GreedyHash(_) | Self::Csq(_) | Self::Dpn(_) => HashNorm::None,
        }
    }

    /// Checks every constant's range.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the first that is out of range.
    pub fn check(&self) -> Result<()> {
        let (weight, factor) = (Range::weight, Range::factor);
        let ranges = match *self {
            Self::Hi(hi) => hi.ranges(),
            Self::Softmax(Softmax { lambda_q }) => vec![weight("lambda_q", lambda_q)],
            Self::Ssdh(Ssdh { binary, balance }) => {
                vec![weight("binary", binary), weight("balance", balance)]
            }
            Self::GreedyHash(GreedyHash { penalty }) => vec![weight("penalty", penalty)],
            Self::Csq(Csq { lambda, .. }) => vec![weight("lambda", lambda)],
            Self::Dpn(Dpn { margin, .. }) => vec![factor("margin", margin)],
            Self::OrthoCos(Ortho { margin, scale, .. })
            | Self::OrthoArc(Ortho { margin, scale, .. }) => {
                vec![weight("margin", margin), factor("scale", scale)]
            }
            Self::Dsh(Dsh { margin, alpha }) => {
                vec![factor("margin", margin), weight("alpha", alpha)]
            }
            Self::Dpsh(Dpsh { eta }) => vec![weight("eta", eta)],
            Self::HashNet(HashNet { alpha, beta, growth }) => {
                vec![factor("alpha", alpha), factor("beta", beta), weight("growth", growth)]
            }
        };
        ranges.into_iter().try_for_each(Range::check)
    }
}
