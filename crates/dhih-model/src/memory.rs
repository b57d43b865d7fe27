//! An estimate of the memory that a training step takes, made before anything is computed. It is an interpreter of layers: it counts what each
//! operator keeps for its backward pass in [`crate::tape`].

use candle_core::Result;

use crate::image::InputShape;
use crate::layer::{Layer, Sequential};
use crate::network::Network;
use crate::ops::{Activation, Conv2d, POOL, filters, threads};

/// Counts of values that are in memory at the same time. All but `sum` are for one image.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Values that are kept until the backward pass.
    values: usize,
    /// The largest number of values in memory during the backward pass, in which layers are freed one after the other: what is still kept, and
    /// gradients.
    peak: usize,
    /// Values of the largest sum of weight gradients of a convolution.
    sum: usize,
    output: InputShape,
}

impl Kept {
    /// The counts of one operator: what it keeps, and the gradients of its output and input.
    fn new(values: usize, input: InputShape, output: InputShape) -> Self {
        Self { values, peak: values + input.len() + output.len(), sum: 0, output }
    }

    /// The values that are in memory at the peak beside those that are kept.
    fn beside(&self) -> usize {
        self.peak - self.values
    }
}

impl Network {
    /// An estimate of the bytes that a training step with a batch of `batch` images needs on the CPU, without the images themselves: values that
    /// are kept, the largest gradients, one sum of weight gradients for each thread, and the weights with their gradients and one moment each.
    /// `None` for a backbone that is not made of layers.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn training_memory(&self, batch: usize) -> crate::Result<Option<usize>> {
        let Some((layers, input)) = self.trained_layers()? else { return Ok(None) };
        let kept = layers.kept(input)?;
        let trained = self.parameters().trainable().into_iter();
        let trained = trained.filter(|(name, _)| !self.is_frozen(name));
        let weights: usize = trained.map(|(_, var)| var.elem_count()).sum();
        let values = input.len() + kept.peak;
        // Each thread has one sum, two more hold partial results, and one holds the transformed filters.
        let sums = kept.sum * (threads() + 3);
        Ok(Some(size_of::<f32>() * (batch * values + sums + 3 * weights)))
    }
}

impl Sequential {
    fn kept(&self, input: InputShape) -> Result<Kept> {
        let mut all = Kept { values: 0, peak: 0, sum: 0, output: input };
        let mut layers = &self.0[..];
        while let [layer, rest @ ..] = layers {
            let input = all.output;
            let (kept, rest) = match layers {
                [conv @ Layer::Conv(_), pool @ Layer::MaxPool(POOL), Layer::Norm(_), rest @ ..] => {
                    let convolved = conv.kept(input)?;
                    let output = pool.output(convolved.output)?;
                    // The normalised values, the output, and one byte for the position of each maximum.
                    let values = 2 * output.len() + output.len() / 4;
                    (Kept { sum: convolved.sum, ..Kept::new(values, input, output) }, rest)
                }
                [conv @ Layer::Conv(_), Layer::Norm(_), rest @ ..] => {
                    let Kept { output, sum, .. } = conv.kept(input)?;
                    (Kept { sum, ..Kept::new(2 * output.len(), input, output) }, rest)
                }
                _ => (layer.kept(input)?, rest),
            };
            all = Kept {
                values: all.values + kept.values,
                peak: all.peak.max(all.values + kept.peak),
                sum: all.sum.max(kept.sum),
                output: kept.output,
            };
            layers = rest;
        }
        Ok(all)
    }
}

impl Layer {
    fn kept(&self, input: InputShape) -> Result<Kept> {
        let output = self.output(input)?;
        let of = |values| Kept::new(values, input, output);
        Ok(match self {
            Self::Conv(conv) => Kept {
                sum: sum_of_weights(conv)?,
                ..of(with_activation(output.len(), conv.activation))
            },
            Self::Linear(linear) => of(with_activation(output.len(), linear.activation)),
            Self::MaxPool(_) => of(output.len() + output.len() / 4),
            Self::Flatten if input.height * input.width == 1 || input.channels == 1 => of(0),
            Self::Residual { body, shortcut, activation } => {
                let branches = [body.kept(input)?, shortcut.kept(input)?];
                // Both branches start from the same gradient.
                together(&branches, with_activation(output.len(), *activation), output)
            }
            Self::Concat(branches) => {
                let branches = branches.iter().map(|branch| branch.kept(input));
                together(&branches.collect::<Result<Vec<_>>>()?, output.len(), output)
            }
            Self::Gate(gate) => together(&[gate.kept(input)?], output.len(), output),
            // These operators keep their input, which the operator before has counted.
            Self::Unary(_) => of(output.len()),
            Self::Norm(_)
            | Self::Activation(_)
            | Self::AvgPool(_)
            | Self::AdaptiveAvgPool(_)
            | Self::Dropout(_)
            | Self::Flatten => of(output.len()),
        })
    }
}

/// Branches that are joined, where the join itself keeps as many `values`.
fn together(branches: &[Kept], values: usize, output: InputShape) -> Kept {
    let values = values + branches.iter().map(|branch| branch.values).sum::<usize>();
    let beside = branches.iter().map(Kept::beside).max().unwrap_or(0);
    let sum = branches.iter().map(|branch| branch.sum).max().unwrap_or(0);
    Kept { values, peak: values + beside + output.len(), sum, output }
}

/// Values of the sum of a convolution's weight gradients. The Winograd algorithm, which 3 x 3 filters may use, has four times as many.
fn sum_of_weights(conv: &Conv2d) -> Result<usize> {
    let [_, _, height, width] = filters(conv.weight.dims())?;
    let times = if (height, width) == (3, 3) && conv.config.groups == 1 { 4 } else { 1 };
    Ok(times * conv.weight.elem_count())
}

/// Values that are kept of an operator's output, with the values before the activation where its gradient needs them.
fn with_activation(values: usize, activation: Activation) -> usize {
    if activation.needs_input() { 2 * values } else { values }
}
