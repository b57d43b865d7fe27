//! Pretrained backbones: a checkpoint of torchvision, of timm's `tv_in1k`, of `efficientnet_pytorch` or of `transformers`, into the backbone of a network. Networks that this
//! crate trained are [`crate::checkpoint`]'s; where files come from is the caller's business.

mod names;
mod pickle;
mod positions;
mod pth;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Shape, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::checkpoint::is_lfs_pointer;
use crate::error::{Error, Result};
use crate::init::Parameters;

/// The part of a network's names that pretrained weights fill.
pub const BACKBONE: &str = "backbone.";

/// The tensors of a checkpoint, in f32 on the CPU, by torchvision's names.
#[derive(Debug, Clone)]
pub struct Pretrained {
    sha256: String,
    tensors: BTreeMap<String, Tensor>,
}

/// What became of a checkpoint's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// How many the backbone took.
    pub loaded: usize,
    /// Those of the classifier, which the hash layer replaces, and of parts that make no features of images, such as text towers.
    pub unused: Vec<String>,
}

impl Pretrained {
    /// Reads a checkpoint: safetensors, or PyTorch's `.pth` with a state dict, which may lie under `state_dict` or `model`. The
    /// content tells them apart. f16, bf16 and f64 become f32; tensors of integers are left out.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Pretrained`] where it is damaged or something else.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(&std::fs::read(path).map_err(Error::io(path))?, path)
    }

    /// As [`Self::read`], of a file's content; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let tensors = if bytes.starts_with(pth::ZIP) {
            pth::read_zip(bytes)
        } else if bytes.starts_with(pth::LEGACY) {
            pth::read_legacy(bytes)
        } else {
            read_safetensors(bytes)
        };
        let wrong = |reason| Error::Pretrained { path: path.to_owned(), reason };
        let tensors = names::without_prefix(tensors.map_err(wrong)?);
        Ok(Self { sha256: hex(&Sha256::digest(bytes)), tensors })
    }

    /// SHA-256 of the file, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The tensors by name, without what stood before every name and without batch norms' counters.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Overwrites the variables under `backbone.`. The checkpoint's classifier and parts for something else than images are left over. A
    /// transformer's table of places is interpolated where the images have another size.
    ///
    /// # Errors
    /// [`Error::Weights`] lists every other tensor that is missing, unknown or misshapen; then nothing was changed.
    pub fn load_into(&self, parameters: &Parameters) -> Result<Loaded> {
        let vars = parameters.all().into_iter();
        let shape = |(name, var): (String, candle_core::Var)| {
            Some((name.strip_prefix(BACKBONE)?.to_owned(), var.shape().clone()))
        };
        let expected: BTreeMap<String, Shape> = vars.filter_map(shape).collect();
        let names::Fitted { tensors, unused } = names::fit(&self.tensors, &expected)?;
        let loaded = tensors.len();
        let tensors =
            tensors.into_iter().map(|(name, tensor)| (format!("{BACKBONE}{name}"), tensor));
        match parameters.load_under(BACKBONE, &tensors.collect()) {
            Ok(()) => Ok(Loaded { loaded, unused }),
            Err(Error::Weights { missing, unknown, misshapen, .. }) => {
                let looks_like = names::looks_like(&self.tensors);
                Err(Error::Weights { missing, unknown, misshapen, looks_like })
            }
            Err(other) => Err(other),
        }
    }
}

fn read_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let hint = match bytes {
        [b'<', ..] => " (a web page came instead of the file)",
        pointer if is_lfs_pointer(pointer) => {
            " (a Git LFS pointer: `git lfs pull` fetches the file)"
        }
        _ => "; it is neither safetensors nor a PyTorch checkpoint, or damaged",
    };
    let file = SafeTensors::deserialize(bytes).map_err(|error| format!("{error}{hint}"))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors().into_iter().filter(|(name, _)| !is_counter(name)) {
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F64 => DType::F64,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            _ => continue,
        };
        let tensor = to_f32(view.data(), dtype, &Shape::from(view.shape()));
        tensors.insert(name.clone(), tensor.map_err(|error| format!("{name}: {error}"))?);
    }
    match tensors.is_empty() {
        true => Err("it holds no tensors of floating-point numbers".to_owned()),
        false => Ok(tensors),
    }
}

/// Batch norms count their batches; nothing here needs that.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn to_f32(bytes: &[u8], dtype: DType, shape: &Shape) -> candle_core::Result<Tensor> {
    Tensor::from_raw_buffer(bytes, dtype, shape.dims(), &Device::Cpu)?.to_dtype(DType::F32)
}
