//! Losses of the hash layer's output: pure functions of tensors, one in each file. [`Loss`] lists those that take labels. An [`Objective`] is
//! such a loss with its class weights or codewords. [`crovca()`] takes two views of each sample in place of labels.
//!
//! Symbols, as in the literature: `v` `[n, K]` is the output of the hash layer, `h = tanh(v)` the relaxed code, `b = sign(v)` with
//! `sign(0) = +1` the code, `W` `[C, K]` the class weights without bias, `z = h W^T` `[n, C]` the class logits, `Y` `[n, C]` the labels as 0 and
//! 1, and t `[C, K]` are the codewords. Unary losses treat each sample on its own, pairwise losses treat all pairs of a batch. Both ignore
//! samples without labels.

mod centres;
mod coding_rate;
mod crovca;
mod csq;
mod dpn;
mod dpsh;
mod dsh;
mod fitted;
mod greedyhash;
mod hash_loss;
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
pub use crovca::{CroVca, crovca};
pub use csq::{Csq, csq};
pub use dpn::{Dpn, dpn};
pub use dpsh::{Dpsh, dpsh};
pub use dsh::{Dsh, dsh};
pub use fitted::Fitted;
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

use hash_loss::HashLoss;
use ortho::Margin;
use range::Range;

/// The loss that trains a network, with its constants.
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
    Fitted(Fitted),
}

/// Evaluates `$value`, in which `$constants` is bound to the constants of `$loss` as a [`HashLoss`].
macro_rules! with_constants {
    ($loss:expr, $constants:ident => $value:expr) => {
        match *$loss {
            $crate::loss::Loss::Hi($constants) => $value,
            $crate::loss::Loss::Softmax($constants) => $value,
            $crate::loss::Loss::Ssdh($constants) => $value,
            $crate::loss::Loss::GreedyHash($constants) => $value,
            $crate::loss::Loss::Csq($constants) => $value,
            $crate::loss::Loss::Dpn($constants) => $value,
            $crate::loss::Loss::OrthoCos(ortho) => {
                let $constants = $crate::loss::ortho::Margin::<false>(ortho);
                $value
            }
            $crate::loss::Loss::OrthoArc(ortho) => {
                let $constants = $crate::loss::ortho::Margin::<true>(ortho);
                $value
            }
            $crate::loss::Loss::Dsh($constants) => $value,
            $crate::loss::Loss::Dpsh($constants) => $value,
            $crate::loss::Loss::HashNet($constants) => $value,
            $crate::loss::Loss::Fitted($constants) => $value,
        }
    };
}
use with_constants;

/// A loss in the table.
struct Entry {
    name: &'static str,
    description: &'static str,
    for_bits: fn(usize) -> Loss,
}

const fn entry<L: HashLoss>(for_bits: fn(usize) -> Loss) -> Entry {
    Entry { name: L::NAME, description: L::DESCRIPTION, for_bits }
}

const TABLE: [Entry; 11] = [
    entry::<Hi>(|bits| Loss::Hi(Hi::for_bits(bits))),
    entry::<Softmax>(|bits| Loss::Softmax(Softmax::for_bits(bits))),
    entry::<Ssdh>(|bits| Loss::Ssdh(Ssdh::for_bits(bits))),
    entry::<GreedyHash>(|bits| Loss::GreedyHash(GreedyHash::for_bits(bits))),
    entry::<Csq>(|bits| Loss::Csq(Csq::for_bits(bits))),
    entry::<Dpn>(|bits| Loss::Dpn(Dpn::for_bits(bits))),
    entry::<Margin<false>>(|bits| Loss::OrthoCos(Ortho::new(bits))),
    entry::<Margin<true>>(|bits| Loss::OrthoArc(Ortho::new(bits))),
    entry::<Dsh>(|bits| Loss::Dsh(Dsh::for_bits(bits))),
    entry::<Dpsh>(|bits| Loss::Dpsh(Dpsh::for_bits(bits))),
    entry::<HashNet>(|bits| Loss::HashNet(HashNet::for_bits(bits))),
];

impl Default for Loss {
    /// The HI loss with the constants of new runs.
    fn default() -> Self {
        Self::Hi(Hi::default())
    }
}

impl Loss {
    /// The loss of networks whose configuration names none: the HI loss, which at that time was the only one.
    pub(crate) fn of_older_files() -> Self {
        Self::Hi(Hi::of_older_files())
    }

    /// The losses that train, each with its name and one line about it.
    pub const ALL: [(&str, &str); TABLE.len()] = {
        let mut all = [("", ""); TABLE.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = (TABLE[i].name, TABLE[i].description);
            i += 1;
        }
        all
    };

    /// The loss of this name with its defaults for codes of `bits`; `None` where there is none.
    pub fn named(name: &str, bits: usize) -> Option<Self> {
        TABLE.iter().find(|entry| entry.name == name).map(|entry| (entry.for_bits)(bits))
    }

    /// The name used in flags and files.
    pub fn name(&self) -> &'static str {
        fn of<L: HashLoss>(_: L) -> &'static str {
            L::NAME
        }
        with_constants!(self, loss => of(loss))
    }

    /// Whether it compares the samples of a batch with each other. Such a loss knows no classes, and its labels can neither be smoothed nor
    /// mixed.
    pub fn is_pairwise(&self) -> bool {
        fn of<L: HashLoss>(_: L) -> bool {
            L::IS_PAIRWISE
        }
        with_constants!(self, loss => of(loss))
    }

    /// How the hash layer ends where the user does not say. It ends in batch norm for OrthoHash, as published, for HI where its constants say
    /// so, and for pairwise losses. The outputs of a new network have a common mean, and without batch norm the inner products and distances of
    /// pairwise losses grow with it until all images have the same code.
    pub fn hash_norm(&self) -> HashNorm {
        with_constants!(self, loss => loss.hash_norm())
    }

    /// Checks the range of every constant.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the first constant that is out of range.
    pub fn check(&self) -> Result<()> {
        with_constants!(self, loss => loss.ranges()).into_iter().try_for_each(Range::check)
    }
}
