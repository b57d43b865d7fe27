//! The bytes of an index on disk: the layout of its files, how they are written so that a crash loses nothing, and how they are read in place.

pub(crate) mod assembly;
pub(crate) mod disk;
pub(crate) mod format;
pub(crate) mod lock;
pub(crate) mod manifest;
pub(crate) mod mmap;
pub(crate) mod segment;
pub(crate) mod sweep;
pub(crate) mod verify;
pub(crate) mod wal;
