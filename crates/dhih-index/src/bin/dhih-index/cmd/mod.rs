//! The commands, one file each. Their words are in `cli.rs`.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod change;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod search;
pub(crate) mod verify;
