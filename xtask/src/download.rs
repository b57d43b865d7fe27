//! Flags of the downloader: one file a call. How it is brought is in `dhih-download`; the caller checks what came.

use std::path::PathBuf;
use std::time::Duration;

use dhih_download::{Error, HubFile, Kind, STALL, Source, download};

/// What to bring, and where to.
#[derive(Debug, clap::Parser)]
#[command(name = "xtask-download", about = "Brings one file; called by `cargo xtask fetch-data`")]
#[command(after_help = "Example:\n  xtask-download --url https://example.org/a.bin --out a.bin")]
pub struct Options {
    /// Dataset repository of the hub, OWNER/NAME
    #[arg(long, requires_all = ["revision", "path"], required_unless_present = "url")]
    repo: Option<String>,
    /// Commit of the repository
    #[arg(long)]
    revision: Option<String>,
    /// File in the repository
    #[arg(long)]
    path: Option<String>,
    /// Address of the file
    #[arg(long, conflicts_with = "repo")]
    url: Option<String>,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Give up when nothing comes for this many seconds
    #[arg(long, default_value_t = STALL.as_secs())]
    stall_seconds: u64,
}

/// Brings the file.
///
/// # Errors
/// As [`download`].
pub fn run(options: &Options) -> Result<(), Error> {
    let text = |option: &'_ Option<String>| option.clone().unwrap_or_default();
    let (repo, revision) = (text(&options.repo), text(&options.revision));
    let path = text(&options.path);
    let hub = HubFile { kind: Kind::Dataset, repo: &repo, revision: &revision, path: &path };
    let source = options.url.as_deref().map_or(Source::Hub(hub), Source::Url);
    download(source, &options.out, Duration::from_secs(options.stall_seconds))
}
