//! The Python package `dhih`: images to codes, indexes of codes, their metrics, runs. Numpy arrays in and out.
//!
//! What it computes is dhih-model's, dhih-index's and dhih-train's; here is how Python calls it. The package's Python side is
//! `python/dhih`, its tests are `tests`; `cargo xtask test-python` builds the wheel and runs them.

mod arrays;
mod error;
mod threads;

mod code_set;
mod codec;
mod index;
mod search;

mod encoder;
mod evaluation;
mod run;
mod text;

use pyo3::prelude::*;

/// The compiled part of `dhih`, which has all of it under its own name.
#[pymodule]
mod _dhih {
    #[pymodule_export]
    use crate::code_set::{PyCodeSet, read_codes};
    #[pymodule_export]
    use crate::codec::PyCodec;
    #[pymodule_export]
    use crate::encoder::{PyEncoder, find_pictures, pack};
    #[pymodule_export]
    use crate::error::DhihError;
    #[pymodule_export]
    use crate::evaluation::evaluate;
    #[pymodule_export]
    use crate::index::{PyIndex, build};
    #[pymodule_export]
    use crate::run::PyRun;
    #[pymodule_export]
    use crate::text::PyTextEncoder;
    #[pymodule_export]
    use crate::threads::{num_threads, set_num_threads};

    #[allow(non_upper_case_globals, reason = "its name in Python")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
