//! Bytes in memory, or where they lie in a mapped file.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::store::mmap::MappedFile;

/// A file that is looked into: read, or mapped.
#[derive(Debug)]
pub(crate) enum Source {
    Read(Vec<u8>),
    Mapped(MappedFile),
}

impl Source {
    /// A part of the file, which is not copied where it is mapped, nor twice in memory where it is read.
    ///
    /// # Panics
    /// Where there is no such part, as slices do.
    pub(crate) fn part(self, range: Range<usize>) -> Bytes {
        match self {
            Self::Mapped(map) => {
                assert!(range.start <= range.end && range.end <= map.len(), "no part of the file");
                Bytes(Place::Mapped(Arc::new(map), range))
            }
            Self::Read(mut bytes) => {
                bytes.truncate(range.end);
                bytes.drain(..range.start);
                bytes.into()
            }
        }
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Bytes, wherever they are.
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
            map.release(own.start + range.start..own.end.min(own.start + range.end));
        }
    }

    /// Adds bytes; they are in memory from then on.
    pub(crate) fn append(&mut self, others: &[u8]) {
        if let Place::Memory(bytes) = &mut self.0 {
            bytes.extend_from_slice(others);
        } else {
            *self = [&**self, others].concat().into();
        }
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes.0 {
            Place::Memory(bytes) => bytes,
            Place::Mapped(..) => bytes.to_vec(),
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
            Place::Mapped(map, range) => &map[range.clone()],
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
