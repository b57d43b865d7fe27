//! Codes and features of a network in training, with its current weights.

use candle_core::{DType, Device, Tensor};

use super::averaging::averaged;
use super::untracked::UntrackedLayers;
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::inference::Inference;
use crate::layer::{Mode, Sequential};
use crate::network::Network;

/// As [`Encoder::encode`](super::Encoder::encode), for a network in training.
///
/// # Errors
/// When the number of bytes is not a multiple of an image's.
pub fn encode(network: &Network, images: &[u8]) -> Result<Vec<f32>> {
    CodeEncoder::new(network)?.encode(images)
}

/// How a network in training, or a part of it, is evaluated.
enum Engine {
    /// By the operators of this crate on the CPU.
    Compiled(Inference),
    /// By candle's operators.
    Layers(UntrackedLayers),
    /// A network whose backbone is not made of layers, or its features.
    Network(fn(&Network, &Tensor) -> Result<Tensor>),
}

impl Engine {
    /// The first of these that there is; `forward` evaluates the network itself.
    fn new(
        inference: Option<Inference>,
        layers: Option<&Sequential>,
        forward: fn(&Network, &Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        Ok(match (inference, layers) {
            (Some(inference), _) => Self::Compiled(inference),
            (None, Some(layers)) => Self::Layers(UntrackedLayers::new(layers, DType::F32)?),
            (None, None) => Self::Network(forward),
        })
    }

    /// Evaluates images, and writes the results to `values`.
    fn run(&self, network: &Network, images: &[u8], values: &mut [f32]) -> Result<()> {
        let of_tensors = |forward: &dyn Fn(&Tensor) -> Result<Tensor>, values: &mut [f32]| {
            in_batches(network.config(), network.device(), (images, values), forward)
        };
        match self {
            Self::Compiled(inference) => {
                inference.run(images, values);
                Ok(())
            }
            Self::Layers(layers) => of_tensors(&|x| layers.forward(x), values),
            Self::Network(forward) => of_tensors(&|x| forward(network, x), values),
        }
    }
}

/// Encodes images with the current weights of a network in training; prepared once for many calls.
pub struct CodeEncoder<'a> {
    network: &'a Network,
    engine: Engine,
}

impl<'a> CodeEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        let (inference, layers) = (Inference::of_codes(network)?, network.layers());
        let forward = |network: &Network, x: &Tensor| network.forward(x, Mode::Evaluation);
        Ok(Self { network, engine: Engine::new(inference, layers.as_ref(), forward)? })
    }

    /// As [`Encoder::encode`](super::Encoder::encode).
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        let Self { network, engine } = self;
        let config = network.config();
        let mut codes = vec![0.0; config.input.count(images)? * config.bits];
        averaged(config, images, &mut codes, |images, codes| engine.run(network, images, codes))?;
        Ok(codes)
    }
}

/// Computes features of images with the current weights of a network's backbone.
pub struct FeatureEncoder<'a> {
    network: &'a Network,
    engine: Engine,
}

impl<'a> FeatureEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        let (inference, layers) = (Inference::of_features(network)?, network.backbone().layers());
        let forward = |network: &Network, x: &Tensor| network.features(x, Mode::Evaluation);
        Ok(Self { network, engine: Engine::new(inference, layers, forward)? })
    }

    /// Computes the features of images.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8; returns `[n, features]`, row-major.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        let Self { network, engine } = self;
        let count = network.config().input.count(images)?;
        let mut values = vec![0.0; count * network.backbone().features()];
        engine.run(network, images, &mut values)?;
        Ok(values)
    }
}

/// Computes codes from features with the current weights of a network's hash layer.
pub struct HeadEncoder<'a> {
    network: &'a Network,
    engine: HeadEngine,
}

/// How a hash layer is evaluated: by the operators of this crate on the CPU, or by candle's operators.
enum HeadEngine {
    Compiled(Inference),
    Layers(UntrackedLayers),
}

impl<'a> HeadEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        let engine = match Inference::of_head(network)? {
            Some(inference) => HeadEngine::Compiled(inference),
            None => {
                let layers = network.hash_layer().layers();
                HeadEngine::Layers(UntrackedLayers::new(layers, DType::F32)?)
            }
        };
        Ok(Self { network, engine })
    }

    /// Computes the codes of images whose features are given: the same values as [`Encoder::encode`](super::Encoder::encode), to the last bit
    /// where the operators of this crate run on the CPU.
    ///
    /// # Shapes
    /// `views`: the features `[n, features]` of each view of [`NetworkConfig::views`], in their order, as [`FeatureEncoder::encode`] returns
    /// them; returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// When the number of views or their length is another.
    pub fn encode(&self, views: &[&[f32]]) -> Result<Vec<f32>> {
        let (config, features) = (self.network.config(), self.network.backbone().features());
        let weights = config.views.of(config.input);
        let len = views.first().map_or(0, |view| view.len());
        let is_fitting = |view: &&[f32]| view.len() == len && len.is_multiple_of(features);
        if views.len() != weights.len() || !views.iter().all(is_fitting) {
            let got =
                format!("{:?} values", views.iter().map(|view| view.len()).collect::<Vec<_>>());
            let expected = format!("{} views of {features} an image", weights.len());
            return Err(Error::Config { name: "features", got, expected });
        }
        let n = len / features;
        let mut codes = vec![0.0; n * config.bits];
        if let [only] = views {
            self.run(only, n, &mut codes)?;
            return Ok(codes);
        }
        let mut of_view = codes.clone();
        for (values, view) in views.iter().zip(weights) {
            self.run(values, n, &mut of_view)?;
            codes.iter_mut().zip(&of_view).for_each(|(code, x)| *code += view.weight * x);
        }
        Ok(codes)
    }

    fn run(&self, features: &[f32], n: usize, codes: &mut [f32]) -> Result<()> {
        match &self.engine {
            HeadEngine::Compiled(inference) => inference.run_values(features, codes),
            HeadEngine::Layers(layers) => {
                let shape = (n, features.len() / n.max(1));
                let x = Tensor::from_slice(features, shape, self.network.device())?;
                codes.copy_from_slice(&layers.forward(&x)?.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }
}

/// Runs `forward` on tensors of a batch of images at a time, and writes the results to `values`.
pub(super) fn in_batches(
    config: &NetworkConfig,
    device: &Device,
    (images, values): (&[u8], &mut [f32]),
    forward: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let (shape, n) = (config.input, config.input.count(images)?);
    let (batch, width) = (shape.inference_batch(), values.len() / n.max(1));
    let batches = images.chunks(batch * shape.len());
    for (images, values) in batches.zip(values.chunks_mut((batch * width).max(1))) {
        let y = forward(&config.normalization.apply(images, shape, device)?)?;
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if y.len() != values.len() {
            let got = format!("{} values of {} images", y.len(), images.len() / shape.len());
            let expected = format!("{width} an image");
            return Err(Error::Config { name: "backbone", got, expected });
        }
        values.copy_from_slice(&y);
    }
    Ok(())
}
