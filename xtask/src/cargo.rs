//! Building binaries of the workspace. Cargo itself says where each one lies, whatever its target directory is.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step::Step;
use crate::workspace::Workspace;

/// The binaries of one build, by name.
#[derive(Debug)]
pub(crate) struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// One release build; `args` select what. Cargo's progress goes to stderr.
    pub(crate) fn build(workspace: &Workspace, args: &[&str]) -> Result<Self> {
        let step = Step::cargo("build", workspace)
            .args(["build", "--release", "--message-format=json-render-diagnostics"])
            .args(args.iter().copied());
        Ok(Self::of_messages(&step.capture()?))
    }

    /// Those that cargo's messages tell of.
    pub(crate) fn of_messages(messages: &str) -> Self {
        Self(executables(messages))
    }

    /// Binaries that lie in `directory` already.
    pub(crate) fn in_directory(directory: &Path, names: &[&str]) -> Self {
        let place = |&name: &&str| {
            (name.to_owned(), directory.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
        };
        Self(names.iter().map(place).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.with_context(|| {
            format!("cargo built no binary called {name}; does its package still have that name?")
        })
    }
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The executables among cargo's messages, one JSON object a line; messages of other kinds are passed over.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.filter_map(|artifact| Some((artifact.target.name, artifact.executable?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_executables_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"dhih-train"},"executable":"/t/release/dhih-train"}
{"reason":"build-finished","success":true}"#;
        let binaries = Binaries(executables(messages));
        assert_eq!(binaries.get("dhih-train").unwrap(), Path::new("/t/release/dhih-train"));
        let error = binaries.get("serde").unwrap_err().to_string();
        assert!(error.contains("no binary called serde"), "{error}");
    }
}
