//! Duplicates among pictures: codes of the files of a folder (`hashes.rs`), groups of pictures whose codes are near each other (`groups.rs`),
//! and a page for their review (`review.rs`). Nothing is ever deleted here. `dhih-index` finds pairs of codes, `dhih-model` computes perceptual
//! hashes.
//!
//! ```text
//! folder -> walk -> hashes.rs: a code a picture -> groups.rs: ids in the order of keeping -> pairs -> groups -> review.rs
//! ```

mod groups;
mod hashes;
mod review;

pub use self::groups::{
    DedupConfig, DuplicateGroup, Duplicates, Keep, Member, find, retain_others,
};
pub use self::hashes::{Hasher, Picture, hash_pictures};
pub use self::review::{Review, page};
