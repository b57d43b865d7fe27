//! Texts to codes of pictures: the text towers of CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023), which make of a text a vector in the
//! space of their image towers' features. The image towers are backbones.
//!
//! ```text
//! text -> tokenizer.rs (numbers of tokens) -> tower.rs (a vector) -> encoder.rs (the values of a code, and the file that holds all three)
//! ```
//!
//! `config.rs` says how large a tower is, `prompts.rs` which texts the mean is taken of that codes are about.

mod config;
mod encoder;
mod prompts;
mod tokenizer;
mod tower;

pub use self::config::{TextConfig, TextFamily};
pub use self::encoder::{FitText, TextEncoder};
pub use self::prompts::prompts;
pub use self::tokenizer::{MAX_TEXT_BYTES, TextTokenizer};
pub use self::tower::TextTower;
