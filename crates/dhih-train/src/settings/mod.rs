//! The settings of a run: what the flags give ([`TrainOptions`](options::TrainOptions)), what recipes fill in, and what they resolve to
//! ([`TrainConfig`](config::TrainConfig)).

pub(crate) mod config;
pub(crate) mod loss_options;
pub(crate) mod options;
pub mod recipe;
