//! Training: batches of varied images, the network's steps, learning rate, averages of weights, and where the state is kept. What a
//! run is made of besides, such as its codes and figures, is in `run`.

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
