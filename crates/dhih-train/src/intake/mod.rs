//! How pictures come in: decoded, brought to the size of the network, and kept where memory allows. Which pictures a dataset has and what
//! their labels are is in `dataset`.

pub(crate) mod pixels;
