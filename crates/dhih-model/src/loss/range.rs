//! The range of a constant of a loss.

use crate::error::{Error, Result};

/// A constant with its range.
pub(super) struct Range {
    pub(super) name: &'static str,
    pub(super) got: f64,
    pub(super) fits: bool,
    pub(super) expected: &'static str,
}

impl Range {
    /// The range of a weight of a term: 0 or more.
    pub(super) fn weight(name: &'static str, got: f64) -> Self {
        let fits = got >= 0.0 && got.is_finite();
        Self { name, got, fits, expected: "a number of at least 0" }
    }

    /// The range of a factor, or of a margin that must not be 0.
    pub(super) fn factor(name: &'static str, got: f64) -> Self {
        let fits = got > 0.0 && got.is_finite();
        Self { name, got, fits, expected: "a number above 0" }
    }

    /// # Errors
    /// [`Error::Config`] where the number is out of its range.
    pub(super) fn check(self) -> Result<()> {
        let Self { name, got, fits, expected } = self;
        if fits {
            return Ok(());
        }
        Err(Error::Config { name, got: got.to_string(), expected: expected.to_owned() })
    }
}
