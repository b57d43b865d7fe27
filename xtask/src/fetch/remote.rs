//! Downloads: runs the downloader for one file, and trusts only the size and SHA-256 of what came.

use std::cell::OnceCell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Args;
use super::digest::Digest;
use super::manifest::{Dataset, FileEntry, Source};
use crate::cargo::Binaries;
use crate::workspace::Workspace;

const BINARY: &str = "xtask-download";

/// A file is asked for this often before it fails.
const ATTEMPTS: u32 = 2;

/// Builds the downloader when the first file is asked for.
#[derive(Debug)]
pub(crate) struct Downloader<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    program: OnceCell<PathBuf>,
}

impl<'a> Downloader<'a> {
    pub(crate) fn new(args: &'a Args, workspace: &'a Workspace) -> Self {
        Self { args, workspace, program: OnceCell::new() }
    }

    /// Downloads `file` to `to` and gives its digest, which is the manifest's.
    pub(crate) fn bring(&self, dataset: &Dataset, file: &FileEntry, to: &Path) -> Result<Digest> {
        let cure = format!(
            "`cargo xtask fetch-data {} --from DIR` takes it from a local directory",
            dataset.name
        );
        if env::var_os("HF_HUB_OFFLINE")
            .is_some_and(|value| !["", "0"].iter().any(|&off| value == off))
        {
            bail!("{}: HF_HUB_OFFLINE is set, so nothing is downloaded; {cure}", file.path);
        }
        let mut reason = String::new();
        for attempt in 1..=ATTEMPTS {
            eprintln!("{}: {} from {}", dataset.name, file.path, dataset.source.describe());
            match self.attempt(&dataset.source, file, to)? {
                Ok(found) => return Ok(found),
                Err(failed) => reason = failed,
            }
            if to.exists() {
                fs::remove_file(to).with_context(|| format!("cannot remove {}", to.display()))?;
            }
            if attempt < ATTEMPTS {
                eprintln!("{}: {reason}; trying once more", file.path);
            }
        }
        bail!("{}: {reason}; {cure}", file.path)
    }

    /// The inner error is the reason why this attempt brought nothing usable.
    fn attempt(
        &self,
        source: &Source,
        file: &FileEntry,
        to: &Path,
    ) -> Result<Result<Digest, String>> {
        let mut command = Command::new(self.program()?);
        match source {
            Source::Hub { repo, revision } => {
                command.args(["--repo", repo, "--revision", revision, "--path", &file.path])
            }
            Source::Url { .. } => {
                command.args(["--url", &format!("{}{}", source.describe(), file.path)])
            }
        };
        command
            .arg("--out")
            .arg(to)
            .args(["--stall-seconds", &self.args.stall_seconds.to_string()]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.context("cannot start the downloader")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return Ok(Err(if reason.is_empty() { output.status.to_string() } else { reason }));
        }
        let (found, expected) = (Digest::of_file(to)?, file.digest());
        Ok(if found == expected {
            Ok(found)
        } else {
            Err(format!("expected {expected}; got {found}{}", hint(to)))
        })
    }

    fn program(&self) -> Result<&Path> {
        if let Some(program) = self.program.get() {
            return Ok(program);
        }
        let program = match &self.args.downloader {
            Some(program) => program.clone(),
            None => {
                let package = ["--package", "xtask", "--features", "download", "--bin", BINARY];
                Binaries::build(self.workspace, &package)?.get(BINARY)?.to_path_buf()
            }
        };
        Ok(self.program.get_or_init(|| program))
    }
}

/// Says so when a web page came instead of the file.
fn hint(path: &Path) -> &'static str {
    let begins_as_page =
        fs::read(path).is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"<"));
    if begins_as_page { " (a web page came instead of the file)" } else { "" }
}
