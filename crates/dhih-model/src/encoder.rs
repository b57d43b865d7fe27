//! A trained network as a function from pixels to real-valued codes, preprocessing included.

use std::path::Path;

use candle_core::Device;

use crate::checkpoint;
use crate::config::InputShape;
use crate::error::Result;
use crate::layer::Mode;
use crate::network::Network;

/// Encodes images with a trained network. Cheap to share between threads.
pub struct Encoder {
    network: Network,
    model_sha256: String,
}

impl Encoder {
    /// Images that go through the network at once.
    const BATCH: usize = 256;

    /// Reads `model.safetensors` of a run.
    ///
    /// # Errors
    /// As [`checkpoint::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let (network, model_sha256) = checkpoint::load(path, device)?;
        Ok(Self { network, model_sha256 })
    }

    /// Code length in bits.
    pub fn bits(&self) -> usize {
        self.network.config().bits
    }

    /// The shape of one image.
    pub fn input(&self) -> InputShape {
        self.network.config().input
    }

    /// Names of the classes, in label order.
    pub fn classes(&self) -> &[String] {
        &self.network.config().classes
    }

    /// SHA-256 of the checkpoint file, in hex: it is written into the codes, so that codes of two models are never mixed.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// Real-valued codes of images; their signs are the bits, the sign of 0 being +1.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8 in the shape [`Self::input`]; returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// When the number of bytes is no multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        encode(&self.network, images)
    }

    /// The class each code is nearest to under the loss that the network was trained with; `None` for pairwise losses, which
    /// know no classes.
    ///
    /// # Shapes
    /// `codes`: `[n, bits]` as [`Self::encode`] returns them; returns `[n]` labels.
    ///
    /// # Errors
    /// When the number of values is no multiple of the bits.
    pub fn classify(&self, codes: &[f32]) -> Result<Option<Vec<u32>>> {
        let bits = self.bits();
        let device = self.network.device();
        let v = candle_core::Tensor::from_slice(codes, (codes.len() / bits, bits), device)?;
        let classes = self.network.objective().classify(&v)?;
        Ok(classes.map(|classes| classes.to_vec1()).transpose()?)
    }
}

/// As [`Encoder::encode`], for a network in training.
///
/// # Errors
/// When the number of bytes is no multiple of an image's.
pub fn encode(network: &Network, images: &[u8]) -> Result<Vec<f32>> {
    let config = network.config();
    let shape = config.input;
    let mut codes = Vec::with_capacity(images.len() / shape.len() * config.bits);
    for batch in images.chunks(Encoder::BATCH * shape.len()) {
        let x = config.normalization.apply(batch, shape, network.device())?;
        codes.extend(network.forward(&x, Mode::Evaluation)?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(codes)
}
