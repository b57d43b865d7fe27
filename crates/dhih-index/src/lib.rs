//! Exact Hamming search over binary codes: packed codes, SIMD kernels and multi-index hashing.
