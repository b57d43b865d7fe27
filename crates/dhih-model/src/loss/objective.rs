//! A loss together with what it compares codes with: trained class weights, or fixed codewords, or nothing.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::hash_loss::{ClassSource, HashLoss};
use super::{Loss, Supervision, with_constants};
use crate::error::Result;

/// What an objective depends on.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveConfig<'a> {
    /// The loss with its constants.
    pub loss: &'a Loss,
    /// Number of classes C.
    pub classes: usize,
    /// Code length K.
    pub bits: usize,
}

/// A loss, ready to use.
#[derive(Debug, Clone)]
pub struct Objective(Arc<dyn Ready>);

/// Any loss with its classes.
trait Ready: Debug + Send + Sync {
    fn is_pairwise(&self) -> bool;

    fn value(&self, v: &Tensor, supervision: Supervision<'_>) -> candle_core::Result<Tensor>;

    fn class_scores(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>>;
}

/// A loss with its classes.
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
    /// Names under `vb` what the loss trains: `class_weights` `[classes, bits]`, for SSDH also `class_bias` `[classes]`, and for the HI loss
    /// with trained directions [`CLASS_DIRECTIONS`](super::CLASS_DIRECTIONS) in place of the weights. Where the loss needs fixed codewords
    /// they are `codewords.codes` `[classes, bits]` and `codewords.tie` `[bits]`: those that the store has, else new ones.
    ///
    /// # Errors
    /// When there are no such codewords; those of the variable store.
    pub fn new(config: ObjectiveConfig<'_>, vb: &VarBuilder<'_>) -> Result<Self> {
        let ObjectiveConfig { loss, classes, bits } = config;
        let source = ClassSource { classes, bits, vb };
        with_constants!(loss, loss => Self::with_classes(loss, &source))
    }

    fn with_classes<L: HashLoss>(loss: L, source: &ClassSource<'_>) -> Result<Self> {
        Ok(Self(Arc::new(WithClasses { classes: loss.classes(source)?, loss })))
    }

    /// The loss of a batch.
    ///
    /// # Shapes
    /// `v`: `[n, bits]`, `labels`: `[n, classes]` of 0 and 1, `progress`: the part of training that is done, 0 to 1, which
    /// schedules of constants go by; returns a scalar.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn value(&self, v: &Tensor, labels: &Tensor, progress: f64) -> candle_core::Result<Tensor> {
        self.0.value(v, Supervision { labels, smoothing: 0.0, progress })
    }

    /// [`Self::value`] with smoothed labels (Szegedy et al., 2016): a sample counts in part 1 - `smoothing` as one of its own classes and for
    /// the rest as one of each class equally, which keeps logits from growing. What that is for a loss is described there. Terms that do not depend
    /// on labels, such as that of quantisation, keep their weight.
    ///
    /// # Shapes
    /// As for [`Self::value`].
    ///
    /// # Errors
    /// When shapes differ, or the loss knows no classes: see [`Loss::is_pairwise`].
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

    /// What the loss's classifier makes of each sample: a score for each class, highest for the likeliest. The order of the classes is that of
    /// their posterior probabilities. `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `v`: `[n, K]`; result `[n, C]`.
    ///
    /// # Errors
    /// When the number of bits differs.
    pub fn class_scores(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.0.class_scores(v)
    }

    /// The class whose weight or codeword each output is nearest to, in the relaxation that the loss was trained with; `None`
    /// for pairwise losses, which know no classes.
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
