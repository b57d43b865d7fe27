//! HTTP image search over a trained hashing network and its index.
