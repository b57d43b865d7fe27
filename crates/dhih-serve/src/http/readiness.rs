//! Readiness, which tells load balancers and supervisors whether to send requests here.

use std::sync::atomic::{AtomicU8, Ordering};

/// The phase in the life of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The models and the indexes are being opened and verified.
    Loading,
    /// The service answers requests.
    Serving,
    /// The service is shutting down. It still answers, but new requests should go elsewhere.
    Stopping,
}

/// The current phase, readable and advanceable by any thread.
#[derive(Debug)]
pub(crate) struct Readiness(AtomicU8);

impl Default for Readiness {
    fn default() -> Self {
        Self(AtomicU8::new(Phase::Loading as u8))
    }
}

impl Readiness {
    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Loading,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    /// Moves on to a later phase. An earlier phase has no effect.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), Phase::Loading);
        readiness.advance(Phase::Serving);
        assert_eq!(readiness.phase(), Phase::Serving);
        readiness.advance(Phase::Stopping);
        readiness.advance(Phase::Serving);
        assert_eq!(readiness.phase(), Phase::Stopping);
    }
}
