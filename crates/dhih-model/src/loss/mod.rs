//! Losses of the hash layer's output: one file each, pure functions of tensors.
//!
//! Symbols, as in the literature: `v` `[n, K]` is the hash layer's output, `h = tanh(v)` the relaxed code, `W` `[C, K]`
//! the class weights without bias, `z = h W^T` `[n, C]` the class logits, `Y` `[n, C]` the labels as 0 and 1.

mod hi;
mod quantization;

pub use hi::{Hi, HiMode, hi};
pub use quantization::quantization;
