//! Perceptual hashes: codes of pictures without a model. Pictures that look alike differ in few bits, whatever was done to their files. They
//! serve to find copies, not pictures of similar content. `image/` decodes the pictures.
//!
//! A hash is given as the signs of its bits, +1 or -1, like the values of a network. `dhih_index::Codes::from_real` packs them. The order of the
//! bits is such that the packed code in hexadecimal is the text in which other programs exchange the same hash.

mod dhash;
mod pdq;

pub use self::dhash::{DHASH_BITS, dhash, dhash_symmetries};
pub use self::pdq::{PDQ_BITS, Pdq};

/// The rotations and reflections of a square, for each of which a picture can have a hash. The first is the identity.
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
