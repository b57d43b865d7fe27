//! Followers: services whose items are a copy of another's, the primary's, and stay so while that one changes.
//!
//! ```text
//! primary                                                    follower
//! journal (items/catalogue/) -> feed.rs, as frames (frame.rs) -> following.rs -> items/replaying.rs
//! snapshot (items/)          -> offer.rs, files by range      -> fetch.rs -> place.rs, then a reload
//!                                                                client.rs, address.rs: how the primary is asked
//!                                                                status.rs: how far behind it is
//! ```
//!
//! A follower goes by the position that its own catalogue has on disk: it asks for what comes after it. The primary answers with changes, or
//! says that it has no such position, because it has dropped what comes next or because its history is another one. The follower then takes a
//! snapshot. It is never asked what it has, so that a primary knows nothing of its followers.

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod feed;
mod fetch;
pub(crate) mod following;
mod frame;
pub(crate) mod offer;
pub(crate) mod place;
pub(crate) mod status;
