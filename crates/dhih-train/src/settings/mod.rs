//! The settings of a run: what the flags give ([`TrainOptions`](table::TrainOptions)), what recipes fill in, and what they resolve to
//! ([`TrainConfig`](table::TrainConfig)). Each setting is declared once, in `table.rs`.
//!
//! ```text
//! flags, DHIH_... -> TrainOptions  (table.rs)
//! --config, --recipe -> TrainOptions.or(...)  (options.rs, recipe.rs, fitting.rs)
//!     -> with_weights_at_hand  (at_hand.rs)
//!     -> resolve -> TrainConfig -> check  (options.rs, config.rs)
//! ```

pub(crate) mod at_hand;
pub(crate) mod config;
pub(crate) mod fitting;
pub(crate) mod gallery;
pub(crate) mod hash_norm;
pub(crate) mod loss_options;
pub(crate) mod options;
pub mod recipe;
pub(crate) mod table;
