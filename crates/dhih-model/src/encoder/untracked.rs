//! Layers that candle's operators evaluate without autograd: batch norm is folded, and the weights are copies that are no variables. candle
//! records a graph of all that is computed from variables, and this graph keeps the output of every layer alive.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::layer::{Mode, Sequential};

/// Layers for evaluation, in some number format.
pub(super) struct UntrackedLayers {
    layers: Sequential,
    dtype: DType,
}

impl UntrackedLayers {
    /// Copies the current weights of `layers`.
    ///
    /// # Errors
    /// When a batch norm does not fit the layer before it, and those of the device.
    pub(super) fn new(layers: &Sequential, dtype: DType) -> Result<Self> {
        Ok(Self { layers: layers.folded()?.untracked(dtype)?, dtype })
    }

    /// Evaluates the layers on f32 values.
    ///
    /// # Errors
    /// When the shape does not fit the first layer, and those of the device.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.layers.forward(&x.detach().to_dtype(self.dtype)?, Mode::Evaluation)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::image::InputShape;
    use crate::loss::Loss;
    use crate::network::Network;
    use crate::views::Views;
    use crate::{Backbone, HashLayerConfig, NetworkConfig};

    fn network(name: &str) -> Network {
        let backbone = Backbone::named(name).unwrap();
        let side = backbone.min_side();
        let config = NetworkConfig {
            backbone,
            input: InputShape::new(side, side, 3),
            normalization: backbone.pretrained_normalization(),
            bits: 8,
            hash_layer: HashLayerConfig { feature_norm: true, ..HashLayerConfig::default() },
            loss: Loss::default(),
            views: Views::default(),
            classes: vec!["a".into(), "b".into()],
        };
        Network::new(config, 1, &Device::Cpu).unwrap()
    }

    fn images(network: &Network) -> Tensor {
        let InputShape { height, width, channels, .. } = network.config().input;
        Tensor::ones((1, height, width, channels), DType::F32, &Device::Cpu).unwrap()
    }

    /// Each of these networks has layers that the others lack. In f16, the CPU takes the operators of a GPU.
    #[test]
    fn results_have_no_graph() {
        for name in ["small", "resnet18-cifar", "squeezenet1-1", "mobilenet-v3", "dinov2-small"] {
            let network = network(name);
            let (layers, x) = (network.layers().unwrap(), images(&network));
            assert!(layers.forward(&x, Mode::Evaluation).unwrap().track_op(), "{name}");
            for dtype in [DType::F32, DType::F16] {
                let y = UntrackedLayers::new(&layers, dtype).unwrap().forward(&x).unwrap();
                assert!(!y.track_op(), "{name} in {dtype:?}");
                assert_eq!(y.dtype(), dtype);
            }
        }
    }

    #[test]
    fn a_later_change_of_the_weights_has_no_effect() {
        let network = network("small");
        let x = images(&network);
        let layers = UntrackedLayers::new(&network.layers().unwrap(), DType::F32).unwrap();
        let y = || layers.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        let before = y();
        for (_, var) in network.parameters().all() {
            var.set(&var.zeros_like().unwrap()).unwrap();
        }
        assert_eq!(y(), before);
    }
}
