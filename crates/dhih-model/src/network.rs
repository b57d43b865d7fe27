//! The whole network: the backbone, the hash layer, and the loss with its parameters.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use crate::backbone::{FeatureExtractor, whitening};
use crate::config::NetworkConfig;
use crate::error::Result;
use crate::hash_layer::HashLayer;
use crate::init::Parameters;
use crate::layer::{Mode, Sequential};
use crate::loss::{Objective, ObjectiveConfig};
use crate::tape::Trace;

/// A hashing network and its parameters.
pub struct Network {
    config: NetworkConfig,
    parameters: Parameters,
    device: Device,
    backbone: Box<dyn FeatureExtractor>,
    hash_layer: HashLayer,
    objective: Objective,
    /// Present where only the last layers of the backbone are trained.
    frozen: Option<Frozen>,
}

/// The division of a backbone into first layers, which are not trained, and last layers, which are. `frozen.rs` makes it.
pub(crate) struct Frozen {
    /// The layers that are not trained.
    pub(crate) first: Box<dyn FrozenLayers>,
    /// The layers behind those.
    pub(crate) trained: Sequential,
    /// The names of the parameters of the first layers.
    pub(crate) names: BTreeSet<String>,
}

/// Layers that are not trained, in whatever form they are computed.
pub(crate) trait FrozenLayers: Send + Sync {
    /// Their output in evaluation mode; no gradient leads back through it.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl Network {
    /// A network with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the configuration is out of range, its loss has no codewords for it, or the device is out of memory.
    pub fn new(config: NetworkConfig, seed: u64, device: &Device) -> Result<Self> {
        let (backbone, input) = (config.backbone, config.input);
        Self::with_backbone(config, (seed, device), |vb| backbone.build(input, vb))
    }

    /// A network with the given weights and codewords, by name.
    ///
    /// # Errors
    /// As [`Self::new`], and a list of every missing, unknown and misshapen tensor. Codewords may be missing, and are drawn then.
    pub(crate) fn restored(
        config: NetworkConfig,
        tensors: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        let (backbone, input) = (config.backbone, config.input);
        let parameters = Parameters::restored(tensors.clone());
        let network = Self::build(config, parameters, device, |vb| backbone.build(input, vb))?;
        network.parameters.check(&tensors)?;
        Ok(network)
    }

    /// A network around a backbone of the caller's own, which takes its variables from the builder that it is given. The configuration names
    /// [`Backbone::CUSTOM`](crate::Backbone::CUSTOM). To restore such a network from a checkpoint, build it again and load the tensors that
    /// [`checkpoint::read`](crate::checkpoint::read) returns into its parameters.
    ///
    /// # Errors
    /// As [`Self::new`], and those of `build`.
    pub fn with_backbone(
        config: NetworkConfig,
        (seed, device): (u64, &Device),
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<Box<dyn FeatureExtractor>>,
    ) -> Result<Self> {
        Self::build(config, Parameters::seeded(seed), device, build)
    }

    fn build(
        config: NetworkConfig,
        parameters: Parameters,
        device: &Device,
        build: impl FnOnce(VarBuilder<'_>) -> candle_core::Result<Box<dyn FeatureExtractor>>,
    ) -> Result<Self> {
        config.check()?;
        let vb = parameters.builder(DType::F32, device);
        let backbone = build(vb.pp("backbone"))?;
        let (features, bits) = (backbone.features(), config.bits);
        let hash_layer = HashLayer::new(features, bits, config.hash_layer, vb.pp("hash_layer"))?;
        let classes = config.classes.len();
        let objective = Objective::new(ObjectiveConfig { loss: &config.loss, classes, bits }, &vb)?;
        let device = device.clone();
        let frozen = None;
        Ok(Self { config, parameters, device, backbone, hash_layer, objective, frozen })
    }

    /// Computes the output of the hash layer.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.head(&self.features(x, mode)?, mode)
    }

    /// Computes the output of the backbone.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `[n, features]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn features(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(match (&self.frozen, mode) {
            (Some(frozen), Mode::Training { .. }) => {
                frozen.trained.forward(&frozen.first.forward(x)?, mode)?
            }
            _ => self.backbone.forward(x, mode)?,
        })
    }

    /// Computes the output of the backbone in training, and records what the gradients of its weights need. This is faster and takes less memory
    /// than the graph of [`Self::features`].
    ///
    /// # Shapes
    /// As [`Self::features`].
    ///
    /// # Errors
    /// When the shape is not the configured one, or `mode` is not [`Mode::Training`].
    pub fn trace(&self, x: &Tensor, mode: Mode) -> Result<Trace> {
        Ok(match (&self.frozen, self.backbone.layers()) {
            (Some(frozen), _) => {
                Trace::of_layers(&frozen.trained, &frozen.first.forward(x)?, mode)?
            }
            (None, Some(layers)) => Trace::of_layers(layers, x, mode)?,
            (None, None) => Trace::of_graph(self.features(x, mode)?),
        })
    }

    /// Computes the output of the hash layer from features of the backbone.
    ///
    /// # Shapes
    /// `features`: `[n, features]`; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When `features` has another shape.
    pub fn head(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(self.hash_layer.forward(features, mode)?)
    }

    /// Whether [`Self::adapt_to`] sets any weights of this network.
    pub fn is_adaptable(&self) -> bool {
        self.whitening_weight().is_some()
    }

    fn whitening_weight(&self) -> Option<Var> {
        self.parameters.get("backbone.whiten.weight")
    }

    /// Sets the weights that are computed from images and not trained: those of a whitening convolution, where there is one. Call it on a new
    /// network, before the first training step.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn adapt_to(&self, images: &[u8]) -> Result<()> {
        let Some(weight) = self.whitening_weight() else { return Ok(()) };
        let weights = whitening(images, self.config.input, &self.config.normalization)?;
        Ok(weight.set(&weights.to_device(&self.device)?.to_dtype(weight.dtype())?)?)
    }

    /// The backbone.
    pub fn backbone(&self) -> &dyn FeatureExtractor {
        &*self.backbone
    }

    /// The hash layer.
    pub fn hash_layer(&self) -> &HashLayer {
        &self.hash_layer
    }

    /// Backbone and hash layer as one sequence of layers; `None` where the backbone is not made of layers.
    pub fn layers(&self) -> Option<Sequential> {
        let backbone = &self.backbone.layers()?.0;
        Some(Sequential(backbone.iter().chain(&self.hash_layer.layers().0).cloned().collect()))
    }

    pub(crate) fn frozen(&self) -> Option<&Frozen> {
        self.frozen.as_ref()
    }

    pub(crate) fn set_frozen(&mut self, frozen: Frozen) {
        self.frozen = Some(frozen);
    }

    /// The loss that trains the network, with its class weights or codewords.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// What defines the network, except its weights.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The variables, which the layers share.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The device that it computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
