//! `Once`: a request that comes with a key of its own, so that it is made once however often it is sent.

use std::fmt;

use super::catalogue::{Answered, now_ms};
use super::{ChangeError, Made};

/// What became of the items of a request, in order.
pub(crate) type Outcomes = [Result<Made, ChangeError>];

/// A request that is made once, and how it is answered.
pub(crate) struct Once {
    /// Whose it is, and the key.
    pub(crate) key: String,
    /// SHA-256 of the request, in hexadecimal.
    pub(crate) request: String,
    /// What it is answered with, once it is known what becomes of its items.
    pub(crate) answer: Box<dyn FnOnce(&Outcomes) -> Answer + Send>,
}

/// An answer as it is kept.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// JSON.
    pub(crate) body: String,
    pub(crate) location: Option<String>,
}

impl Once {
    /// The answer to the request, to be kept with what it changes.
    pub(super) fn answered(self, outcomes: &Outcomes) -> Answered {
        let Self { key, request, answer } = self;
        let Answer { status, body, location } = answer(outcomes);
        Answered { key, request, status, body, location, at_ms: now_ms() }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("key", &self.key).finish_non_exhaustive()
    }
}
