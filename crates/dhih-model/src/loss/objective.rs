//! A loss together with what it compares codes with: trained class weights, or fixed codewords, or nothing.

use candle_core::Tensor;
use candle_nn::ops::sigmoid;
use candle_nn::{Init, VarBuilder};

use super::hi::hi_logits;
use super::parts::sign;
use super::{
    Centres, Classifier, Csq, Dpn, Dpsh, Dsh, GreedyHash, HashNet, Hi, HiClasses, HiMode, Loss,
    Ortho, Softmax, Ssdh, Supervision, csq, dpn, dpsh, dsh, greedyhash, hashnet, hi, ortho_arc,
    ortho_cos, softmax, ssdh,
};
use crate::codewords::CodewordConfig;
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
pub struct Objective(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Hi(Hi, HiClasses),
    Softmax(Softmax, Tensor),
    Ssdh(Ssdh, Classifier),
    GreedyHash(GreedyHash, Tensor),
    Csq(Csq, Centres),
    Dpn(Dpn, Centres),
    OrthoCos(Ortho, Centres),
    OrthoArc(Ortho, Centres),
    Dsh(Dsh),
    Dpsh(Dpsh),
    HashNet(HashNet),
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
        let weights = || {
            let init = Init::Randn { mean: 0.0, stdev: 1.0 / (bits as f64).sqrt() };
            vb.get_with_hints((classes, bits), "class_weights", init)
        };
        let codewords = |scheme, seed| CodewordConfig { scheme, classes, bits, seed };
        let centres = |scheme, seed| Centres::stored(codewords(scheme, seed), vb);
        let ortho = |ortho: Ortho| centres(ortho.codewords, ortho.codeword_seed);
        Ok(Self(match *loss {
            Loss::Hi(c) => {
                let rows = match c.mode {
                    HiMode::Target | HiMode::Global => HiClasses::Weights(weights()?),
                    HiMode::Cosine => HiClasses::Codewords(centres(c.codewords, c.codeword_seed)?),
                    HiMode::CosineWeights => {
                        HiClasses::directions(codewords(c.codewords, c.codeword_seed), vb)?
                    }
                };
                Kind::Hi(c, rows)
            }
            Loss::Softmax(c) => Kind::Softmax(c, weights()?),
            Loss::Ssdh(c) => {
                let bias = vb.get_with_hints(classes, "class_bias", Init::Const(0.0))?;
                Kind::Ssdh(c, Classifier { weight: weights()?, bias })
            }
            Loss::GreedyHash(c) => Kind::GreedyHash(c, weights()?),
            Loss::Csq(c) => Kind::Csq(c, centres(c.codewords, c.codeword_seed)?),
            Loss::Dpn(c) => Kind::Dpn(c, centres(c.codewords, c.codeword_seed)?),
            Loss::OrthoCos(c) => Kind::OrthoCos(c, ortho(c)?),
            Loss::OrthoArc(c) => Kind::OrthoArc(c, ortho(c)?),
            Loss::Dsh(c) => Kind::Dsh(c),
            Loss::Dpsh(c) => Kind::Dpsh(c),
            Loss::HashNet(c) => Kind::HashNet(c),
        }))
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
        self.under(v, Supervision { labels, smoothing: 0.0, progress })
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
        if matches!(self.0, Kind::Dsh(_) | Kind::Dpsh(_) | Kind::HashNet(_)) {
            candle_core::bail!("labels of a loss that compares pairs cannot be smoothed");
        }
        self.under(v, Supervision { labels, smoothing, progress })
    }

    fn under(&self, v: &Tensor, supervision: Supervision<'_>) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kind::Hi(c, classes) => hi(v, classes, supervision, c),
            Kind::Softmax(c, weight) => softmax(v, weight, supervision, c),
            Kind::Ssdh(c, classifier) => ssdh(v, classifier, supervision, c),
            Kind::GreedyHash(c, weight) => greedyhash(v, weight, supervision, c),
            Kind::Csq(c, centres) => csq(v, centres, supervision, c),
            Kind::Dpn(c, centres) => dpn(v, centres, supervision, c),
            Kind::OrthoCos(c, centres) => ortho_cos(v, centres, supervision, c),
            Kind::OrthoArc(c, centres) => ortho_arc(v, centres, supervision, c),
            Kind::Dsh(c) => dsh(v, supervision, c),
            Kind::Dpsh(c) => dpsh(v, supervision, c),
            Kind::HashNet(c) => hashnet(v, supervision, c),
        }
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
        Ok(Some(match &self.0 {
            // The order of its logits is the same throughout training.
            Kind::Hi(c, classes) => hi_logits(v, classes, c, 1.0)?,
            Kind::Softmax(_, weight) => v.tanh()?.matmul(&weight.t()?)?,
            Kind::Ssdh(_, classifier) => classifier.logits(&sigmoid(v)?)?,
            Kind::GreedyHash(_, weight) => sign(v)?.matmul(&weight.t()?)?,
            Kind::Csq(_, centres) => v.tanh()?.matmul(&centres.codes.t()?)?,
            Kind::Dpn(_, centres) | Kind::OrthoCos(_, centres) | Kind::OrthoArc(_, centres) => {
                v.matmul(&centres.codes.t()?)?
            }
            Kind::Dsh(_) | Kind::Dpsh(_) | Kind::HashNet(_) => return Ok(None),
        }))
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
