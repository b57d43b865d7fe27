//! data/manifest.toml: which sets exist, where they come from, and the size and SHA-256 of every file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::digest::Digest;

/// The whole manifest, checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(rename = "dataset")]
    pub(crate) datasets: Vec<Dataset>,
}

/// One dataset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) licence: String,
    pub(crate) homepage: String,
    pub(crate) description: String,
    pub(crate) source: Source,
    pub(crate) files: Vec<FileEntry>,
}

/// Where a dataset is downloaded from, always at a pinned commit.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Source {
    /// A dataset repository of the Hugging Face hub.
    Hub { repo: String, revision: String },
    /// Files below an address in which `{revision}` stands for the commit.
    Url { base: String, revision: String },
}

/// One file; `path` is its place both in the source and below data/NAME/.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{}: not a valid manifest", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for dataset in &manifest.datasets {
            dataset.check().with_context(|| format!("dataset {:?}", dataset.name))?;
            ensure!(names.insert(&dataset.name), "dataset {:?} is listed twice", dataset.name);
        }
        Ok(manifest)
    }

    /// The dataset called `name`; else a message with the nearest name.
    pub(crate) fn find(&self, name: &str) -> Result<&Dataset, String> {
        if let Some(dataset) = self.datasets.iter().find(|dataset| dataset.name == name) {
            return Ok(dataset);
        }
        let known: Vec<&str> = self.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
        let nearest = known.iter().min_by_key(|known| edits(name, known)).copied();
        let close = nearest.filter(|nearest| edits(name, nearest) <= nearest.len() / 2);
        let hint = close.map_or(String::new(), |nearest| format!(" did you mean `{nearest}`?"));
        Err(format!("no dataset is called `{name}`;{hint} known: {}", known.join(", ")))
    }
}

impl Dataset {
    /// Of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !self.name.is_empty() && self.name.chars().all(plain),
            "a name is made of a-z, 0-9 and -"
        );
        ensure!(!self.files.is_empty(), "no files");
        let revision = self.source.revision();
        ensure!(
            is_hex(revision, 40),
            "revision {revision:?}: a full commit of 40 hexadecimal digits is needed"
        );
        if let Source::Url { base, .. } = &self.source {
            ensure!(
                base.contains("{revision}") && base.ends_with('/'),
                "base {base:?}: give .../{{revision}}/.../"
            );
        }
        let mut paths = BTreeSet::new();
        for file in &self.files {
            let path = Path::new(&file.path);
            let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
            ensure!(
                inside && !file.path.is_empty(),
                "path {:?} leaves the dataset's directory",
                file.path
            );
            ensure!(paths.insert(&file.path), "path {:?} is listed twice", file.path);
            ensure!(
                is_hex(&file.sha256, 64),
                "{}: sha256 {:?} is not 64 hexadecimal digits",
                file.path,
                file.sha256
            );
        }
        Ok(())
    }
}

impl Source {
    pub(crate) fn revision(&self) -> &str {
        match self {
            Self::Hub { revision, .. } | Self::Url { revision, .. } => revision,
        }
    }

    /// What provenance files and messages call it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Hub { repo, .. } => format!("hub:{repo}"),
            Self::Url { base, revision } => base.replace("{revision}", revision),
        }
    }
}

impl FileEntry {
    pub(crate) fn digest(&self) -> Digest {
        Digest { size: self.size, sha256: self.sha256.clone() }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The least number of characters to insert, delete or replace to get from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[dataset]]
name = "tiny"
title = "Tiny"
licence = "MIT"
homepage = "https://example.org"
description = "A set"
source = { kind = "url", base = "https://example.org/{revision}/", revision = "0123456789012345678901234567890123456789" }
files = [{ path = "sub/a.bin", size = 3, sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }]
"#;

    #[test]
    fn the_repositorys_own_manifest_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/manifest.toml");
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(manifest.find("fashion-mnist").unwrap().files.len(), 4);
        assert_eq!(manifest.find("cifar10").unwrap().files.len(), 2);
    }

    #[test]
    fn reads_a_manifest_and_describes_its_source() {
        let manifest = Manifest::parse(GOOD).unwrap();
        let tiny = manifest.find("tiny").unwrap();
        assert_eq!(tiny.bytes(), 3);
        assert_eq!(
            tiny.source.describe(),
            "https://example.org/0123456789012345678901234567890123456789/"
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        let cases = [
            ("name = \"tiny\"", "name = \"Ti ny\"", "a-z, 0-9 and -"),
            ("name = \"tiny\"", "name = \"tiny\"\ncolour = 3", "colour"),
            ("sub/a.bin", "../a.bin", "leaves the dataset's directory"),
            ("sub/a.bin", "/etc/a.bin", "leaves the dataset's directory"),
            ("sub/a.bin", "", "leaves the dataset's directory"),
            ("ba7816bf", "BA7816bf", "not 64 hexadecimal digits"),
            ("ad\" }", "\" }", "not 64 hexadecimal digits"),
            ("56789\"", "main\"", "full commit"),
            ("{revision}/", "latest/", "give .../{revision}/.../"),
            ("kind = \"url\"", "kind = \"ftp\"", "ftp"),
            ("size = 3", "size = -3", "size"),
        ];
        for (good, bad, expected) in cases {
            assert!(GOOD.contains(good), "{good}");
            let error = format!("{:#}", Manifest::parse(&GOOD.replacen(good, bad, 1)).unwrap_err());
            assert!(error.contains(expected), "{bad}: {error}");
        }
        let files = GOOD.find("files").unwrap();
        let empty = format!("{}files = []", &GOOD[..files]);
        assert!(format!("{:#}", Manifest::parse(&empty).unwrap_err()).contains("no files"));
        let twice = format!("{GOOD}{GOOD}");
        assert!(format!("{:#}", Manifest::parse(&twice).unwrap_err()).contains("listed twice"));
        let entry = &GOOD[files + "files = [".len()..GOOD.rfind(']').unwrap()];
        let doubled = GOOD.replacen(entry, &format!("{entry}, {entry}"), 1);
        assert!(format!("{:#}", Manifest::parse(&doubled).unwrap_err()).contains("listed twice"));
        assert!(
            Manifest::read(Path::new("no/manifest.toml"))
                .unwrap_err()
                .to_string()
                .contains("no/manifest.toml")
        );
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert!(manifest.find("tinny").unwrap_err().contains("did you mean `tiny`?"));
        let far = manifest.find("imagenet").unwrap_err();
        assert!(!far.contains("did you mean") && far.contains("known: tiny"), "{far}");
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
