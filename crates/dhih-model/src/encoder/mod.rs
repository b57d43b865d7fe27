//! A trained network as a function from pixels to codes, with preprocessing. `parts.rs` has the same for a network in training.

mod averaging;
mod parts;
mod precision;
mod untracked;

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use self::averaging::averaged;
use self::parts::in_batches;
pub use self::parts::{CodeEncoder, FeatureEncoder, HeadEncoder, encode};
pub use self::precision::Precision;
use self::untracked::UntrackedLayers;
use crate::checkpoint;
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::image::InputShape;
use crate::inference::{Calibration, Inference};
use crate::layer::Mode;
use crate::loss::{Loss, Objective};
use crate::network::Network;
use crate::views::Views;

/// The result of encoding images.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Real-valued codes, `[n, bits]`, as [`Encoder::encode`] returns them.
    pub values: Vec<f32>,
    /// The features from which the codes were made, `[n, features]`; absent where [`Encoder::features`] is `None`.
    pub features: Option<Vec<f32>>,
}

/// Encodes images with a trained network. Threads may share it.
pub struct Encoder {
    config: NetworkConfig,
    objective: Objective,
    device: Device,
    engine: Engine,
    precision: Precision,
    model_sha256: String,
}

/// How codes are computed.
enum Engine {
    /// Compiled for the CPU, by the operators of this crate.
    Compiled(Inference),
    /// Compiled in two halves that keep the features, for a network whose hash layer was fitted to them.
    Split(Split),
    /// Layers in some number format, by candle's operators.
    Layers(UntrackedLayers),
    /// A network whose backbone is not made of layers. candle records a graph of a batch where the backbone's weights are variables.
    Network(Box<Network>),
}

/// Backbone and hash layer, compiled separately.
struct Split {
    backbone: Inference,
    head: Inference,
    features: usize,
}

/// Whether features are returned beside the codes.
fn is_split(config: &NetworkConfig) -> bool {
    matches!(config.loss, Loss::Fitted(_)) && config.views == Views::default()
}

impl Split {
    /// With the network's hash layer behind the backbone; nothing where layers of ours do not run.
    fn behind(backbone: Inference, network: &Network) -> Result<Option<Engine>> {
        let head = Inference::of_head(network)?;
        let features = network.backbone().features();
        Ok(head.map(|head| Engine::Split(Self { backbone, head, features })))
    }

    /// Writes the codes of `count` images to `codes`, and returns their features.
    fn run(&self, images: &[u8], count: usize, codes: &mut [f32]) -> Vec<f32> {
        let mut features = vec![0.0; count * self.features];
        self.backbone.run(images, &mut features);
        self.head.run_values(&features, codes);
        features
    }
}

