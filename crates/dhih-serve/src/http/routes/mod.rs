//! The handlers of the API, one resource in each file.

pub(crate) mod adding;
pub(crate) mod collections;
pub(crate) mod encode;
pub(crate) mod export;
pub(crate) mod info;
pub(crate) mod items;
mod lines;
pub(crate) mod listing;
pub(crate) mod metadata;
mod new_item;
pub(crate) mod page;
mod pieces;
pub(crate) mod replication;
pub(crate) mod samples;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod snapshots;
pub(crate) mod thumbnail;
