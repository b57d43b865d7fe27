//! `Once`: a request with an idempotency key. Its change is made once, however often the request is sent.

use std::fmt;

use super::catalogue::{Answered, now_ms};
use super::{ChangeError, Made};

/// The outcomes of the items of a request, in order.
pub(crate) type Outcomes = [Result<Made, ChangeError>];

/// The idempotency key of a request, and the function that makes its answer.
pub(crate) struct Once {
    /// The name of the API key that sent the request, and the idempotency key.
    pub(crate) key: String,
    /// SHA-256 of the request, in hexadecimal.
    pub(crate) request: String,
    /// Makes the answer from the outcomes of the items. It runs before the change is committed, because the answer is stored with it.
    pub(crate) answer: Box<dyn FnOnce(&Outcomes) -> Answer + Send>,
}

/// An answer to be stored.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body, as JSON.
    pub(crate) body: String,
    pub(crate) location: Option<String>,
}

impl Once {
    /// The stored answer for these outcomes.
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
