//! The memory of a step of training, as an interpreter of layers: what each operator keeps for its way back, as in [`crate::tape`], before
//! anything is computed.

use candle_core::Result;

use crate::config::InputShape;
use crate::layer::{Layer, Sequential};
use crate::network::Network;
use crate::ops::{Activation, POOL};

/// Values of one image that are alive at a time.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// What is kept until the way back.
    values: usize,
    /// The largest input or output of an operator: on the way back its gradient is alive, and one as large may be.
    largest: usize,
    output: InputShape,
}

impl Network {
    /// About the number of bytes that a step of training with a batch of so many images needs on the CPU, without the images themselves:
    /// values that are kept, the largest gradients, and weights with their gradients and one moment each. `None` for a backbone that is not
    /// made of layers.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn training_memory(&self, batch: usize) -> crate::Result<Option<usize>> {
        let Some(layers) = self.layers() else { return Ok(None) };
        let input = self.config().input;
        let kept = layers.kept(input)?;
        let weights: usize =
            self.parameters().trainable().iter().map(|(_, var)| var.elem_count()).sum();
        let values = input.len() + kept.values + 2 * kept.largest;
        Ok(Some(size_of::<f32>() * (batch * values + 3 * weights)))
    }
}

impl Sequential {
    fn kept(&self, input: InputShape) -> Result<Kept> {
        let mut sum = Kept { values: 0, largest: input.len(), output: input };
        let mut layers = &self.0[..];
        while let [layer, rest @ ..] = layers {
            let (kept, rest) = match layers {
                [conv @ Layer::Conv(_), pool @ Layer::MaxPool(POOL), Layer::Norm(_), rest @ ..] => {
                    let output = pool.output(conv.output(sum.output)?)?;
                    // What is normalised, the output, and a byte for the place of each maximum.
                    let values = 2 * output.len() + output.len() / 4;
                    (Kept { values, largest: output.len(), output }, rest)
                }
                [conv @ Layer::Conv(_), Layer::Norm(_), rest @ ..] => {
                    let output = conv.output(sum.output)?;
                    (Kept { values: 2 * output.len(), largest: output.len(), output }, rest)
                }
                _ => (layer.kept(sum.output)?, rest),
            };
            sum = Kept {
                values: sum.values + kept.values,
                largest: sum.largest.max(kept.largest),
                output: kept.output,
            };
            layers = rest;
        }
        Ok(sum)
    }
}

impl Layer {
    fn kept(&self, input: InputShape) -> Result<Kept> {
        let output = self.output(input)?;
        let (values, largest) = match self {
            Self::Conv(conv) => (with_activation(output.len(), conv.activation), output.len()),
            Self::Linear(linear) => {
                (with_activation(output.len(), linear.activation), output.len())
            }
            Self::MaxPool(_) => (output.len() + output.len() / 4, output.len()),
            Self::Flatten if input.height * input.width == 1 || input.channels == 1 => {
                (0, output.len())
            }
            Self::Residual { body, shortcut, activation } => {
                let (body, shortcut) = (body.kept(input)?, shortcut.kept(input)?);
                let values =
                    body.values + shortcut.values + with_activation(output.len(), *activation);
                (values, body.largest.max(shortcut.largest).max(2 * output.len()))
            }
            Self::Concat(branches) => {
                let kept = branches.iter().map(|branch| branch.kept(input));
                let kept = kept.collect::<Result<Vec<_>>>()?;
                let values: usize = kept.iter().map(|kept| kept.values).sum();
                let largest = kept.iter().map(|kept| kept.largest).max().unwrap_or(0);
                (values + output.len(), largest.max(output.len()))
            }
            Self::Norm(_)
            | Self::Activation(_)
            | Self::AvgPool(_)
            | Self::AdaptiveAvgPool(_)
            | Self::Dropout(_)
            | Self::Flatten => (output.len(), output.len()),
        };
        Ok(Kept { values, largest: largest.max(input.len()), output })
    }
}

/// Values kept of an operator's output: also those before the activation, where its gradient needs them.
fn with_activation(values: usize, activation: Activation) -> usize {
    if activation == Activation::Gelu { 2 * values } else { values }
}
