//! Networks as files: safetensors files with the configuration and a digest in their metadata.
//!
//! The metadata are `dhih.version` (the version of the format, 2), `dhih.config` ([`NetworkConfig`] as JSON) and `dhih.digest`: SHA-256 over the
//! other metadata and the names, shapes and values of all tensors. A damaged file is thereby noticed and not used.
//!
//! The tensors are the parameters of the network by name, codewords among them. Files of older versions have no codewords; these are drawn again
//! from their seed, as they were for training.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::files::{hex, is_lfs_pointer, write_atomically};
use crate::network::Network;

const VERSION: &str = "2";
const VERSION_KEY: &str = "dhih.version";
const DIGEST_KEY: &str = "dhih.digest";
const CONFIG_KEY: &str = "dhih.config";

/// What a checkpoint file holds: named f32 tensors on the CPU, and named texts.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Texts by name; [`write()`] adds version and digest.
    pub metadata: BTreeMap<String, String>,
}

/// Writes the network under `path`, which appears only when it is complete, and returns the file's SHA-256 in hex.
///
/// # Errors
/// When the file cannot be written. An older file of that name is then still there.
pub fn save(network: &Network, path: &Path) -> Result<String> {
    let config = serde_json::to_string(network.config()).map_err(|e| damaged(path, e))?;
    let metadata = BTreeMap::from([(CONFIG_KEY.to_owned(), config)]);
    write(&Contents { tensors: network.parameters().snapshot()?, metadata }, path)
}

/// Reads and verifies a network, and returns it with the SHA-256 of the file in hex.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read, [`Error::Checkpoint`] where it is damaged, [`Error::Weights`] where its tensors are not those
/// that the configuration needs.
pub fn load(path: &Path, device: &Device) -> Result<(Network, String)> {
    let (contents, sha256) = read(path)?;
    let Some(config) = contents.metadata.get(CONFIG_KEY) else {
        return Err(damaged(path, "it holds no network configuration"));
    };
    let config: NetworkConfig = serde_json::from_str(config).map_err(|e| damaged(path, e))?;
    let network = Network::restored(config, contents.tensors, device);
    let network = network.map_err(|error| match error {
        Error::Tensor(error) => damaged(path, error),
        other => other,
    })?;
    Ok((network, sha256))
}

/// Writes tensors and texts under `path`, which appears only when it is complete, and returns the file's SHA-256 in hex.
///
/// # Errors
/// When the file cannot be written. An older file of that name is then still there.
pub fn write(contents: &Contents, path: &Path) -> Result<String> {
    let bytes = to_bytes(contents)?;
    write_atomically(path, &bytes)?;
    Ok(hex(&Sha256::digest(&bytes)))
}

/// Reads and verifies what [`write()`] wrote, and returns it with the SHA-256 of the file in hex.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read, [`Error::Pointer`] where it is a Git LFS pointer, [`Error::Checkpoint`] where it is damaged or
/// of another version.
pub fn read(path: &Path) -> Result<(Contents, String)> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    if is_lfs_pointer(&bytes) {
        return Err(Error::Pointer { path: path.to_owned() });
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, e))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut metadata: BTreeMap<String, String> = metadata.into_iter().collect();
    let mut take = |name: &str| {
        let missing = || damaged(path, format!("its metadata has no {name}"));
        metadata.remove(name).ok_or_else(missing)
    };
    let version = take(VERSION_KEY)?;
    if version != VERSION {
        let reason = format!("its format is version {version}, this program reads {VERSION}");
        return Err(damaged(path, reason));
    }
    let expected = take(DIGEST_KEY)?;
    let contents = Contents { tensors: read_tensors(&bytes, path)?, metadata };
    if expected != digest(&contents)? {
        return Err(damaged(path, "its digest does not match its content: the file was changed"));
    }
    Ok((contents, hex(&Sha256::digest(&bytes))))
}

fn damaged(path: &Path, reason: impl ToString) -> Error {
    Error::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}

fn read_tensors(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(path, e))?;
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(damaged(path, format!("{name} is {:?}, expected F32", view.dtype())));
        }
        let tensor = Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), &Device::Cpu)?;
        Ok((name, tensor))
    };
    file.tensors().into_iter().map(read).collect()
}

/// The bytes of a safetensors file: the length of the header, the header as JSON, the values. We write the header ourselves because the
/// safetensors library puts metadata in an order that changes from run to run, and equal contents have to give equal bytes.
fn to_bytes(contents: &Contents) -> Result<Vec<u8>> {
    let mut metadata = contents.metadata.clone();
    metadata.insert(VERSION_KEY.to_owned(), VERSION.to_owned());
    metadata.insert(DIGEST_KEY.to_owned(), digest(contents)?);
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    let mut values = Vec::new();
    for (name, tensor) in &contents.tensors {
        let start = values.len();
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            values.extend_from_slice(&value.to_le_bytes());
        }
        let offsets = [start, values.len()];
        let entry = json!({"dtype": "F32", "shape": tensor.dims(), "data_offsets": offsets});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The format aligns values to 8 bytes.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length, header.as_bytes(), &values].concat())
}

/// SHA-256 over metadata, names, shapes and values, in hex.
pub(crate) fn digest(contents: &Contents) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, text) in &contents.metadata {
        hash.update(format!("{name} {}\n{text}\n", text.len()));
    }
    for (name, tensor) in &contents.tensors {
        hash.update(format!("{name} {:?}\n", tensor.dims()));
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            hash.update(value.to_le_bytes());
        }
    }
    Ok(hex(&hash.finalize()))
}
