//! A loss together with what it compares codes with: trained class weights, or fixed codewords, or nothing.

use candle_core::Tensor;
use candle_nn::ops::sigmoid;
use candle_nn::{Init, VarBuilder};

use super::parts::{cosine, cross_entropy, mean_labelled, sign_straight_through};
use super::{
    Centres, Csq, Dpn, Dpsh, Dsh, GreedyHash, HashNet, Hi, Loss, Ortho, Softmax, Ssdh, csq, dpn,
    dpsh, dsh, greedyhash, hashnet, hi, ortho_arc, ortho_cos, softmax, ssdh,
};
use crate::codewords::{CodewordConfig, Codewords};
use crate::error::{Error, Result};

/// A loss, ready to use.
#[derive(Debug, Clone)]
pub struct Objective(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Hi(Hi, Tensor),
    Softmax(Softmax, Tensor),
    Ssdh(Ssdh, Tensor, Tensor),
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
    /// Makes codewords where `loss` needs them, or names under `vb` what it trains: `class_weights` `[classes, bits]`, and for
    /// SSDH `class_bias` `[classes]`.
    ///
    /// # Errors
    /// When there are no such codewords; those of the variable store.
    pub fn new(loss: &Loss, (classes, bits): (usize, usize), vb: &VarBuilder<'_>) -> Result<Self> {
        let weights = || {
            let init = Init::Randn { mean: 0.0, stdev: 1.0 / (bits as f64).sqrt() };
            vb.get_with_hints((classes, bits), "class_weights", init)
        };
        let centres = |scheme, seed| {
            let codewords = Codewords::new(CodewordConfig { scheme, classes, bits, seed })?;
            Ok::<_, Error>(Centres::new(&codewords, vb.dtype(), vb.device())?)
        };
        let ortho = |ortho: Ortho| centres(ortho.codewords, ortho.codeword_seed);
        Ok(Self(match *loss {
            Loss::Hi(c) => Kind::Hi(c, weights()?),
            Loss::Softmax(c) => Kind::Softmax(c, weights()?),
            Loss::Ssdh(c) => {
                let bias = vb.get_with_hints(classes, "class_bias", Init::Const(0.0))?;
                Kind::Ssdh(c, weights()?, bias)
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
    /// continuation methods go by; returns a scalar.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn value(&self, v: &Tensor, labels: &Tensor, progress: f64) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kind::Hi(c, weight) => hi(v, weight, labels, c),
            Kind::Softmax(c, weight) => softmax(v, weight, labels, c),
            Kind::Ssdh(c, weight, bias) => ssdh(v, (weight, bias), labels, c),
            Kind::GreedyHash(c, weight) => greedyhash(v, weight, labels, c),
            Kind::Csq(c, centres) => csq(v, centres, labels, c),
            Kind::Dpn(c, centres) => dpn(v, centres, labels, c),
            Kind::OrthoCos(c, centres) => ortho_cos(v, centres, labels, c),
            Kind::OrthoArc(c, centres) => ortho_arc(v, centres, labels, c),
            Kind::Dsh(c) => dsh(v, labels, c),
            Kind::Dpsh(c) => dpsh(v, labels, c),
            Kind::HashNet(c) => hashnet(v, labels, c, progress),
        }
    }

    /// [`Self::value`] L with smoothed labels (Szegedy et al., 2016): `(1 - s) L + s mean_i -1/C sum_c log softmax(z_i)_c`, where s is
    /// `smoothing`, the mean is over the labelled samples, and z are the class logits: products with class weights, or the scaled
    /// cosines to codewords without their margin. It keeps the logits from growing. The other terms of L, such as that of
    /// quantisation, are multiplied by 1 - s, too.
    ///
    /// # Shapes
    /// As for [`Self::value`].
    ///
    /// # Errors
    /// When shapes differ, or the loss has no class logits: see [`Loss::smooths_labels`].
    pub fn smoothed(
        &self,
        v: &Tensor,
        labels: &Tensor,
        progress: f64,
        smoothing: f64,
    ) -> candle_core::Result<Tensor> {
        let value = self.value(v, labels, progress)?;
        let Some(logits) = self.class_logits(v)? else {
            candle_core::bail!("labels of a loss without class logits cannot be smoothed");
        };
        let each = cross_entropy(&logits, &labels.ones_like()?)?;
        (value * (1.0 - smoothing))? + (mean_labelled(&each, labels)? * smoothing)?
    }

    /// The class logits of which the loss is a cross-entropy, `[n, C]`: products of relaxed codes and trained class weights, or scaled
    /// cosines to codewords, without a margin. `None` for the other losses.
    fn class_logits(&self, v: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(match &self.0 {
            Kind::Hi(_, weight) | Kind::Softmax(_, weight) => v.tanh()?.matmul(&weight.t()?)?,
            Kind::Ssdh(_, weight, bias) => sigmoid(v)?.matmul(&weight.t()?)?.broadcast_add(bias)?,
            Kind::GreedyHash(_, weight) => sign_straight_through(v)?.matmul(&weight.t()?)?,
            Kind::OrthoCos(c, centres) | Kind::OrthoArc(c, centres) => {
                (cosine(v, &centres.codes)? * c.scale)?
            }
            _ => return Ok(None),
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
        let logits = match &self.0 {
            Kind::Csq(_, centres) => v.tanh()?.matmul(&centres.codes.t()?)?,
            Kind::Dpn(_, centres) | Kind::OrthoCos(_, centres) | Kind::OrthoArc(_, centres) => {
                v.matmul(&centres.codes.t()?)?
            }
            _ => match self.class_logits(v)? {
                Some(logits) => logits,
                None => return Ok(None),
            },
        };
        Ok(Some(logits.argmax(1)?))
    }
}
