//! A loss together with its trained class weights or fixed codewords, if it has any.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::hash_loss::{ClassSource, HashLoss};
use super::{Loss, Supervision, with_constants};
use crate::error::Result;

/// The settings of an objective.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveConfig<'a> {
    /// The loss with its constants.
    pub loss: &'a Loss,
    /// The number of classes C.
    pub classes: usize,
    /// The code length K.
    pub bits: usize,
}

/// A loss with its class weights or codewords.
#[derive(Debug, Clone)]
pub struct Objective(Arc<dyn Ready>);

/// [`WithClasses`] of any loss.
trait Ready: Debug + Send + Sync {
    fn is_pairwise(&self) -> bool;

    fn value(&self, v: &Tensor, supervision: Supervision<'_>) -> candle_core::Result<Tensor>;

    fn class_scores(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>>;
}

/// A loss of one type with its class weights or codewords.
#[derive(Debug)]
struct WithClasses<L: HashLoss> {
    loss: L,
    classes: L::Classes,
}

impl<L: HashLoss> Ready for WithClasses<L> {
    fn is_pairwise(&self) -> bool {
        L::IS_PAIRWISE
    }

    fn value(&self, v: &Tensor, supervision: Supervision<'_>) -> candle_core::Result<Tensor> {
        self.loss.value(v, &self.classes, supervision)
    }

    fn class_scores(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.loss.class_scores(v, &self.classes)
    }
}

impl Objective {
    /// Takes the class weights or codewords from a variable store. What the loss trains is named `class_weights` `[classes, bits]` under `vb`,
    /// for SSDH also `class_bias` `[classes]`, and for the HI loss with trained directions [`CLASS_DIRECTIONS`](super::CLASS_DIRECTIONS) in
    /// place of `class_weights`. Fixed codewords are `codewords.codes` `[classes, bits]` and `codewords.tie` `[bits]`; they are drawn where the
    /// store has none.
    ///
    /// # Errors
    /// When the scheme has no such codewords, and those of the variable store.
    pub fn new(config: ObjectiveConfig<'_>, vb: &VarBuilder<'_>) -> Result<Self> {
        let ObjectiveConfig { loss, classes, bits } = config;
        let source = ClassSource { classes, bits, vb };
        with_constants!(loss, loss => Self::with_classes(loss, &source))
    }

    fn with_classes<L: HashLoss>(loss: L, source: &ClassSource<'_>) -> Result<Self> {
        Ok(Self(Arc::new(WithClasses { classes: loss.classes(source)?, loss })))
    }

    /// Computes the loss of a batch.
    ///
    /// # Shapes
    /// `v`: `[n, bits]`; `labels`: `[n, classes]` of 0 and 1; `progress`: the share of training that is done, 0 to 1, on which schedules of
    /// constants depend; returns a scalar.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn value(&self, v: &Tensor, labels: &Tensor, progress: f64) -> candle_core::Result<Tensor> {
        self.0.value(v, Supervision { labels, smoothing: 0.0, progress })
    }

    /// As [`Self::value`] with smoothed labels (Szegedy et al., 2016): a sample counts with weight 1 - `smoothing` as one of its own classes,
    /// and with the rest equally as one of each class, which keeps logits from growing. Each loss describes what this means for it. Terms that
    /// do not depend on labels, such as that of quantisation, keep their weight.
    ///
    /// # Shapes
    /// As for [`Self::value`].
    ///
    /// # Errors
    /// When shapes differ, or the loss is pairwise: see [`Loss::is_pairwise`].
    pub fn smoothed(
        &self,
        v: &Tensor,
        labels: &Tensor,
        progress: f64,
        smoothing: f64,
    ) -> candle_core::Result<Tensor> {
        if self.0.is_pairwise() {
            candle_core::bail!("labels of a loss that compares pairs cannot be smoothed");
        }
        self.0.value(v, Supervision { labels, smoothing, progress })
    }

    /// Computes a score of each class for each sample, by the classifier of the loss, highest for the most likely class. The classes are in the
    /// order of their posterior probabilities. `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `v`: `[n, K]`; returns `[n, C]`.
    ///
    /// # Errors
    /// When the number of bits differs.
    pub fn class_scores(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.0.class_scores(v)
    }

    /// The class whose weight or codeword each output is nearest to, in the relaxation of the loss; `None` for pairwise losses, which know no
    /// classes.
    ///
    /// # Shapes
    /// `v`: `[n, bits]`; returns `[n]`, u32.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn classify(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.class_scores(v)?.map(|scores| scores.argmax(1)).transpose()
    }
}
