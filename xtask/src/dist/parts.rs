//! What the programs are made of: every crate that is linked into them, as `cargo tree` tells it for the very build; with its licence,
//! its folder and its checksum. Build scripts, procedural macros and tests are no part of a program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step::Step;
use crate::workspace::Workspace;

/// Name and version.
pub(super) type Key = (String, String);

/// A linked crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) key: Key,
    pub(super) description: String,
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    /// SHA-256 of the package in the registry; a crate of the workspace has none.
    pub(super) checksum: Option<String>,
    pub(super) folder: PathBuf,
    pub(super) needs: BTreeSet<Key>,
}

/// All parts of the programs of `packages` on `target`, by name and version.
pub(super) fn parts(packages: &[&str], target: &str, workspace: &Workspace) -> Result<Vec<Part>> {
    let selected = packages.iter().flat_map(|&package| ["--package", package]);
    let tree = Step::cargo("list crates", workspace)
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--target", target])
        .args(["--prefix", "depth", "--format", "{p}"])
        .args(selected)
        .capture()?;
    let metadata = Step::cargo("read manifests", workspace).args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        target,
    ]);
    let lock = std::fs::read_to_string(workspace.root().join("Cargo.lock"))
        .context("cannot read Cargo.lock")?;
    joined(edges(&tree)?, metadata.capture_json()?, &lock)
}

/// What each crate of a tree needs. A line is a depth, a name, ` v` and a version, and perhaps more.
fn edges(tree: &str) -> Result<BTreeMap<Key, BTreeSet<Key>>> {
    let mut edges = BTreeMap::<Key, BTreeSet<Key>>::new();
    let mut above: Vec<Key> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let crate_at = |line: &str| {
            let digits = line.find(|c: char| !c.is_ascii_digit())?;
            let mut words = line[digits..].split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some((line[..digits].parse::<usize>().ok()?, (name.to_owned(), version.to_owned())))
        };
        let (depth, key) =
            crate_at(line).with_context(|| format!("`cargo tree` printed {line:?}: no crate"))?;
        above.truncate(depth);
        if let Some(parent) = above.last() {
            edges.entry(parent.clone()).or_default().insert(key.clone());
        }
        edges.entry(key.clone()).or_default();
        above.push(key);
    }
    Ok(edges)
}

/// The part of `cargo metadata` that is read.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn joined(
    edges: BTreeMap<Key, BTreeSet<Key>>,
    metadata: Metadata,
    lock: &str,
) -> Result<Vec<Part>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock is not as cargo writes it")?;
    let checksum = |key: &Key| {
        let same = |locked: &&Locked| locked.name == key.0 && locked.version == key.1;
        lock.package.iter().find(same)?.checksum.clone()
    };
    let part = |(key, needs): (Key, BTreeSet<Key>)| {
        let same = |package: &&Package| package.name == key.0 && package.version == key.1;
        let package = metadata.packages.iter().find(same);
        let package =
            package.with_context(|| format!("`cargo metadata` knows no {} {}", key.0, key.1))?;
        Ok(Part {
            description: package.description.clone().unwrap_or_default().trim().to_owned(),
            // `/` for `OR`, as manifests wrote it once, is no SPDX.
            licence: package.license.as_ref().map(|licence| licence.replace('/', " OR ")),
            checksum: checksum(&key),
            folder: package.manifest_path.parent().unwrap_or(Path::new("")).to_path_buf(),
            key,
            needs,
        })
    };
    edges.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "1.0.0".to_owned())
    }

    const TREE: &str =
        "0a v1.0.0 (/repo/a)\n1b v1.0.0\n2c v1.0.0\n1c v1.0.0 (*)\n\n0d v1.0.0\n1b v1.0.0 (*)\n";

    #[test]
    fn edges_follow_depths_and_a_crate_shown_before_keeps_its_own() {
        let edges = edges(TREE).unwrap();
        assert_eq!(edges.len(), 4);
        assert_eq!(edges[&key("a")], BTreeSet::from([key("b"), key("c")]));
        assert_eq!(edges[&key("b")], BTreeSet::from([key("c")]));
        assert_eq!(edges[&key("d")], BTreeSet::from([key("b")]));
        assert_eq!(edges[&key("c")], BTreeSet::new());
    }

    #[test]
    fn other_lines_are_no_crates() {
        for line in ["a v1.0.0", "0a", "0a 1.0.0", "0"] {
            assert!(super::edges(line).unwrap_err().to_string().contains("no crate"), "{line}");
        }
    }

    #[test]
    fn a_part_has_what_manifest_and_lock_say() {
        let package = |name: &str| {
            serde_json::json!({ "name": name, "version": "1.0.0", "description": " D.\n", "license": "MIT/Apache-2.0",
                "manifest_path": format!("/{name}/Cargo.toml") })
        };
        let metadata = |names: &[&str]| {
            let packages: Vec<_> = names.iter().map(|name| package(name)).collect();
            serde_json::from_value(serde_json::json!({ "packages": packages })).unwrap()
        };
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n";
        let all = metadata(&["d", "c", "b", "a"]);
        let parts = joined(edges(TREE).unwrap(), all, lock).unwrap();
        let b = &parts[1];
        assert_eq!((b.key.clone(), b.description.as_str()), (key("b"), "D."));
        assert_eq!(b.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(b.checksum.as_deref(), Some("00ff"));
        assert_eq!((b.folder.as_path(), &parts[0].checksum), (Path::new("/b"), &None));

        let error = joined(edges(TREE).unwrap(), metadata(&["a"]), lock).unwrap_err();
        assert!(error.to_string().contains("knows no b 1.0.0"), "{error}");
        assert!(joined(BTreeMap::new(), metadata(&[]), "[").is_err());
    }
}
