//! Errors that ask for a certain exit code: wrong usage (2), and a step's own code passed on. All others exit 1.

use std::fmt;
use std::process::ExitCode;

/// A message with the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Wrong usage: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// A spawned step ended with `code`; `None` means that a signal ended it.
    pub(crate) fn step(code: Option<i32>, message: impl Into<String>) -> Self {
        let code =
            code.and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1);
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints `error` on stderr and gives the exit code it asks for.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(1, |failure| failure.code)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_code_survives_context_and_is_never_success() {
        let usage: anyhow::Result<()> = Err(Failure::usage("no such set").into());
        assert_eq!(code(&usage.context("fetch-data").unwrap_err()), 2);
        assert_eq!(code(&Failure::step(Some(7), "train").into()), 7);
        assert_eq!(code(&Failure::step(Some(0), "train").into()), 1);
        assert_eq!(code(&Failure::step(Some(-1073741819), "train").into()), 1);
        assert_eq!(code(&Failure::step(None, "killed").into()), 1);
        assert_eq!(code(&anyhow!("any other")), 1);
    }
}
