//! What the HI loss compares outputs with: one row for each class, trained or fixed.

use candle_core::{Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::codewords::{CodewordConfig, Codewords};
use crate::error;
use crate::loss::Centres;
use crate::loss::parts::{length, sign};

/// The name of class weights that are initialised with codewords and whose lengths do not matter. Optimisers should exclude them from weight
/// decay, which would only shorten them and thereby make their steps larger.
pub const CLASS_DIRECTIONS: &str = "class_directions";

/// A row of K values for each class.
#[derive(Debug, Clone)]
pub enum HiClasses {
    /// Trained class weights, `[C, K]`.
    Weights(Tensor),
    /// Fixed codewords.
    Codewords(Centres),
}

impl HiClasses {
    /// Class weights as a variable of `vb`, initialised with codewords scaled to length 1, which is the average length of random class weights.
    ///
    /// # Errors
    /// When the scheme has no such codewords, and those of the variable store.
    pub(in crate::loss) fn directions(
        config: CodewordConfig,
        vb: &VarBuilder<'_>,
    ) -> error::Result<Self> {
        let is_stored = vb.contains_tensor(CLASS_DIRECTIONS);
        let drawn = (!is_stored).then(|| Codewords::new(config)).transpose()?;
        let (shape, init) = ((config.classes, config.bits), Init::Const(0.0));
        let weights = Var::from_tensor(&vb.get_with_hints(shape, CLASS_DIRECTIONS, init)?)?;
        if let Some(drawn) = drawn {
            let codes = Centres::new(&drawn, vb.dtype(), vb.device())?.codes;
            weights.set(&codes.broadcast_div(&length(&codes)?)?)?;
        }
        Ok(Self::Weights(weights.as_tensor().clone()))
    }

    /// The rows, `[C, K]`.
    pub(in crate::loss) fn rows(&self) -> &Tensor {
        match self {
            Self::Weights(weights) => weights,
            Self::Codewords(centres) => &centres.codes,
        }
    }

    /// The target signs of supervised quantisation: the signs of the row of a sample's class, or with several classes of the sum of their rows.
    /// Where the sum is 0, codewords use their tie-breaking code and weights use +1. Signs have no gradient.
    ///
    /// # Shapes
    /// `labels`: `[n, C]`; returns `[n, K]` of +-1.
    pub(super) fn signs(&self, labels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Weights(weights) => sign(&labels.matmul(&weights.detach())?),
            Self::Codewords(centres) => centres.targets(labels),
        }
    }

    /// How far the rows are from orthogonal: the mean square of the cosines of all ordered pairs of different classes,
    /// `|W^ W^^T - I|_F^2 / (C (C - 1))`, where `W^` are the rows scaled to length 1.
    ///
    /// # Shapes
    /// Returns a scalar.
    pub(super) fn coherence(&self) -> Result<Tensor> {
        let rows = self.rows();
        let (classes, bits) = rows.dims2()?;
        let unit = rows.broadcast_div(&length(rows)?)?;
        // |G - I|^2 = |G|^2 - 2 tr G + C for the C x C matrix G of cosines, and |G|^2 is that of the K x K matrix of the same rows.
        let gram = if classes > bits { unit.t()?.matmul(&unit)? } else { unit.matmul(&unit.t()?)? };
        let trace = unit.sqr()?.sum_all()?;
        let squares = (gram.sqr()?.sum_all()? - (trace * 2.0)?)?;
        (squares + classes as f64)? / (classes * (classes - 1).max(1)) as f64
    }
}
