//! Whether requests should be sent here, for load balancers and supervisors.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The model and the index are being opened and verified.
    Loading,
    /// Requests are answered.
    Serving,
    /// The service was told to stop: requests are still answered, but new ones should go elsewhere.
    Stopping,
}

/// The phase. Any thread may read it and lead to the next.
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

    /// Goes on to a later phase; nothing leads back.
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
