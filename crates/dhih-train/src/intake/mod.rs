//! How pictures are read: decoded, brought to the size of the network, and kept in memory or in a cache where that is wanted. `dataset` decides
//! which pictures a dataset has, and their labels.

mod cache;
pub(crate) mod pixels;
pub(crate) mod source;
