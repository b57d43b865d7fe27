//! The subcommands, one in each file: flags, calls into the library, output.

pub(crate) mod bench;
pub(crate) mod calibrate;
pub(crate) mod codec;
pub(crate) mod dedup;
pub(crate) mod encode;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod photos;
mod pictures;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod sweep;
pub(crate) mod train;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use dhih_model::walk::text_of;
use dhih_train::RunDir;
use serde::{Serialize, Serializer};

/// Opens the named run, or else the last one, which must have its evaluation. Reports a `runs/latest` that is not a link.
pub(crate) fn open_run(named: Option<&Path>) -> Result<RunDir> {
    let last = Path::new("runs/latest");
    if named.is_none() {
        dhih_manual::warn_of_stale_latest(last);
    }
    let run = RunDir::open(named.unwrap_or(last))?;
    if run.file(RunDir::EVALUATION).symlink_metadata().is_err() {
        let path = run.path().to_owned();
        let reason = "the run has no evaluation: it is not finished".to_owned();
        let cure = format!("`dhih-train --resume {}` finishes it", path.display());
        return Err(dhih_train::Error::Data { path, reason, cure }.into());
    }
    Ok(run)
}

/// Writes text to stdout. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Serializes a path as text. One that is not UTF-8, which JSON cannot have, is written as in lists of files.
pub(crate) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => serializer.serialize_str(&text_of(path.as_os_str())),
    }
}

/// Writes one JSON object on a line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value).context("the result has no JSON form")?;
    text.push('\n');
    print(&text)
}
