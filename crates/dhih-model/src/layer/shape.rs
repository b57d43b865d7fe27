//! The shape of the output of layers, from the shape of their input.

use candle_core::{Result, bail};

use super::{Layer, Linear, Sequential};
use crate::image::{Fit, InputShape};
use crate::ops::{Conv2d, Pool2dConfig, filters};

impl Sequential {
    /// The shape of the output for one input image. A vector counts as an image of one pixel.
    ///
    /// # Errors
    /// When the image is too small for a window, or the channels do not fit.
    pub fn output(&self, input: InputShape) -> Result<InputShape> {
        self.0.iter().try_fold(input, |shape, layer| layer.output(shape))
    }
}

impl Layer {
    pub(crate) fn output(&self, input: InputShape) -> Result<InputShape> {
        // How pictures were brought to their shape does not matter between layers.
        let input = input.with_fit(Fit::default());
        let InputShape { height, width, channels, .. } = input;
        let pooled = |config: Pool2dConfig| {
            let (height, width) = (config.positions(height)?, config.positions(width)?);
            Ok(InputShape::new(height, width, channels))
        };
        match self {
            Self::Norm(_) | Self::Activation(_) | Self::Dropout(_) => Ok(input),
            Self::Conv(Conv2d { weight, config, .. }) => {
                let [out, per_group, kernel_height, kernel_width] = filters(weight.dims())?;
                if per_group * config.groups != channels {
                    bail!("a convolution of {:?} on {channels} channels", weight.dims());
                }
                let height = config.positions(height, kernel_height)?;
                let width = config.positions(width, kernel_width)?;
                Ok(InputShape::new(height, width, out))
            }
            Self::MaxPool(config) | Self::AvgPool(config) => pooled(*config),
            Self::AdaptiveAvgPool((height, width)) => {
                Ok(InputShape::new(*height, *width, channels))
            }
            Self::Linear(Linear { weight, .. }) => {
                let (out, features) = weight.dims2()?;
                if features != input.len() {
                    bail!("a linear layer of {features} features on {}", input.len());
                }
                Ok(InputShape::new(1, 1, out))
            }
            Self::Flatten => Ok(InputShape::new(1, 1, input.len())),
            Self::Gate(gate) => {
                let of_gate = gate.output(input)?;
                if of_gate != (InputShape::new(1, 1, channels)) {
                    bail!("a gate of {of_gate:?} for {channels} channels");
                }
                Ok(input)
            }
            Self::Unary(unary) => {
                let [height, width, channels] =
                    unary.operator().output([height, width, channels])?;
                Ok(InputShape::new(height, width, channels))
            }
            Self::Residual { body, shortcut, .. } => {
                let (sum, other) = (body.output(input)?, shortcut.output(input)?);
                if sum != other {
                    bail!("a residual of {sum:?} on a shortcut of {other:?}");
                }
                Ok(sum)
            }
            Self::Concat(branches) => {
                let outputs = branches.iter().map(|branch| branch.output(input));
                let outputs = outputs.collect::<Result<Vec<_>>>()?;
                let channels = outputs.iter().map(|shape| shape.channels).sum();
                match outputs[..] {
                    [first, ..]
                        if outputs
                            .iter()
                            .all(|o| (o.height, o.width) == (first.height, first.width)) =>
                    {
                        Ok(InputShape { channels, ..first })
                    }
                    _ => bail!("branches of different sizes, or none: {outputs:?}"),
                }
            }
        }
    }
}
