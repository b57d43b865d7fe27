//! How pictures come in: decoded, brought to the size of the network, and kept in memory or in a cache where that is wanted. Which pictures
//! a dataset has and what their labels are is in `dataset`.

mod cache;
pub(crate) mod pixels;
pub(crate) mod source;
