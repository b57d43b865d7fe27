//! Collections: several sets of items in one service, each with its own model, codec or codes alone. `name.rs` has their names, `folder.rs`
//! the directory of those that the service can create and remove, `template.rs` creates new ones. `http/collections.rs` holds the open
//! collections.

pub(crate) mod folder;
mod name;
pub(crate) mod template;

pub use name::CollectionName;
pub(crate) use name::DEFAULT;
