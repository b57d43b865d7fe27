//! The whole network: backbone, hash layer, and the loss with what it trains.

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
    /// The layers behind them.
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

    /// A network with the weights and codewords `tensors`, by name.
    ///
    /// # Errors
    /// As [`Self::new`]; and lists every missing, unknown and misshapen tensor. Codewords may be missing, and are drawn then.
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

    /// A network around a backbone of the caller's own, which takes its variables from the builder it is given. The
    /// configuration says [`Backbone::CUSTOM`](crate::Backbone::CUSTOM); to bring such a network back from a checkpoint,
    /// build it again and load the tensors that [`checkpoint::read`](crate::checkpoint::read) returns into its parameters.
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

    /// The hash layer's output.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.head(&self.features(x, mode)?, mode)
    }

    /// The backbone's output.
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

    /// The backbone's output in training, with the way back to the gradients of its weights: faster, and with less memory, than by the graph
    /// that [`Self::features`] makes.
    ///
    /// # Shapes
    /// As [`Self::features`].
    ///
    /// # Errors
    /// When the shape is not the configured one, or `mode` is not that of training.
    pub fn trace(&self, x: &Tensor, mode: Mode) -> Result<Trace> {
        Ok(match (&self.frozen, self.backbone.layers()) {
            (Some(frozen), _) => {
                Trace::of_layers(&frozen.trained, &frozen.first.forward(x)?, mode)?
            }
            (None, Some(layers)) => Trace::of_layers(layers, x, mode)?,
            (None, None) => Trace::of_graph(self.features(x, mode)?),
        })
    }

    /// The hash layer's output for features of the backbone.
    ///
    /// # Shapes
    /// `features`: `[n, features]`; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn head(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(self.hash_layer.forward(features, mode)?)
    }

    /// Whether [`Self::adapt_to`] has weights to set.
    pub fn is_adaptable(&self) -> bool {
        self.whitening_weight().is_some()
    }

    fn whitening_weight(&self) -> Option<Var> {
        self.parameters.get("backbone.whiten.weight")
    }

    /// Sets weights that come from images and not from training: those of a whitening convolution, where there is one.
    /// For a new network, before its first step.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8.
    ///
    /// # Errors
    /// When the number of bytes is no multiple of an image's.
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

    /// Backbone and hash layer as one, where the backbone is made of layers.
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

    /// The loss that trains it, with its class weights or codewords.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// What defines the network, but for its weights.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The variables, shared with the layers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
