//! Encodes texts for the search among pictures, by the text towers of CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023). They map a
//! text to a vector in the same space as the features of their image towers, which are backbones.
//!
//! ```text
//! text -> tokenizer.rs (numbers of tokens) -> tower.rs (a vector) -> encoder.rs (the values of a code, and the file that holds all three)
//! ```
//!
//! `config.rs` has the sizes of a tower; `prompts.rs` has the texts whose mean is the centre of texts.

mod config;
mod encoder;
mod prompts;
mod tokenizer;
mod tower;

pub use self::config::{TextConfig, TextFamily};
pub(crate) use self::encoder::Parts;
pub use self::encoder::{FitText, TextEncoder};
pub use self::prompts::prompts;
pub use self::tokenizer::{MAX_TEXT_BYTES, TextTokenizer};
pub use self::tower::TextTower;
