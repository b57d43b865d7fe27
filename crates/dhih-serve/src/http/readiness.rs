//! Whether requests should be sent here, for load balancers and supervisors.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

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

/// The phase, and whether a store elsewhere answers. Any thread may read and change them.
#[derive(Debug)]
pub(crate) struct Readiness {
    phase: AtomicU8,
    /// Whether the last check of a store found that searches can be answered. Always true where codes are on this machine's disk.
    store_available: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { phase: AtomicU8::new(Phase::Loading as u8), store_available: AtomicBool::new(true) }
    }
}

impl Readiness {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Loading,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    pub(crate) fn is_store_available(&self) -> bool {
        self.store_available.load(Ordering::Relaxed)
    }

    /// Notes what a check of the store found, and says what the one before had found.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_store_available(&self, available: bool) -> bool {
        self.store_available.swap(available, Ordering::Relaxed)
    }

    /// Goes on to a later phase; nothing leads back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
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
