//! The trait of losses. Each loss has a file with its constants, its formula and its implementation of the trait.

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
    /// One line about the loss.
    const DESCRIPTION: &'static str;
    /// Whether it compares the samples of a batch with each other.
    const IS_PAIRWISE: bool = false;

    /// What outputs are compared with: class weights, codewords, or nothing.
    type Classes: Clone + Debug + Send + Sync + 'static;

    /// The defaults for codes of `bits`.
    fn for_bits(bits: usize) -> Self;

    /// The constants with their ranges.
    fn ranges(&self) -> Vec<Range>;

    /// How the hash layer ends where the user does not say.
    fn hash_norm(&self) -> HashNorm {
        HashNorm::None
    }

    /// The class weights or codewords from the variable store, which creates them where it has none.
    ///
    /// # Errors
    /// When the scheme has no such codewords, and those of the variable store.
    fn classes(&self, source: &ClassSource<'_>) -> error::Result<Self::Classes>;

    /// Computes the loss of a batch, a scalar.
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

    /// Computes a score of each class for each sample, highest for the most likely class. `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `v`: `[n, K]`; returns `[n, C]`.
    ///
    /// # Errors
    /// When the number of bits differs.
    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>>;
}

/// The source of class weights and codewords.
pub(super) struct ClassSource<'a> {
    /// The number of classes C.
    pub(super) classes: usize,
    /// The code length K.
    pub(super) bits: usize,
    pub(super) vb: &'a VarBuilder<'a>,
}

impl ClassSource<'_> {
    /// Trained class weights, `class_weights` `[C, K]`.
    pub(super) fn weights(&self) -> Result<Tensor> {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 / (self.bits as f64).sqrt() };
        self.vb.get_with_hints((self.classes, self.bits), "class_weights", init)
    }

    /// The configuration of codewords of this scheme.
    pub(super) fn codewords(&self, scheme: Scheme, seed: u64) -> CodewordConfig {
        CodewordConfig { scheme, classes: self.classes, bits: self.bits, seed }
    }

    /// Fixed codewords: those of the store, or new ones where it has none.
    pub(super) fn centres(&self, scheme: Scheme, seed: u64) -> error::Result<Centres> {
        Centres::stored(self.codewords(scheme, seed), self.vb)
    }
}
