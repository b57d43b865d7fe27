//! The bytes of codes, in memory or in a mapped file. `mod.rs` defines what the bytes mean; `io/` opens files.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::store::mmap::FileMap;

use crate::error::{Error, Result};

/// The content of a whole file, read into memory or mapped.
#[derive(Debug)]
pub(crate) enum FileBytes {
    Read(Vec<u8>),
    Mapped(MappedFile),
}

impl FileBytes {
    /// A range of the file. The bytes of a mapped file are not copied; those of a file in memory stay where they are or move
    /// within their buffer, so that they are never in memory twice.
    ///
    /// # Panics
    /// Where the range is not within the file, as slices do.
    pub(crate) fn slice(self, range: Range<usize>) -> Bytes {
        match self {
            Self::Mapped(file) => {
                assert!(
                    range.start <= range.end && range.end <= file.map.len(),
                    "outside the file"
                );
                Bytes(Place::Mapped(Arc::new(file), range))
            }
            Self::Read(mut bytes) => {
                bytes.truncate(range.end);
                bytes.drain(..range.start);
                bytes.into()
            }
        }
    }
}

impl FileBytes {
    /// Gives the pages of a range back to the system where the file is mapped; they stay readable.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.map.release(range);
        }
    }

    /// Refuses a mapped file that has changed since it was mapped.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match self {
            Self::Read(_) => Ok(()),
            Self::Mapped(file) => file.check_unchanged(),
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(file) => &file.map,
        }
    }
}

/// A mapped file with its state at the time of mapping.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: FileMap,
    file: File,
    path: PathBuf,
    state: State,
}

/// The state of a file, by which writing and truncation are detected.
#[derive(Debug, PartialEq, Eq)]
struct State {
    len: u64,
    /// `None` if the file system stores no such time.
    modified: Option<SystemTime>,
}

impl State {
    fn of(file: &File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::io("read the metadata of", path))?;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl MappedFile {
    /// Maps a file with `map`, and remembers its length and its time of modification of before.
    pub(crate) fn new(
        file: File,
        path: &Path,
        map: impl FnOnce(&File) -> Result<FileMap>,
    ) -> Result<Self> {
        let state = State::of(&file, path)?;
        let map = map(&file)?;
        Ok(Self { map, file, path: path.to_path_buf(), state })
    }

    /// Refuses the file where its length or its time of modification has changed since it was mapped.
    fn check_unchanged(&self) -> Result<()> {
        if State::of(&self.file, &self.path)? == self.state {
            return Ok(());
        }
        let reason = "it was overwritten or cut while its codes were in use: write codes under another name, and rename the file";
        Err(Error::CodesFile { path: self.path.clone(), reason: reason.into(), cause: None })
    }
}

/// Bytes in memory or in a mapped file.
#[derive(Clone)]
pub(crate) struct Bytes(Place);

#[derive(Clone)]
enum Place {
    Memory(Vec<u8>),
    Mapped(Arc<MappedFile>, Range<usize>),
}

impl Bytes {
    /// Gives the pages of a range back to the system where the bytes lie in a mapped file; they stay readable.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Place::Mapped(map, own) = &self.0 {
            map.map.release(own.start + range.start..own.end.min(own.start + range.end));
        }
    }

    /// Appends bytes. The bytes of a mapped file are copied into memory first.
    pub(crate) fn append(&mut self, others: &[u8]) {
        if let Place::Memory(bytes) = &mut self.0 {
            bytes.extend_from_slice(others);
        } else {
            *self = [&**self, others].concat().into();
        }
    }

    /// Refuses bytes in a mapped file that has changed since it was mapped.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match &self.0 {
            Place::Memory(_) => Ok(()),
            Place::Mapped(file, _) => file.check_unchanged(),
        }
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes.0 {
            Place::Memory(bytes) => bytes,
            Place::Mapped(file, range) => file.map[range].to_vec(),
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Memory(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Memory(bytes) => bytes,
            Place::Mapped(file, range) => &file.map[range.clone()],
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
