//! The commands, one in each file. `cli.rs` has their flags.

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
