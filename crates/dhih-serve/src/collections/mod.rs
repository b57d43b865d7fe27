//! Collections: several sets of items in one service, each with what makes its codes. What a collection is called: `name.rs`; where those
//! are that a service makes and removes: `folder.rs`; what a new one is like: `template.rs`. What is open and who answers for it:
//! `http/collections.rs`.

pub(crate) mod folder;
mod name;
pub(crate) mod template;

pub use name::CollectionName;
pub(crate) use name::DEFAULT;
