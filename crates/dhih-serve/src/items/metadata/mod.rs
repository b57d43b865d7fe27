//! What users keep with an item beside its code: a JSON object, its metadata, and an id of their own. Filters go by the metadata.
//!
//! ```text
//! attributes.rs: what is kept of one item -> postings.rs: the items of each value of a declared field -> filter.rs: the items that a filter lets through
//!                                            fields.rs: which fields are declared, and of what type
//!                                            json_path.rs: a filter as PostgreSQL takes it
//! ```
//!
//! This knows no disk: the catalogue keeps the attributes and the declaration, and has the postings in memory.

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
