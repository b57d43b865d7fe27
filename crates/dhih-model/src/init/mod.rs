//! The network's parameters: named, ordered, and initialised from a seed.
//!
//! candle's own initialisation cannot be seeded on the CPU, and its `VarMap` has no fixed order. Here the values of each tensor depend on the
//! seed and its name alone, whatever the order in which layers are built.

mod draw;
mod names;
mod parameters;

pub use self::draw::named_rng;
pub use self::names::{BACKBONE, is_codeword};
pub(crate) use self::names::{CODEWORDS, is_running_statistic};
pub use self::parameters::Parameters;
pub(crate) use self::parameters::check_names;
