//! Where pretrained weights come from: a file, or the Hugging Face hub. What is in them is `dhih-model`'s business.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dhih_model::Pretrained;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::progress::Progress;

/// `FILE` or `hf:OWNER/REPO[@REVISION][/FILE]`, each with `#sha256=HEX` behind it or without.
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

/// A file of a model repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HubFile {
    /// `OWNER/NAME`.
    repo: String,
    revision: String,
    path: String,
}

/// Where files of the hub are kept.
const HUB_DIR: &str = "data/weights";

impl WeightsSource {
    /// Reads the weights, fetching them first where they are on the hub and not on disk yet.
    ///
    /// # Errors
    /// When they cannot be had, are damaged, or have another SHA-256 than the expected one.
    pub fn open(&self, progress: Progress) -> Result<Pretrained> {
        let path = self.place(progress, |path| self.read(path).map(drop))?;
        if let Place::Hub(_) = self.place {
            progress.line(format!("weights: {}", path.display()));
        }
        self.read(&path)
    }

    /// The bytes of a file that is no weights, such as a tokenizer, with its path; fetched first as weights are.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn bytes(&self, progress: Progress) -> Result<(Vec<u8>, PathBuf)> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            self.check(path, &dhih_index::to_hex(&Sha256::digest(&bytes)))?;
            Ok(bytes)
        };
        let path = self.place(progress, |path| read(path).map(drop))?;
        Ok((read(&path)?, path))
    }

    /// The file of another name beside this one: in the same folder, or in the same revision of a repository.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let place = match &self.place {
            Place::File(path) => Place::File(path.with_file_name(name)),
            Place::Hub(file) => {
                let path = match file.path.rsplit_once('/') {
                    Some((folder, _)) => format!("{folder}/{name}"),
                    None => name.to_owned(),
                };
                Place::Hub(HubFile { path, ..file.clone() })
            }
        };
        Self { place, sha256: None }
    }

    /// Where the file is on disk, fetched first where it is on the hub and not there yet; `check` says whether what came is of use.
    fn place(
        &self,
        progress: Progress,
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        match &self.place {
            Place::File(path) => Ok(path.clone()),
            Place::Hub(file) => {
                let path = file.kept();
                if !path.exists() {
                    self.fetch(file, &path, (progress, check))?;
                }
                Ok(path)
            }
        }
    }

    fn check(&self, path: &Path, got: &str) -> Result<()> {
        match &self.sha256 {
            Some(expected) if expected != got => {
                let path = path.display();
                let reason = format!("the SHA-256 of {path} is {got}; take an intact copy");
                Err(Error::weights(Some(self), reason))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, path: &Path) -> Result<Pretrained> {
        let weights = Pretrained::read(path)?;
        self.check(path, weights.sha256())?;
        Ok(weights)
    }

    /// Puts the file under `path`, once it is complete and can be read.
    #[cfg(feature = "hub")]
    fn fetch(
        &self,
        file: &HubFile,
        path: &Path,
        (progress, check): (Progress, impl FnOnce(&Path) -> Result<()>),
    ) -> Result<()> {
        let failed = |reason: String| {
            let cure = "or download the file and give its path";
            Error::weights(Some(self), format!("{reason}; try again, {cure}"))
        };
        let offline = std::env::var_os("HF_HUB_OFFLINE");
        if offline.is_some_and(|value| !value.is_empty() && value != "0") {
            return Err(failed("HF_HUB_OFFLINE is set, so nothing is downloaded".to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new(HUB_DIR));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        // Two runs that fetch at once must not write into one file.
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        progress.line(format!("fetching {self}"));
        let HubFile { repo, revision, path: name } = file;
        let hub =
            dhih_download::HubFile { kind: dhih_download::Kind::Model, repo, revision, path: name };
        let source = dhih_download::Source::Hub(hub);
        let done = dhih_download::download(source, &temporary, dhih_download::STALL)
            .map_err(|error| failed(error.reason()))
            .and_then(|()| check(&temporary))
            .and_then(|()| std::fs::rename(&temporary, path).map_err(Error::io(path)));
        if done.is_err() {
            // What came is of no use to anybody.
            let _ = std::fs::remove_file(&temporary);
        }
        done
    }

    #[cfg(not(feature = "hub"))]
    fn fetch(
        &self,
        _: &HubFile,
        path: &Path,
        _: (Progress, impl FnOnce(&Path) -> Result<()>),
    ) -> Result<()> {
        let reason = format!(
            "{} is absent, and this program was built without the feature `hub`; build it with \
             `--features hub`, or download the file and give its path",
            path.display()
        );
        Err(Error::weights(Some(self), reason))
    }
}

impl HubFile {
    fn kept(&self) -> PathBuf {
        Path::new(HUB_DIR).join(&self.repo).join(&self.revision).join(&self.path)
    }

    /// `OWNER/REPO[@REVISION][/FILE]`; `None` where it is something else.
    fn parse(text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let (repo, path) = rest.split_once('/').unwrap_or((rest, "model.safetensors"));
        let (name, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        // The parts become a path: none may lead out of its folder.
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let parts = [owner, name, revision].into_iter().chain(path.split('/'));
        let (revision, path) = (revision.to_owned(), path.to_owned());
        parts.into_iter().all(plain).then(|| Self {
            repo: format!("{owner}/{name}"),
            revision,
            path,
        })
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
            Place::Hub(HubFile { repo, revision, path }) => {
                write!(f, "hf:{repo}@{revision}/{path}")?
            }
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
