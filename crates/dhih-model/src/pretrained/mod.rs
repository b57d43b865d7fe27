//! Loads pretrained weights into the backbone of a network, from a checkpoint of torchvision, of timm's `tv_in1k`, of `efficientnet_pytorch` or
//! of `transformers`. [`crate::checkpoint`] reads networks that this crate trained. Downloading files is the caller's business.

mod names;
mod pickle;
mod positions;
mod pth;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Shape, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files::{hex, is_lfs_pointer};
use crate::image::InputShape;
pub use crate::init::BACKBONE;
use crate::init::Parameters;
use shards::Index;

/// The tensors of a checkpoint in f32 on the CPU, by torchvision's names.
#[derive(Debug, Clone)]
pub struct Pretrained {
    sha256: String,
    tensors: BTreeMap<String, Tensor>,
}

/// The result of loading a checkpoint into a backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The number of tensors that were loaded.
    pub loaded: usize,
    /// The names of tensors that were not used: those of the classifier, which the hash layer replaces, and of parts that compute no features of
    /// images, such as text towers.
    pub unused: Vec<String>,
}

impl Pretrained {
    /// The name of a checkpoint in a model's folder.
    pub const FILE: &str = "model.safetensors";
    /// The name of the index in a model's folder, where a checkpoint has several files.
    pub const INDEX: &str = "model.safetensors.index.json";

    /// Reads a checkpoint: safetensors, an index of several safetensors files beside it, or a `.pth` file of PyTorch with a state dict, which
    /// may be nested under `state_dict` or `model`. The format is recognised by the content. In a folder, [`Self::FILE`] is read, or else
    /// [`Self::INDEX`]. f16, bf16 and f64 are converted to f32, and tensors of integers are left out.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Pretrained`] where it is damaged or of another kind, where one of several files is
    /// missing, or where these hold other tensors than the index says.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { &in_folder(path)? } else { path };
        Self::from_bytes(&std::fs::read(path).map_err(Error::io(path))?, path)
    }

    /// As [`Self::read`], from the content of a file. The files of an index are read from the folder of `path`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |reason| Error::Pretrained { path: path.to_owned(), reason };
        let (tensors, sha256) = if Index::is_one(bytes) {
            Index::parse(bytes).and_then(|index| index.read(bytes, path)).map_err(wrong)?
        } else {
            let tensors = if bytes.starts_with(pth::ZIP) {
                pth::read_zip(bytes)
            } else if bytes.starts_with(pth::LEGACY) {
                pth::read_legacy(bytes)
            } else {
                floats(bytes)
            };
            (tensors.map_err(wrong)?, hex(&Sha256::digest(bytes)))
        };
        if tensors.is_empty() {
            return Err(wrong("it holds no tensors of floating-point numbers".to_owned()));
        }
        Ok(Self { sha256, tensors: names::without_prefix(tensors) })
    }

    /// The names of the files that an index refers to, in their order.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn files_of_index(path: &Path) -> Result<Vec<String>> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let wrong = |reason| Error::Pretrained { path: path.to_owned(), reason };
        Ok(Index::parse(&bytes).map_err(wrong)?.files())
    }

    /// SHA-256 of the file, in hex. For several files it is the SHA-256 of the lines that `sha256sum` prints for them and their index, in the
    /// order of their names, so that it covers every byte of them.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The tensors by name, without common prefixes and without the counters of batch norm.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Overwrites the variables under `backbone.` of a network that takes images of the shape `input`. The checkpoint's classifier, and parts that
    /// are not for images, are not used. The position embeddings of a transformer, which are taken as those of a square, are interpolated where the
    /// images have another size.
    ///
    /// # Errors
    /// [`Error::Weights`] lists every other tensor that is missing, unknown or misshapen. Nothing was changed then.
    pub fn load_into(&self, parameters: &Parameters, input: InputShape) -> Result<Loaded> {
        let vars = parameters.all().into_iter();
        let shape = |(name, var): (String, candle_core::Var)| {
            Some((name.strip_prefix(BACKBONE)?.to_owned(), var.shape().clone()))
        };
        let expected: BTreeMap<String, Shape> = vars.filter_map(shape).collect();
        let names::Fitted { tensors, unused } = names::fit(&self.tensors, &expected, input)?;
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

/// The path of the checkpoint in a folder.
fn in_folder(folder: &Path) -> Result<PathBuf> {
    let [file, index] = [Pretrained::FILE, Pretrained::INDEX].map(|name| folder.join(name));
    match (file.exists(), index.exists()) {
        (true, _) => Ok(file),
        (false, true) => Ok(index),
        (false, false) => {
            let names = format!("{} or {}", Pretrained::FILE, Pretrained::INDEX);
            let reason = format!("the folder has no {names}; name a file");
            Err(Error::Pretrained { path: folder.to_owned(), reason })
        }
    }
}

fn parse_safetensors(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    let hint = match bytes {
        [b'<', ..] => " (a web page came instead of the file)",
        pointer if is_lfs_pointer(pointer) => {
            " (a Git LFS pointer: `git lfs pull` fetches the file)"
        }
        _ => "; it is neither safetensors nor a PyTorch checkpoint, or damaged",
    };
    SafeTensors::deserialize(bytes).map_err(|error| format!("{error}{hint}"))
}

/// The names of all tensors of a safetensors file, whatever their type.
fn names_in(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    Ok(parse_safetensors(bytes)?.names().into_iter().map(str::to_owned).collect())
}

/// The tensors of a safetensors file, except those of integers.
fn floats(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = parse_safetensors(bytes)?;
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
    Ok(tensors)
}

/// Whether a tensor is batch norm's counter of batches, which is not needed here.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn to_f32(bytes: &[u8], dtype: DType, shape: &Shape) -> candle_core::Result<Tensor> {
    Tensor::from_raw_buffer(bytes, dtype, shape.dims(), &Device::Cpu)?.to_dtype(DType::F32)
}
