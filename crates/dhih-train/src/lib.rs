//! Datasets, protocols, training and evaluation of hashing networks: from labelled images to codes and their metrics.
//!
//! The network and its losses are `dhih-model`'s, packed codes and their distances `dhih-index`'s; this crate joins them. A
//! run is a directory ([`RunDir`]) that holds everything its figures depend on.
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

mod error;
pub mod files;
mod progress;

pub mod dataset;
pub mod protocol;

mod augment;
mod batches;
mod config;
mod device;
mod ema;
mod features;
mod loss_options;
mod optim;
mod options;
pub mod recipe;
mod schedule;
mod tensorboard;
mod trainer;
mod variables;
mod weights;

pub mod arrow_stream;
pub mod evaluation;
mod gallery;
pub mod report;
pub mod run;
mod run_dir;
pub mod sweep;

pub mod throughput;

pub use config::TrainConfig;
pub use device::device;
pub use error::{Error, Result};
pub use loss_options::{LossOptions, LossParam};
pub use optim::OptimizerName;
pub use options::TrainOptions;
pub use progress::Progress;
pub use run_dir::{DataRecord, RunConfig, RunDir};
pub use schedule::ScheduleName;
pub use trainer::EpochRecord;
pub use weights::WeightsSource;
