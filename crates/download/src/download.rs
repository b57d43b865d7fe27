//! Brings one file over the network to a local path: from the hub, or from an address. It streams straight to the file, past the
//! cache of the hub's library, which would keep wrong bytes. The caller checks what came.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::{HFClient, HFError, HFRepository, RepoType, RepoTypeDataset, RepoTypeModel};

use crate::error::{BROKEN, Error, Result};
use crate::transfer::{Meter, Stall, run};

/// How often the hub library asks again on its own after a passing error.
const HUB_RETRIES: usize = 2;

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

/// Brings a file to `out`, and gives up when nothing comes for `stall`.
///
/// # Errors
/// The server cannot be reached, refuses, breaks off, or stalls; or the file cannot be written. What came until then is left in
/// it.
pub fn download(source: Source<'_>, out: &Path, stall: Duration) -> Result<()> {
    run(bring(source, out, Stall(stall)))
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
    sink.meter.total = total;
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
    sink.meter.total = response.content_length();
    while let Some(block) = stall.guard(response.chunk()).await?.map_err(Error::transfer(BROKEN))? {
        sink.write(&block)?;
    }
    Ok(())
}

/// The file being written, and its progress on a terminal.
struct Sink<'a> {
    file: BufWriter<File>,
    path: &'a Path,
    meter: Meter,
}

impl<'a> Sink<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
        Ok(Self { file, path, meter: Meter::default() })
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        self.file.write_all(block).map_err(Error::io(self.path))?;
        self.meter.count(block.len());
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.meter.end();
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(Error::io(self.path))
    }
}
