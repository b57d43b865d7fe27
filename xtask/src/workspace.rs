//! Where the workspace is. All paths that xtask shows or writes are relative to its root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The root directory of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that cargo runs xtask from, else the one around the current directory.
    pub(crate) fn find() -> Result<Self> {
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package),
            None => env::current_dir().context("cannot tell the current directory")?,
        };
        match start.ancestors().find(|directory| is_workspace(directory)) {
            Some(root) => Ok(Self::at(root)),
            None => bail!(
                "{}: no Cargo workspace here or above; run inside the repository",
                start.display()
            ),
        }
    }

    /// The workspace at `root`, unchecked.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `path` as seen from the root, for messages.
    pub(crate) fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// `path` as seen from the root of the file system: a step runs in the root of the workspace.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}: not a usable path", path.display()))
}

fn is_workspace(directory: &Path) -> bool {
    fs::read_to_string(directory.join("Cargo.toml"))
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_workspace_from_a_member() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root().join("xtask/Cargo.toml").is_file());
        let path = workspace.root().join("runs/latest");
        assert_eq!(workspace.show(&path).to_string(), "runs/latest");
    }
}
