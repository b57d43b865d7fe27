//! Codes and features of a network in training, with its current weights.

use candle_core::{DType, Device, Tensor};

use super::averaging::averaged;
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::inference::Inference;
use crate::layer::Mode;
use crate::network::Network;

/// As [`Encoder::encode`](super::Encoder::encode), for a network in training.
///
/// # Errors
/// When the number of bytes is not a multiple of an image's.
pub fn encode(network: &Network, images: &[u8]) -> Result<Vec<f32>> {
    CodeEncoder::new(network)?.encode(images)
}

/// Encodes images with the current weights of a network in training; prepared once for many calls.
pub struct CodeEncoder<'a> {
    network: &'a Network,
    inference: Option<Inference>,
}

impl<'a> CodeEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        Ok(Self { network, inference: Inference::of_codes(network)? })
    }

    /// As [`Encoder::encode`](super::Encoder::encode).
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        let Self { network, inference } = self;
        let config = network.config();
        let mut codes = vec![0.0; config.input.count(images)? * config.bits];
        averaged(config, images, &mut codes, |images, codes| {
            let forward = |x: &Tensor| network.forward(x, Mode::Evaluation);
            infer(network, inference.as_ref(), (images, codes), &forward)
        })?;
        Ok(codes)
    }
}

/// Computes features of images with the current weights of a network's backbone.
pub struct FeatureEncoder<'a> {
    network: &'a Network,
    inference: Option<Inference>,
}

impl<'a> FeatureEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        Ok(Self { network, inference: Inference::of_features(network)? })
    }

    /// Computes the features of images.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8; returns `[n, features]`, row-major.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        let Self { network, inference } = self;
        let count = network.config().input.count(images)?;
        let mut values = vec![0.0; count * network.backbone().features()];
        let forward = |x: &Tensor| network.features(x, Mode::Evaluation);
        infer(network, inference.as_ref(), (images, &mut values), &forward)?;
        Ok(values)
    }
}

/// Computes codes from features with the current weights of a network's hash layer.
pub struct HeadEncoder<'a> {
    network: &'a Network,
    inference: Option<Inference>,
}

impl<'a> HeadEncoder<'a> {
    /// Prepares the encoder for the current weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(network: &'a Network) -> Result<Self> {
        Ok(Self { network, inference: Inference::of_head(network)? })
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
        match &self.inference {
            Some(inference) => inference.run_values(features, codes),
            None => {
                let x = Tensor::from_slice(
                    features,
                    (n, features.len() / n.max(1)),
                    self.network.device(),
                )?;
                let v = self.network.head(&x, Mode::Evaluation)?.to_dtype(DType::F32)?;
                codes.copy_from_slice(&v.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }
}

fn infer(
    network: &Network,
    inference: Option<&Inference>,
    (images, values): (&[u8], &mut [f32]),
    forward: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    match inference {
        Some(inference) => inference.run(images, values),
        None => in_batches(network.config(), network.device(), (images, values), forward)?,
    }
    Ok(())
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
