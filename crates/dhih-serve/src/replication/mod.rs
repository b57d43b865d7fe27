//! Replication: followers are services whose items are a copy of those of another service, the primary, and are kept up to date.
//!
//! ```text
//! primary                                                    follower
//! journal (items/catalogue/) -> feed.rs, as frames (frame.rs) -> following.rs -> items/replaying.rs
//! snapshot (items/)          -> offer.rs, files by range      -> fetch.rs -> place.rs, then a reload
//!                                                                client.rs, address.rs: the HTTP client
//!                                                                status.rs: the lag behind the primary
//!                                                                all.rs: a follower for each collection
//! ```
//!
//! The position on the follower's disk decides what comes next: the follower requests the changes after it. The primary answers with these
//! changes, or reports that its journal does not continue from there, because it has dropped the next change or because its history is
//! another one. The follower then fetches a snapshot. The primary stores nothing about its followers.

pub(crate) mod address;
pub(crate) mod all;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod feed;
mod fetch;
pub(crate) mod following;
mod frame;
pub(crate) mod offer;
pub(crate) mod place;
pub(crate) mod status;
