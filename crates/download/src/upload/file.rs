//! The files of an upload: what the hub is told of each, and their bytes, read while they are sent. What goes where is decided in
//! `mod.rs`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Body;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::transfer::Meter;

/// How much of a file the hub looks at to choose how it is sent.
const SAMPLE_BYTES: usize = 512;

/// How much of a file is read at once.
const BLOCK_BYTES: usize = 1 << 18;

/// A file for a repository.
#[derive(Debug, Clone)]
pub struct UploadFile {
    /// Its path there.
    pub path: String,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is in a local file.
    File(PathBuf),
}

/// A local file as the hub is told of it.
pub(super) struct Described<'a> {
    pub(super) file: &'a UploadFile,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) sample: Vec<u8>,
}

/// Reads a file once: its length, its digest, and its beginning.
pub(super) fn describe(file: &UploadFile) -> Result<Described<'_>> {
    let mut reader: Box<dyn Read> = match &file.content {
        Content::Bytes(bytes) => Box::new(&bytes[..]),
        Content::File(path) => Box::new(File::open(path).map_err(Error::io(path))?),
    };
    let (mut size, mut digest, mut sample) = (0, Sha256::new(), Vec::new());
    while let Some(block) = block(&mut reader) {
        let block = block.map_err(|error| match &file.content {
            Content::Bytes(_) => Error::io(file.path.as_ref())(error),
            Content::File(path) => Error::io(path)(error),
        })?;
        let missing = SAMPLE_BYTES.saturating_sub(sample.len()).min(block.len());
        sample.extend(&block[..missing]);
        size += block.len() as u64;
        digest.update(&block);
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Described { file, size, sha256, sample })
}

/// The next bytes, and `None` at the end.
fn block(reader: &mut impl Read) -> Option<std::io::Result<Vec<u8>>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    match reader.take(BLOCK_BYTES as u64).read_to_end(&mut block) {
        Ok(0) => None,
        Ok(_) => Some(Ok(block)),
        Err(error) => Some(Err(error)),
    }
}

pub(super) fn bytes(content: &Content) -> Result<Vec<u8>> {
    match content {
        Content::Bytes(bytes) => Ok(bytes.clone()),
        Content::File(path) => std::fs::read(path).map_err(Error::io(path)),
    }
}

/// A file as a body that is read while it is sent, and how much of it was.
pub(super) fn body(file: &Described<'_>, sent: Arc<AtomicU64>) -> Result<Body> {
    let path = match &file.file.content {
        Content::Bytes(bytes) => return Ok(bytes.clone().into()),
        Content::File(path) => path,
    };
    let mut reader = File::open(path).map_err(Error::io(path))?;
    let mut meter = Meter::of(file.size);
    let blocks = std::iter::from_fn(move || {
        let block = block(&mut reader);
        match &block {
            Some(Ok(block)) => {
                sent.fetch_add(block.len() as u64, Ordering::Relaxed);
                meter.count(block.len());
            }
            _ => meter.end(),
        }
        block
    });
    Ok(Body::wrap_stream(futures_util::stream::iter(blocks)))
}
