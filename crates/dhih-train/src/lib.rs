//! Datasets, protocols, training and evaluation of hashing networks: from labelled images to codes and their metrics.
//!
//! `dhih-model` has the network and its losses, `dhih-index` has packed codes and their distances; this crate joins them. A run is a directory
//! ([`RunDir`]) with everything that its figures depend on.
//!
//! ```no_run
//! use dhih_train::{Progress, TrainOptions, run};
//!
//! # fn main() -> Result<(), dhih_train::Error> {
//! let options = TrainOptions { dataset: Some("demo".into()), bits: Some(32), ..Default::default() };
//! let (directory, evaluation) = run::start(&options.resolve()?, None, Progress::Shown)?;
//! println!("{}: mAP {:.3}", directory.path().display(), evaluation.metrics.map);
//! # Ok(())
//! # }
//! ```

#![warn(clippy::print_stderr)]

mod error;
pub mod files;
pub mod output;
mod progress;
mod system;

mod intake;

pub mod dataset;
pub mod protocol;

mod settings;

mod train;

#[cfg(feature = "parquet")]
pub mod arrow_stream;
pub mod dedup;
pub mod evaluation;
pub mod photos;
pub mod pictures;
pub mod push;
pub mod report;
pub mod run;
pub mod sweep;
pub mod vectors;

pub use error::{Error, Result};
pub use progress::Progress;
pub use run::data_record::DataRecord;
pub use run::epoch_record::EpochRecord;
pub use run::origin::Origin;
pub use run::run_dir::{NewRun, RunConfig, RunDir};
pub use settings::{
    at_hand::Chosen,
    gallery::GalleryChoice,
    hash_norm::HashNormChoice,
    loss_options::{LossOptions, LossParam},
    recipe,
    table::{TrainConfig, TrainOptions},
};
pub use train::{
    device::device, optim::OptimizerName, schedule::ScheduleName, throughput,
    weights::WeightsSource,
};