impl Encoder {
    /// Reads the checkpoint of a network, such as `model.safetensors` of a run, to compute in f32.
    ///
    /// # Errors
    /// As [`checkpoint::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Self::load_as(path, device, DType::F32)
    }

    /// As [`Self::load`], but computes in `dtype`: f32, f16, or bf16 on a GPU. f32 is the fastest on the CPU.
    ///
    /// # Errors
    /// As [`checkpoint::load`], and [`Error::Config`] for other formats.
    pub fn load_as(path: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let (network, model_sha256) = checkpoint::load(path, device)?;
        Self::new(network, model_sha256, dtype)
    }

    /// Makes an encoder of a network with its current weights. `model_sha256` is the SHA-256 of its checkpoint.
    ///
    /// # Errors
    /// [`Error::Config`] where `dtype` is not f32, f16 or, on a GPU, bf16, and where it is not f32 although the backbone is not made of layers.
    pub fn new(network: Network, model_sha256: String, dtype: DType) -> Result<Self> {
        let refused = |expected: &str| {
            let (name, got, expected) = ("dtype", dtype.as_str().to_owned(), expected.to_owned());
            Err(Error::Config { name, got, expected })
        };
        match dtype {
            DType::F32 | DType::F16 => (),
            DType::BF16 if !network.device().is_cpu() => (),
            _ => return refused("f32 or f16, or on a GPU bf16"),
        }
        let is_f32 = dtype == DType::F32;
        if is_f32
            && is_split(network.config())
            && let Some(backbone) = Inference::of_features(&network)?
            && let Some(engine) = Split::behind(backbone, &network)?
        {
            return Ok(Self::of_engine(&network, engine, Precision::F32, model_sha256));
        }
        let inference = if is_f32 { Inference::of_codes(&network)? } else { None };
        let engine = match (inference, network.layers()) {
            (Some(inference), _) => Engine::Compiled(inference),
            (None, Some(layers)) => Engine::Layers(UntrackedLayers::new(&layers, dtype)?),
            (None, None) if is_f32 => {
                let (config, objective) = (network.config().clone(), network.objective().clone());
                let device = network.device().clone();
                let (engine, precision) = (Engine::Network(Box::new(network)), Precision::F32);
                return Ok(Self { config, objective, device, engine, precision, model_sha256 });
            }
            (None, None) => return refused("f32: the backbone is the program's own"),
        };
        Ok(Self::of_engine(&network, engine, Precision::F32, model_sha256))
    }

    /// Reads `model.safetensors` of a run, to compute convolutions in integers of 8 bits on the CPU, as `calibration` says.
    ///
    /// # Errors
    /// As [`checkpoint::load`], and [`Error::Config`] where the calibration is that of another model, or the network is none of ours.
    pub fn load_int8(path: &Path, calibration: &Calibration) -> Result<Self> {
        let (network, model_sha256) = checkpoint::load(path, &Device::Cpu)?;
        Self::int8(&network, model_sha256, calibration)
    }

    /// As [`Self::load_int8`], of a network as it is now; `model_sha256` is that of its checkpoint. A few bits differ
    /// from those in f32, and the codes can be compared with them. The code of an image depends on the image alone.
    ///
    /// # Errors
    /// [`Error::Config`] where the calibration is that of another model, or the network is not run by operators of ours on the CPU.
    pub fn int8(
        network: &Network,
        model_sha256: String,
        calibration: &Calibration,
    ) -> Result<Self> {
        if calibration.model_sha256() != model_sha256 {
            let got = format!("that of the model {}", calibration.model_sha256());
            let expected = format!("that of {model_sha256}; `dhih-train calibrate` makes it");
            return Err(Error::Config { name: "calibration", got, expected });
        }
        let engine = match is_split(network.config()) {
            true => match Inference::of_features_in_int8(network, calibration)? {
                Some(backbone) => Split::behind(backbone, network)?,
                None => None,
            },
            false => Inference::of_codes_in_int8(network, calibration)?.map(Engine::Compiled),
        };
        let engine = engine.ok_or_else(Error::no_int8)?;
        Ok(Self::of_engine(network, engine, Precision::Int8, model_sha256))
    }

    fn of_engine(
        network: &Network,
        engine: Engine,
        precision: Precision,
        model_sha256: String,
    ) -> Self {
        let (config, objective) = (network.config().clone(), network.objective().clone());
        let device = network.device().clone();
        Self { config, objective, device, engine, precision, model_sha256 }
    }

    /// What convolutions are computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Code length in bits.
    pub fn bits(&self) -> usize {
        self.config.bits
    }

    /// Whether it computes on the CPU.
    pub fn is_on_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// The shape of the images that it takes.
    pub fn input(&self) -> InputShape {
        self.config.input
    }

    /// Names of the classes, in label order.
    pub fn classes(&self) -> &[String] {
        &self.config.classes
    }

    /// SHA-256 of the checkpoint file, in hex. It is stored with the codes, so that codes of two models are never mixed.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// Computes real-valued codes of images. Their signs are the bits; the sign of 0 is +1. In f32 on the CPU, by the operators of this crate,
    /// the code of an image does not depend on the other images, to the last bit. With candle's operators (on a GPU, in other number formats, or
    /// with a backbone that is not made of layers) the last digits may depend on the size of the batch, and with them a bit whose value is close
    /// to 0.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8 of the shape [`Self::input`]; returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn encode(&self, images: &[u8]) -> Result<Vec<f32>> {
        let mut codes = vec![0.0; self.input().count(images)? * self.bits()];
        self.encode_into(images, &mut codes)?;
        Ok(codes)
    }

    /// As [`Self::encode`], but writes to `codes`.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's, or `codes` has another length than the codes need.
    pub fn encode_into(&self, images: &[u8], codes: &mut [f32]) -> Result<()> {
        self.check_len(codes.len(), images, self.bits())?;
        averaged(&self.config, images, codes, |images, codes| self.run(images, codes))
    }

    /// The number of features that [`Self::encode_all`] returns for each image. The cosine similarity of these vectors compares images more
    /// finely than their codes. `None` for networks that were trained to make codes, and where the operators of this crate do not run.
    pub fn features(&self) -> Option<usize> {
        match self.engine {
            Engine::Split(Split { features, .. }) => Some(features),
            _ => None,
        }
    }

    /// As [`Self::encode`], with the features from which the codes are made, where [`Self::features`] says that there are some.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_all(&self, images: &[u8]) -> Result<Encoded> {
        let Engine::Split(split) = &self.engine else {
            return Ok(Encoded { values: self.encode(images)?, features: None });
        };
        let count = self.input().count(images)?;
        let mut values = vec![0.0; count * self.bits()];
        let features = split.run(images, count, &mut values);
        Ok(Encoded { values, features: Some(features) })
    }

    fn run(&self, images: &[u8], codes: &mut [f32]) -> Result<()> {
        let of_tensors = |forward: &dyn Fn(&Tensor) -> Result<Tensor>, codes: &mut [f32]| {
            in_batches(&self.config, &self.device, (images, codes), forward)
        };
        match &self.engine {
            Engine::Compiled(inference) => {
                inference.run(images, codes);
                Ok(())
            }
            Engine::Split(split) => {
                split.run(images, self.input().count(images)?, codes);
                Ok(())
            }
            Engine::Layers(layers) => of_tensors(&|x| layers.forward(x), codes),
            Engine::Network(network) => {
                of_tensors(&|x| network.forward(x, Mode::Evaluation), codes)
            }
        }
    }

    /// Writes packed codes of images, eight bits to a byte: bit k of a code is bit `k mod 8` of byte `k / 8`, and is set where the real value is
    /// not negative. Unused bits of the last byte are 0.
    ///
    /// # Shapes
    /// `images` is as for [`Self::encode`]; `codes`: `[n, ceil(bits / 8)]`.
    ///
    /// # Errors
    /// As [`Self::encode_into`], and [`Error::NotANumber`].
    pub fn encode_packed_into(&self, images: &[u8], codes: &mut [u8]) -> Result<()> {
        let (bits, bytes) = (self.bits(), self.bits().div_ceil(8));
        self.check_len(codes.len(), images, bytes)?;
        let step = self.input().inference_batch() * 4;
        let parts = images.chunks(step * self.input().len());
        for ((part, images), codes) in parts.enumerate().zip(codes.chunks_mut(step * bytes)) {
            let values = self.encode(images)?;
            if let Some(at) = values.iter().position(|value| value.is_nan()) {
                return Err(Error::NotANumber { image: part * step + at / bits, bit: at % bits });
            }
            for (values, code) in values.chunks_exact(bits).zip(codes.chunks_exact_mut(bytes)) {
                for (values, byte) in values.chunks(8).zip(code) {
                    let bits = values.iter().enumerate();
                    *byte = bits.map(|(bit, value)| u8::from(*value >= 0.0) << bit).sum();
                }
            }
        }
        Ok(())
    }

    fn check_len(&self, got: usize, images: &[u8], each: usize) -> Result<()> {
        let expected = self.input().count(images)? * each;
        if got != expected {
            let (got, expected) = (format!("{got} values"), format!("{expected}, {each} an image"));
            return Err(Error::Config { name: "codes", got, expected });
        }
        Ok(())
    }

    /// The class that each code is nearest to, by the loss that the network was trained with; `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `codes`: `[n, bits]` as [`Self::encode`] returns them; returns `[n]` labels.
    ///
    /// # Errors
    /// When the number of values is not a multiple of the bits.
    pub fn classify(&self, codes: &[f32]) -> Result<Option<Vec<u32>>> {
        let classes = self.objective.classify(&self.outputs(codes)?)?;
        Ok(classes.map(|classes| classes.to_vec1()).transpose()?)
    }

    /// A score of each class for each image, by the classifier of the loss. The classes are in the order of their posterior probabilities.
    /// `None` for pairwise losses, which know no classes.
    ///
    /// # Shapes
    /// `codes`: `[n, K]` as [`Self::encode`] returns them; returns `[n, C]`, row-major.
    ///
    /// # Errors
    /// When the number of values is not a multiple of K.
    pub fn class_scores(&self, codes: &[f32]) -> Result<Option<Vec<f32>>> {
        let scores = self.objective.class_scores(&self.outputs(codes)?)?;
        Ok(scores.map(|scores| scores.flatten_all()?.to_vec1()).transpose()?)
    }

    /// Codes as an output of the hash layer, `[n, bits]`.
    fn outputs(&self, codes: &[f32]) -> Result<Tensor> {
        let bits = self.bits();
        Ok(Tensor::from_slice(codes, (codes.len() / bits, bits), &self.device)?)
    }
}
