//! Brings one file over the network to a local path: from the hub, or from an address. Streams straight to the file,
//! past the hub library's cache, which would keep wrong bytes; the caller checks what came.
//!
//! The HTTP stack is many times the rest of the workspace's small crates: whoever uses this has it behind a feature.
//!
//! ```no_run
//! use dhih_download::{STALL, Source, download};
//!
//! let source = Source::Url("https://example.org/a.bin");
//! download(source, "a.bin".as_ref(), STALL)?;
//! # Ok::<(), dhih_download::Error>(())
//! ```

use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::{HFClient, HFError, HFRepository, RepoType, RepoTypeDataset, RepoTypeModel};

/// How often the hub library asks again on its own after a passing error.
const HUB_RETRIES: usize = 2;

/// A bearable silence.
pub const STALL: Duration = Duration::from_secs(30);

/// What to bring.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A file of a repository of the hub.
    Hub(HubFile<'a>),
    /// An address.
    Url(&'a str),
}

/// A file of a repository of the hub.
#[derive(Debug, Clone, Copy)]
pub struct HubFile<'a> {
    /// What the repository is for.
    pub kind: Kind,
    /// `OWNER/NAME`.
    pub repo: &'a str,
    /// Commit, branch or tag.
    pub revision: &'a str,
    /// File in the repository.
    pub path: &'a str,
}

/// What a repository is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Data.
    Dataset,
    /// Weights.
    Model,
}

/// Everything that can go wrong here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing came for so long.
    #[error("stalled: nothing came for {seconds} s")]
    Stalled {
        /// The silence that was borne.
        seconds: u64,
    },
    /// The repository is there, and has no such file.
    #[error("the hub did not give it")]
    Absent {
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server cannot be reached, refused or broke off.
    #[error("{what}")]
    Transfer {
        /// Which of these.
        what: &'static str,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The causes in one line, without those that only repeat an outer one.
    pub fn reason(&self) -> String {
        let first = self as &dyn std::error::Error;
        std::iter::successors(Some(first), |error| error.source()).fold(
            String::new(),
            |told, cause| match cause.to_string() {
                cause if told.contains(&cause) => told,
                cause if told.is_empty() => cause,
                cause => format!("{told}: {cause}"),
            },
        )
    }

    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn transfer<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |error| Self::Transfer { what, source: Box::new(error) }
    }
}

/// Brings a file to `out`, and gives up when nothing comes for `stall`.
///
/// # Errors
/// The server cannot be reached, refuses, breaks off, or stalls; or the file cannot be written. What came until then is left in
/// it.
pub fn download(source: Source<'_>, out: &Path, stall: Duration) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::transfer("cannot start the network runtime"))?;
    let outcome = runtime.block_on(bring(source, out, Stall(stall)));
    // A stalled connection or name look-up must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn bring(source: Source<'_>, out: &Path, stall: Stall) -> Result<()> {
    let mut sink = Sink::create(out)?;
    match source {
        Source::Hub(file) => match file.kind {
            Kind::Dataset => from_hub(RepoTypeDataset, file, stall, &mut sink).await?,
            Kind::Model => from_hub(RepoTypeModel, file, stall, &mut sink).await?,
        },
        Source::Url(url) => from_url(url, stall, &mut sink).await?,
    }
    sink.finish()
}

/// `kind` is a type, not the library's `RepoTypeAny`: that one asks for datasets under the address of models.
async fn from_hub<T: RepoType>(
    kind: T,
    file: HubFile<'_>,
    stall: Stall,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let HubFile { repo, revision, path, .. } = file;
    let client = HFClient::builder().retry_max_attempts(HUB_RETRIES).build();
    let client = client.map_err(Error::transfer("cannot set up the hub client"))?;
    let (owner, name) = hf_hub::split_id(repo);
    let repository = HFRepository::new(client, kind, owner, name);
    let request = repository.download_file_stream().filename(path).revision(revision).send();
    let answer = stall.guard(request).await?;
    let (total, mut stream) = answer.map_err(|error| match error {
        HFError::EntryNotFound { .. } => Error::Absent { source: Box::new(error) },
        error => Error::transfer("the hub did not give it")(error),
    })?;
    sink.total = total;
    while let Some(block) = stall.guard(stream.next()).await? {
        sink.write(&block.map_err(Error::transfer(BROKEN))?)?;
    }
    Ok(())
}

async fn from_url(url: &str, stall: Stall, sink: &mut Sink<'_>) -> Result<()> {
    let request = reqwest::Client::new().get(url).send();
    let response = stall.guard(request).await?;
    let response = response.map_err(Error::transfer("the server cannot be reached"))?;
    let mut response =
        response.error_for_status().map_err(Error::transfer("the server refused"))?;
    sink.total = response.content_length();
    while let Some(block) = stall.guard(response.chunk()).await?.map_err(Error::transfer(BROKEN))? {
        sink.write(&block)?;
    }
    Ok(())
}

const BROKEN: &str = "the transfer broke off";

/// The longest silence that is borne.
#[derive(Clone, Copy)]
struct Stall(Duration);

impl Stall {
    async fn guard<T>(self, work: impl Future<Output = T>) -> Result<T> {
        let outcome = tokio::time::timeout(self.0, work).await;
        outcome.map_err(|_| Error::Stalled { seconds: self.0.as_secs() })
    }
}

/// The file being written, and its progress on a terminal.
struct Sink<'a> {
    file: BufWriter<File>,
    path: &'a Path,
    bytes: u64,
    total: Option<u64>,
    shown_megabytes: u64,
    terminal: bool,
}

impl<'a> Sink<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
        let terminal = stderr().is_terminal();
        Ok(Self { file, path, bytes: 0, total: None, shown_megabytes: 0, terminal })
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.file.write_all(block).map_err(Error::io(self.path))?;
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
        written.map_err(Error::io(self.path))
    }
}
