//! The whole network: backbone, hash layer, and the class weights that unary losses compare codes with.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Init;

use crate::backbone::Features;
use crate::config::NetworkConfig;
use crate::error::Result;
use crate::hash_layer::HashLayer;
use crate::init::Parameters;

/// A hashing network and its parameters.
pub struct Network {
    config: NetworkConfig,
    parameters: Parameters,
    device: Device,
    backbone: Features,
    hash_layer: HashLayer,
    class_weights: Tensor,
}

impl Network {
    /// A network with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the configuration is out of range or the device is out of memory.
    pub fn new(config: NetworkConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let parameters = Parameters::seeded(seed);
        let vb = parameters.builder(DType::F32, device);
        let (backbone, features) = config.backbone.build(config.input, vb.pp("backbone"))?;
        let hash_layer = HashLayer::new(features, config.bits, vb.pp("hash_layer"))?;
        let bound = Init::Randn { mean: 0.0, stdev: 1.0 / (config.bits as f64).sqrt() };
        let shape = (config.classes.len(), config.bits);
        let class_weights = vb.get_with_hints(shape, "class_weights", bound)?;
        let device = device.clone();
        Ok(Self { config, parameters, device, backbone, hash_layer, class_weights })
    }

    /// The hash layer's output.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.head(&self.features(x, train)?)
    }

    /// The backbone's output.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `[n, features]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn features(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(self.backbone.forward_t(x, train)?)
    }

    /// The hash layer's output for features of the backbone.
    ///
    /// # Shapes
    /// `features`: `[n, features]`; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn head(&self, features: &Tensor) -> Result<Tensor> {
        Ok(self.hash_layer.forward(features)?)
    }

    /// The class weights W, `[classes, bits]`.
    pub fn class_weights(&self) -> &Tensor {
        &self.class_weights
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
