//! Duplicates among pictures: the files of a folder to codes (`hashes.rs`), pictures whose codes are near each other to groups
//! (`groups.rs`), and a page on which somebody looks at them (`review.rs`). Nothing is ever deleted here. How pairs of codes are found
//! is `dhih-index`'s, what a perceptual hash is `dhih-model`'s.
//!
//! ```text
//! folder -> walk -> hashes.rs: a code a picture -> groups.rs: ids in the order of keeping -> pairs -> groups -> review.rs
//! ```

mod groups;
mod hashes;
mod review;

pub use self::groups::{DedupConfig, DuplicateGroup, Duplicates, Keep, Member, find};
pub use self::hashes::{Hasher, Picture, hash_pictures};
pub use self::review::{Review, page};
