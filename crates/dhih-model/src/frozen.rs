//! Training of the last layers alone. The layers before them run in evaluation mode and outside of candle's graph. They keep nothing for the
//! backward pass, which ends behind them, and their weights and running statistics do not change.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor, TensorId};

use crate::error::{Error, Result};
use crate::image::InputShape;
use crate::inference::Inference;
use crate::init::BACKBONE;
use crate::layer::{Layer, Mode, Sequential};
use crate::network::{Frozen, FrozenLayers, Network};

/// How the frozen layers are computed.
enum Engine {
    /// On the CPU, by the operators of this crate.
    Compiled {
        inference: Inference,
        /// The shape of one output.
        output: Vec<usize>,
    },
    /// By candle's operators, with weights that have no gradient.
    Layers(Sequential),
}

impl Network {
    /// Limits training to the last `blocks` blocks of the backbone, the layers behind these, and the hash layer. The file of each family under
    /// [`crate::backbone`] says what a block is: a residual, a transformer's attention with the two layers behind it, or a convolution. The
    /// frozen layers keep the weights that they have now, so load other weights before.
    ///
    /// # Errors
    /// [`Error::Config`] where `blocks` is 0 or more than the backbone has, and where the backbone is not made of layers.
    pub fn train_last(&mut self, blocks: usize) -> Result<()> {
        let wrong = |expected: String| {
            Err(Error::Config { name: "train_last", got: blocks.to_string(), expected })
        };
        let name = self.config().backbone.name();
        let (Some(layers), begins) = (self.backbone().layers(), self.backbone().blocks()) else {
            return wrong(format!("none: {name} is not made of layers"));
        };
        let first = match begins.len().checked_sub(blocks) {
            Some(first) if blocks > 0 => begins[first],
            _ => return wrong(format!("1 to {}, the number of blocks of {name}", begins.len())),
        };
        let (before, trained) = layers.0.split_at(first);
        let (before, trained) = (Sequential(before.to_vec()), Sequential(trained.to_vec()));
        let first = Box::new(Engine::new(self, &before)?);
        let names = names(self, &trained);
        self.set_frozen(Frozen { first, trained, names });
        Ok(())
    }

    /// Whether [`Self::train_last`] has excluded a parameter from training.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen().is_some_and(|frozen| frozen.names.contains(name))
    }

    /// The layers that are trained, with the hash layer, and the shape of their input. `None` where the backbone is not made of layers.
    ///
    /// # Errors
    /// When the layers do not fit each other.
    pub(crate) fn trained_layers(&self) -> Result<Option<(Sequential, InputShape)>> {
        let Some(all) = self.backbone().layers() else { return Ok(None) };
        let (backbone, input) = match self.frozen() {
            None => (all, self.config().input),
            Some(Frozen { trained, .. }) => {
                let before = Sequential(all.0[..all.0.len() - trained.0.len()].to_vec());
                (trained, before.output(self.config().input)?)
            }
        };
        let layers = backbone.0.iter().chain(&self.hash_layer().layers().0).cloned().collect();
        Ok(Some((Sequential(layers), input)))
    }
}

impl Engine {
    fn new(network: &Network, layers: &Sequential) -> Result<Self> {
        let Some(inference) = Inference::of_images(network, layers)? else {
            return Ok(Self::Layers(layers.folded()?.untracked(DType::F32)?));
        };
        let shape = layers.output(network.config().input)?;
        let is_flat = layers.0.iter().any(|layer| matches!(layer, Layer::Flatten));
        let output = match is_flat {
            true => vec![shape.len()],
            false => vec![shape.height, shape.width, shape.channels],
        };
        Ok(Self::Compiled { inference, output })
    }
}

impl FrozenLayers for Engine {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Layers(layers) => Ok(layers.forward(&x.detach(), Mode::Evaluation)?),
            Self::Compiled { inference, output } => {
                let n = x.dim(0)?;
                let input = inference.input();
                let expected = [n, input.height, input.width, input.channels];
                if x.dims() != expected {
                    let (name, got) = ("images", format!("{:?}", x.dims()));
                    return Err(Error::Config { name, got, expected: format!("{expected:?}") });
                }
                let mut values = vec![0.0; n * output.iter().product::<usize>()];
                inference.run_values(&x.flatten_all()?.to_vec1::<f32>()?, &mut values);
                let dims = [&[n], &output[..]].concat();
                Ok(Tensor::from_vec(values, dims, x.device())?)
            }
        }
    }
}

/// The names of those parameters of the backbone that do not belong to `trained`.
fn names(network: &Network, trained: &Sequential) -> BTreeSet<String> {
    let ids: Vec<TensorId> = trained.tensors().into_iter().map(Tensor::id).collect();
    let of_backbone = network.parameters().all().into_iter();
    let of_backbone = of_backbone.filter(|(name, _)| name.starts_with(BACKBONE));
    let frozen = of_backbone.filter(|(_, var)| !ids.contains(&var.as_tensor().id()));
    frozen.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
