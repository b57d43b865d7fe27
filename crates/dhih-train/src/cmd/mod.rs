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
use dhih_train::RunDir;
use serde::Serialize;

/// Opens the named run, or else the last one. Reports a `runs/latest` that is not a link.
pub(crate) fn open_run(named: Option<&Path>) -> Result<RunDir> {
    let last = Path::new("runs/latest");
    if named.is_none() {
        dhih_manual::warn_of_stale_latest(last);
    }
    Ok(RunDir::open(named.unwrap_or(last))?)
}

/// Writes text to stdout. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Writes one JSON object on a line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value).context("the result has no JSON form")?;
    text.push('\n');
    print(&text)
}
