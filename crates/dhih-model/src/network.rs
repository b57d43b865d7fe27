//! The whole network: backbone, hash layer, and the loss with what it trains.

use candle_core::{DType, Device, ModuleT, Tensor};

use crate::backbone::Features;
use crate::config::NetworkConfig;
use crate::error::Result;
use crate::hash_layer::HashLayer;
use crate::init::Parameters;
use crate::loss::Objective;

/// A hashing network and its parameters.
pub struct Network {
    config: NetworkConfig,
    parameters: Parameters,
    device: Device,
    backbone: Features,
    hash_layer: HashLayer,
    objective: Objective,
}

impl Network {
    /// A network with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the configuration is out of range, its loss has no codewords for it, or the device is out of memory.
    pub fn new(config: NetworkConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let parameters = Parameters::seeded(seed);
        let vb = parameters.builder(DType::F32, device);
        let (backbone, features) = config.backbone.build(config.input, vb.pp("backbone"))?;
        let hash_layer =
            HashLayer::new(features, config.bits, config.hash_layer, vb.pp("hash_layer"))?;
        let objective = Objective::new(&config.loss, (config.classes.len(), config.bits), &vb)?;
        let device = device.clone();
        Ok(Self { config, parameters, device, backbone, hash_layer, objective })
    }

    /// The hash layer's output.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`, normalised; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When the shape is not the configured one.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(self.hash_layer.forward_t(&self.backbone.forward_t(x, train)?, train)?)
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
