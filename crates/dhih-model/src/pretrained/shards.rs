//! Checkpoints of several files: an index, `model.safetensors.index.json`, says which tensor is in which safetensors file beside it. The Hugging
//! Face hub stores large models in this form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::files::hex;

/// The names of the tensors, by the file that holds them.
pub(super) struct Index(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
struct Json {
    weight_map: BTreeMap<String, String>,
}

/// The most names that a message shows.
const SHOWN: usize = 5;

impl Index {
    /// Whether the bytes are an index. No checkpoint begins with a brace.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.trim_ascii_start().starts_with(b"{")
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| {
            format!("no index of safetensors files, which is JSON with a weight_map: {error}")
        })?;
        let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tensor, file) in json.weight_map {
            // A name becomes a path in the folder of the index, so that it must not lead elsewhere.
            let is_plain =
                !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\']);
            if !is_plain {
                return Err(format!(
                    "{tensor} is in {file:?}, which is no name of a file beside the index"
                ));
            }
            files.entry(file).or_default().insert(tensor);
        }
        match files.is_empty() {
            true => Err("its weight_map is empty".to_owned()),
            false => Ok(Self(files)),
        }
    }

    /// The names of the files, in order.
    pub(super) fn files(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Reads the tensors of all files from the folder of `path`, the index whose content is `bytes`. Also returns the digest of all of them:
    /// that of the lines that `sha256sum` prints for index and files, in the order of their names.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        path: &Path,
    ) -> Result<(BTreeMap<String, Tensor>, String), String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut digests = BTreeMap::from([(name, hex(&Sha256::digest(bytes)))]);
        let mut tensors = BTreeMap::new();
        for (file, expected) in &self.0 {
            let path = path.with_file_name(file);
            let bytes = std::fs::read(&path).map_err(|error| {
                format!("its file {file} cannot be read: {error}; bring all {} files", self.0.len())
            })?;
            let of_file = |reason| format!("its file {file}: {reason}");
            let names = super::names_in(&bytes).map_err(of_file)?;
            differing(expected, &names).map_err(of_file)?;
            tensors.extend(super::floats(&bytes).map_err(of_file)?);
            digests.insert(file.clone(), hex(&Sha256::digest(&bytes)));
        }
        let lines: String = digests.iter().map(|(file, sha)| format!("{sha}  {file}\n")).collect();
        Ok((tensors, hex(&Sha256::digest(lines))))
    }
}

/// Checks that a file has exactly the tensors that the index expects there.
fn differing(expected: &BTreeSet<String>, got: &BTreeSet<String>) -> Result<(), String> {
    let some = |names: Vec<&String>| {
        let more = names.len().saturating_sub(SHOWN);
        let shown =
            names.into_iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    };
    let missing: Vec<&String> = expected.difference(got).collect();
    let unknown: Vec<&String> = got.difference(expected).collect();
    match (missing.is_empty(), unknown.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("the index has tensors there that it lacks: {}", some(missing))),
        (true, false) => Err(format!("it holds tensors that the index has not: {}", some(unknown))),
    }
}
