//! The bytes of an index on disk: the layout of its files, how they are written so that a crash loses nothing, and how they are read in place.
//! Writing files atomically (`disk`) and mapping them (`mmap`) is possible on every target; reading an index in place needs a
//! little-endian one with 64-bit addresses.

pub(crate) mod disk;
pub(crate) mod mmap;

#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod assembly;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod format;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod lock;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod manifest;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod segment;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod sweep;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod verify;
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
pub(crate) mod wal;
