//! Sources of pretrained weights: a file, a folder, or the Hugging Face hub (`hub.rs`). `dhih-model` reads their content.

mod hub;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dhih_model::Pretrained;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use self::hub::HUB_DIR;
use self::hub::HubFile;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// `FILE`, the folder of a model, or `hf:OWNER/REPO[@REVISION][/FILE]`, each optionally followed by `#sha256=HEX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WeightsSource {
    place: Place,
    sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Hub(HubFile),
}

impl WeightsSource {
    /// Reads the weights, after fetching them if they are on the hub and not on disk yet.
    ///
    /// # Errors
    /// When they cannot be fetched or read, are damaged, or have another SHA-256 than the expected one.
    pub fn open(&self, progress: Progress) -> Result<Pretrained> {
        match &self.place {
            Place::File(path) => self.read(path),
            Place::Hub(file) => {
                let check = |path: &Path| self.read(path).map(drop);
                let path = file.place_weights(self, progress, check)?;
                progress.line(format!("weights: {}", path.display()));
                self.read(&path)
            }
        }
    }

    /// The bytes and the path of a file that is not a checkpoint, such as a tokenizer. It is fetched like weights.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn bytes(&self, progress: Progress) -> Result<(Vec<u8>, PathBuf)> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            self.check(path, &dhih_index::to_hex(&Sha256::digest(&bytes)))?;
            Ok(bytes)
        };
        let path = match &self.place {
            Place::File(path) => path.clone(),
            Place::Hub(file) => file.place(self, progress, |path| read(path).map(drop))?,
        };
        Ok((read(&path)?, path))
    }

    /// The path of the weights on disk; `None` where they have to be fetched.
    pub fn at_hand(&self) -> Option<PathBuf> {
        match &self.place {
            Place::File(path) => path.exists().then(|| path.clone()),
            Place::Hub(file) => file.kept_weights(),
        }
    }

    /// The file of another name beside this one: in the same folder, or in the same revision of a repository.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let place = match &self.place {
            Place::File(folder) if folder.is_dir() => Place::File(folder.join(name)),
            Place::File(path) => Place::File(path.with_file_name(name)),
            Place::Hub(file) => Place::Hub(file.beside(name)),
        };
        Self { place, sha256: None }
    }

    fn check(&self, path: &Path, got: &str) -> Result<()> {
        match &self.sha256 {
            Some(expected) if expected != got => {
                let path = path.display();
                let reason = format!("the SHA-256 of {path} is {got}; take an intact copy");
                Err(Error::weights(self, reason))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, path: &Path) -> Result<Pretrained> {
        let weights = Pretrained::read(path)?;
        self.check(path, weights.sha256())?;
        Ok(weights)
    }
}

impl FromStr for WeightsSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |expected: &str| Error::Config {
            name: "weights",
            got: text.to_owned(),
            expected: expected.to_owned(),
        };
        let (place, sha256) = match text.rsplit_once("#sha256=") {
            Some((place, hex)) => (place, Some(hex.to_ascii_lowercase())),
            None => (text, None),
        };
        let is_digest =
            |hex: &String| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if sha256.as_ref().is_some_and(|hex| !is_digest(hex)) {
            return Err(wrong("64 hexadecimal digits after #sha256="));
        }
        let place = match place.strip_prefix("hf:") {
            Some(hub) => Place::Hub(HubFile::parse(hub).ok_or_else(|| {
                wrong("hf:OWNER/REPO, hf:OWNER/REPO@REVISION or one of these with /FILE behind it")
            })?),
            None if place.is_empty() => return Err(wrong("a file, or hf:OWNER/REPO")),
            None => Place::File(PathBuf::from(place)),
        };
        Ok(Self { place, sha256 })
    }
}

impl fmt::Display for WeightsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "{}", path.display())?,
            Place::Hub(file) => write!(f, "{file}")?,
        }
        self.sha256.iter().try_for_each(|hex| write!(f, "#sha256={hex}"))
    }
}

impl TryFrom<String> for WeightsSource {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<WeightsSource> for String {
    fn from(source: WeightsSource) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed_and_shown_with_their_defaults() {
        let digest = "ab".repeat(32);
        for (text, shown) in [
            ("a/b.pth", "a/b.pth".to_owned()),
            ("hf:timm/resnet18.tv_in1k", "hf:timm/resnet18.tv_in1k@main/model.safetensors".into()),
            ("hf:o/r@abc", "hf:o/r@abc/model.safetensors".into()),
            ("hf:o/r@abc/sub/w.pth", "hf:o/r@abc/sub/w.pth".into()),
            ("hf:o/r/w.pth", "hf:o/r@main/w.pth".into()),
            (&format!("w.pth#sha256={}", digest.to_uppercase()), format!("w.pth#sha256={digest}")),
        ] {
            let source: WeightsSource = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(shown.parse::<WeightsSource>().unwrap(), source);
        }
    }

    #[test]
    fn a_tokenizer_is_looked_for_beside_the_weights() {
        for (weights, tokenizer) in [
            ("a/b.safetensors", "a/t.json"),
            ("b.safetensors", "t.json"),
            ("hf:o/r", "hf:o/r@main/t.json"),
            (&format!("hf:o/r@abc/sub/w.pth#sha256={}", "ab".repeat(32)), "hf:o/r@abc/sub/t.json"),
        ] {
            let weights: WeightsSource = weights.parse().unwrap();
            assert_eq!(weights.beside("t.json").to_string(), tokenizer);
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let bad =
            ["", "hf:", "hf:owner", "hf:o/r/../x", "hf:o/..", "hf:o/r@", "hf:/r", "hf:o/r//x"];
        for text in bad.into_iter().chain(["w.pth#sha256=12", "#sha256=", "hf:o/r?x=1"]) {
            let error = text.parse::<WeightsSource>().unwrap_err().to_string();
            assert!(error.starts_with("weights is "), "{error}");
        }
    }
}
