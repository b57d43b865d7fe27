//! Perceptual hashes: codes of pictures that need no model, so that pictures which look alike differ in few bits, whatever was done to
//! their files. They are for finding copies, not pictures of like content. From the bytes of a picture to its pixels: `image/`.
//!
//! A hash is given as the signs of its bits, +1 or -1, as a network gives its values; packing them is for those who have codes
//! (`dhih_index::Codes::from_real`). Their order is such that the packed code, written in hexadecimal, is the text in which other
//! programs exchange the same hash.

mod dhash;
mod pdq;

pub use self::dhash::{DHASH_BITS, dhash, dhash_symmetries};
pub use self::pdq::{PDQ_BITS, Pdq};

/// The ways in which a square can be turned and mirrored: the symmetries of which a picture can have a hash each. The first leaves it as it is.
pub const SYMMETRIES: [&str; 8] = [
    "as it is",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored top to bottom",
    "mirrored left to right",
    "mirrored at the falling diagonal",
    "mirrored at the rising diagonal",
];
