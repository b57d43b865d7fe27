//! Training: batches of augmented images, the training steps, learning rate, averages of weights, and the saved state. `run` has the other parts
//! of a run, such as codes and metrics.

pub(crate) mod augment;
pub(crate) mod batches;
pub(crate) mod device;
pub(crate) mod features;
pub(crate) mod optim;
pub(crate) mod parts;
pub(crate) mod schedule;
pub mod throughput;
pub(crate) mod trainer;
pub(crate) mod variables;
pub(crate) mod weight_average;
pub(crate) mod weights;
