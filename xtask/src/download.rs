//! Brings one file over the network to a local path: from the hub, or from an address. Streams straight to the file,
//! past the hub library's cache, which would keep wrong bytes; the caller checks what came.

use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::StreamExt;
use hf_hub::HFClient;

/// How often the hub library asks again on its own after a passing error.
const HUB_RETRIES: usize = 2;

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
    #[arg(long, default_value_t = 30)]
    stall_seconds: u64,
}

/// Brings the file.
///
/// # Errors
/// The server cannot be reached, refuses, breaks off, or sends nothing for the stall time; or the file cannot be
/// written. What came until then is left in it.
pub fn run(options: &Options) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the network runtime")?;
    let outcome = runtime.block_on(bring(options));
    // A stalled connection or name look-up must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn bring(options: &Options) -> Result<()> {
    let mut sink = Sink::create(options)?;
    let stall = Stall(Duration::from_secs(options.stall_seconds));
    match (&options.repo, &options.url) {
        (Some(repo), _) => from_hub(options, repo, stall, &mut sink).await?,
        (None, Some(url)) => from_url(url, stall, &mut sink).await?,
        (None, None) => return Err(anyhow!("give --repo or --url")),
    }
    sink.finish()
}

async fn from_hub(options: &Options, repo: &str, stall: Stall, sink: &mut Sink) -> Result<()> {
    let client = HFClient::builder()
        .retry_max_attempts(HUB_RETRIES)
        .build()
        .context("cannot set up the hub client")?;
    let (owner, name) = hf_hub::split_id(repo);
    let dataset = client.dataset(owner, name);
    let file = dataset.download_file_stream().filename(options.path.clone().unwrap_or_default());
    let request = file.maybe_revision(options.revision.clone()).send();
    let (total, mut stream) = stall.guard(request).await?.context("the hub did not give it")?;
    sink.total = total;
    while let Some(block) = stall.guard(stream.next()).await? {
        sink.write(&block.context("the transfer broke off")?)?;
    }
    Ok(())
}

async fn from_url(url: &str, stall: Stall, sink: &mut Sink) -> Result<()> {
    let request = reqwest::Client::new().get(url).send();
    let response = stall.guard(request).await?.context("the server cannot be reached")?;
    let mut response = response.error_for_status().context("the server refused")?;
    sink.total = response.content_length();
    while let Some(block) =
        stall.guard(response.chunk()).await?.context("the transfer broke off")?
    {
        sink.write(&block)?;
    }
    Ok(())
}

/// The longest silence that is borne.
#[derive(Clone, Copy)]
struct Stall(Duration);

impl Stall {
    async fn guard<T>(self, work: impl Future<Output = T>) -> Result<T> {
        let outcome = tokio::time::timeout(self.0, work).await;
        outcome.map_err(|_| anyhow!("stalled: nothing came for {} s", self.0.as_secs()))
    }
}

/// The file being written, and its progress on a terminal.
struct Sink {
    file: BufWriter<File>,
    path: PathBuf,
    bytes: u64,
    total: Option<u64>,
    shown_megabytes: u64,
    terminal: bool,
}

impl Sink {
    fn create(options: &Options) -> Result<Self> {
        let path = options.out.clone();
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let (file, terminal) = (BufWriter::new(file), stderr().is_terminal());
        Ok(Self { file, path, bytes: 0, total: None, shown_megabytes: 0, terminal })
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.file
            .write_all(block)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.bytes += block.len() as u64;
        let megabytes = self.bytes / 1_000_000;
        if self.terminal && megabytes > self.shown_megabytes {
            self.shown_megabytes = megabytes;
            let total =
                self.total.map_or(String::new(), |total| format!(" of {}", total / 1_000_000));
            eprint!("\r{megabytes}{total} MB ");
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.shown_megabytes > 0 {
            eprintln!();
        }
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
