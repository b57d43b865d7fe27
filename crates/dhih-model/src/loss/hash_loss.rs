//! What a loss is to the rest of the crate. Each has a file, with its constants, its formula, and what is here of it.

use std::fmt::Debug;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::Centres;
use super::range::Range;
use super::supervision::Supervision;
use crate::codewords::{CodewordConfig, Scheme};
use crate::error;
use crate::hash_layer::HashNorm;

/// A loss with its constants.
pub(super) trait HashLoss: Copy + Debug + Send + Sync + 'static {
    /// The name used in flags and files.
    const NAME: &'static str;
    /// One line on it.
    const DESCRIPTION: &'static str;
    /// Whether it compares the samples of a batch with each other.
    const IS_PAIRWISE: bool = false;

    /// What outputs are compared with: class weights, codewords, or nothing.
    type Classes: Clone + Debug + Send + Sync + 'static;

    /// The defaults for codes of `bits`.
    fn for_bits(bits: usize) -> Self;

    /// The ranges of its constants.
    fn ranges(&self) -> Vec<Range>;

    /// What the hash layer is to end in, where the user does not say.
    fn hash_norm(&self) -> HashNorm {
        HashNorm::None
    }

    /// Takes what outputs are compared with from the variable store, or puts it there.
    ///
    /// # Errors
    /// When there are no such codewords; those of the variable store.
    fn classes(&self, source: &ClassSource<'_>) -> error::Result<Self::Classes>;

    /// The loss of a batch, a scalar.
    ///
    /// # Shapes
    /// `v`: `[n, K]`, `supervision`: labels `[n, C]`.
    ///
    /// # Errors
    /// When shapes differ.
    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor>;

    /// A score of each class for each sample, highest for the likeliest; `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `v`: `[n, K]`; returns `[n, C]`.
    ///
    /// # Errors
    /// When the number of bits differs.
    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>>;
}

/// Where class weights and codewords come from.
pub(super) struct ClassSource<'a> {
    /// Number of classes C.
    pub(super) classes: usize,
    /// Code length K.
    pub(super) bits: usize,
    pub(super) vb: &'a VarBuilder<'a>,
}

impl ClassSource<'_> {
    /// Trained class weights, `class_weights` `[C, K]`.
    pub(super) fn weights(&self) -> Result<Tensor> {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 / (self.bits as f64).sqrt() };
        self.vb.get_with_hints((self.classes, self.bits), "class_weights", init)
    }

    /// How codewords of this scheme are drawn.
    pub(super) fn codewords(&self, scheme: Scheme, seed: u64) -> CodewordConfig {
        CodewordConfig { scheme, classes: self.classes, bits: self.bits, seed }
    }

    /// Fixed codewords: those that the store has, else new ones.
    pub(super) fn centres(&self, scheme: Scheme, seed: u64) -> error::Result<Centres> {
        Centres::stored(self.codewords(scheme, seed), self.vb)
    }
}
