//! A constant of a loss, whether it is in its range, and what the range is.

use crate::error::{Error, Result};

/// One number of a loss.
pub(super) struct Range {
    pub(super) name: &'static str,
    pub(super) got: f64,
    pub(super) fits: bool,
    pub(super) expected: &'static str,
}

impl Range {
    /// The weight of a term.
    pub(super) fn weight(name: &'static str, got: f64) -> Self {
        let fits = got >= 0.0 && got.is_finite();
        Self { name, got, fits, expected: "a number of at least 0" }
    }

    /// A factor, or a margin that must be there.
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
