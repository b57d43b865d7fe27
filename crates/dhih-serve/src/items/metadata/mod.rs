//! What users store with an item beside its code: a JSON object, its metadata, and an external id. Filters use the metadata.
//!
//! ```text
//! attributes.rs (what users store with an item) -> postings.rs (the items of each value of a declared field)
//! fields.rs (the declared fields and their types) ---^   -> filter.rs (the items that pass a filter)
//! json_path.rs (a filter in the language of PostgreSQL)
//! ```
//!
//! This folder does not access the disk: the catalogue stores the attributes and the declaration, and holds the postings in memory.

mod attributes;
mod fields;
mod filter;
mod ids;
#[cfg(feature = "postgres")]
pub(crate) mod json_path;
mod postings;

pub(crate) use self::attributes::{Attributes, EXTERNAL_ID, Metadata, check_external_id};
pub(crate) use self::fields::Fields;
pub use self::fields::{FieldDeclaration, FieldType};
pub(crate) use self::filter::MetadataFilter;
pub(crate) use self::ids::IdSet;
pub(crate) use self::postings::{FieldCounts, Postings};

/// What is wrong with metadata, a declaration of fields or a filter, as a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) String);

#[cfg(test)]
mod tests;
