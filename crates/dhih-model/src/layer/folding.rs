//! Fewer layers that compute the same function in evaluation.

use candle_core::Result;

use super::{Layer, Linear, Sequential};
use crate::ops::{Activation, BatchNorm, Unary};

impl Sequential {
    /// Fewer layers that compute the same function in evaluation: batch norm and factors are folded into the convolution or linear layer before
    /// them, or batch norm into the linear layer behind it, and dropout is left out.
    ///
    /// # Errors
    /// When a batch norm does not fit the layer before it.
    pub fn folded(&self) -> Result<Self> {
        let mut folded = Vec::new();
        for layer in &self.0 {
            let layer = match layer {
                Layer::Dropout(_) => continue,
                Layer::Norm(norm) => match folded.last_mut() {
                    Some(Layer::Conv(conv)) if conv.activation == Activation::Identity => {
                        *conv = conv.followed_by(norm)?;
                        continue;
                    }
                    Some(Layer::Linear(linear)) if linear.activation == Activation::Identity => {
                        *linear = linear.followed_by(norm)?;
                        continue;
                    }
                    _ => layer.clone(),
                },
                Layer::Linear(linear) => match folded.pop_if(is_plain_norm) {
                    Some(Layer::Norm(norm)) => Layer::Linear(linear.preceded_by(&norm)?),
                    _ => layer.clone(),
                },
                Layer::Residual { body, shortcut, activation } => Layer::Residual {
                    body: body.folded()?,
                    shortcut: shortcut.folded()?,
                    activation: *activation,
                },
                Layer::Concat(branches) => {
                    Layer::Concat(branches.iter().map(Self::folded).collect::<Result<_>>()?)
                }
                Layer::Gate(gate) => Layer::Gate(gate.folded()?),
                Layer::Unary(Unary::Scale(scale)) => match folded.last_mut() {
                    Some(Layer::Conv(conv)) if conv.activation == Activation::Identity => {
                        *conv = conv.scaled(&scale.weight.flatten_all()?)?;
                        continue;
                    }
                    _ => layer.clone(),
                },
                _ => layer.clone(),
            };
            folded.push(layer);
        }
        Ok(Self(folded))
    }
}

impl Linear {
    /// A linear layer that computes what this one with `norm` behind it does, as [`Conv2d::followed_by`](crate::ops::Conv2d::followed_by).
    fn followed_by(&self, norm: &BatchNorm) -> Result<Self> {
        let (weight, bias) = norm.folded(&self.weight, self.bias.as_ref())?;
        Ok(Self { weight, bias: Some(bias), activation: norm.activation })
    }

    /// A linear layer that computes what this one with `norm` before it does in evaluation; `norm` has no activation.
    fn preceded_by(&self, norm: &BatchNorm) -> Result<Self> {
        let (scale, shift) = norm.scale_and_shift()?;
        let moved = self.weight.matmul(&shift.unsqueeze(1)?)?.squeeze(1)?;
        let bias = match &self.bias {
            Some(bias) => (bias + moved)?,
            None => moved,
        };
        let weight = self.weight.broadcast_mul(&scale)?;
        Ok(Self { weight, bias: Some(bias), activation: self.activation })
    }
}

fn is_plain_norm(layer: &mut Layer) -> bool {
    matches!(layer, Layer::Norm(norm) if norm.activation == Activation::Identity)
}
