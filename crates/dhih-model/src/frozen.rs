//! Training the end of a network alone. The layers before it compute in evaluation mode and outside of candle's graph: nothing is kept of them
//! for the way back, which ends behind them, and their weights and running statistics stay as they are.

use std::collections::BTreeSet;

use candle_core::{Tensor, TensorId};

use crate::error::{Error, Result};
use crate::image::InputShape;
use crate::inference::Inference;
use crate::layer::{Layer, Mode, Sequential};
use crate::network::Network;
use crate::pretrained::BACKBONE;

/// The part of a backbone that is not trained, and the layers behind it.
pub(crate) struct Frozen {
    engine: Engine,
    /// The shape of what goes from the one part to the other, without the number of images.
    between: Vec<usize>,
    trained: Sequential,
    /// Parameters of the frozen part.
    names: BTreeSet<String>,
}

/// What computes the frozen part.
enum Engine {
    /// The CPU, by operators of ours.
    Compiled(Inference),
    /// Layers without gradients.
    Layers(Sequential),
}

impl Network {
    /// Limits training to the last blocks of the backbone, what is behind them, and the hash layer. What a block is, the family's file
    /// under [`crate::backbone`] says: a residual, a transformer's attention with the two layers behind it, or a convolution. The frozen
    /// weights are taken as they are now: load others before.
    ///
    /// # Errors
    /// [`Error::Config`] where there are not as many blocks, or none is asked for, and where the backbone is not made of layers.
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
        let frozen = Frozen::new(self, &before, trained)?;
        self.set_frozen(frozen);
        Ok(())
    }

    /// Whether [`Self::train_last`] has excluded a parameter from training.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen().is_some_and(|frozen| frozen.names.contains(name))
    }

    /// The layers that are trained, hash layer included, and the shape of the images that these take.
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

impl Frozen {
    fn new(network: &Network, before: &Sequential, trained: Sequential) -> Result<Self> {
        let shape = before.output(network.config().input)?;
        let is_flat = before.0.iter().any(|layer| matches!(layer, Layer::Flatten));
        let between = match is_flat {
            true => vec![shape.len()],
            false => vec![shape.height, shape.width, shape.channels],
        };
        let engine = match Inference::of_images(network, before)? {
            Some(inference) => Engine::Compiled(inference),
            None => Engine::Layers(before.folded()?.map(&|tensor| Ok(tensor.detach()))?),
        };
        let names = names(network, &trained);
        Ok(Self { engine, between, trained, names })
    }

    /// What the frozen part makes of images; no gradient leads back from it.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub(crate) fn run(&self, x: &Tensor) -> Result<Tensor> {
        match &self.engine {
            Engine::Layers(layers) => Ok(layers.forward(&x.detach(), Mode::Evaluation)?),
            Engine::Compiled(inference) => {
                let n = x.dim(0)?;
                let input = inference.input();
                let expected = [n, input.height, input.width, input.channels];
                if x.dims() != expected {
                    let (name, got) = ("images", format!("{:?}", x.dims()));
                    return Err(Error::Config { name, got, expected: format!("{expected:?}") });
                }
                let mut values = vec![0.0; n * self.between.iter().product::<usize>()];
                inference.run_values(&x.flatten_all()?.to_vec1::<f32>()?, &mut values);
                let dims = [&[n], &self.between[..]].concat();
                Ok(Tensor::from_vec(values, dims, x.device())?)
            }
        }
    }

    /// The layers behind it.
    pub(crate) fn trained(&self) -> &Sequential {
        &self.trained
    }
}

/// The names of the backbone's parameters that are not those of `trained` layers.
fn names(network: &Network, trained: &Sequential) -> BTreeSet<String> {
    let ids: Vec<TensorId> = trained.tensors().into_iter().map(Tensor::id).collect();
    let of_backbone = network.parameters().all().into_iter();
    let of_backbone = of_backbone.filter(|(name, _)| name.starts_with(BACKBONE));
    let frozen = of_backbone.filter(|(_, var)| !ids.contains(&var.as_tensor().id()));
    frozen.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
