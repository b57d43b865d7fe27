//! The commands, one file each. Their flags: `cli.rs`.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod certified;
pub(crate) mod change;
pub(crate) mod checkpoint;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod labels;
pub(crate) mod pairs;
pub(crate) mod salvage;
pub(crate) mod search;
pub(crate) mod verify;
