//! Failures of the disk on the thread of a test: at a chosen step, once or from then on, with a chosen error.

use std::cell::Cell;
use std::io;

/// What happens at the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk is full at this step, and the next steps work.
    Once,
    /// The disk has an I/O error at this step, and the next steps work.
    OnceIo,
    /// This step and all after it fail: the process is gone.
    Crash,
}

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static AT: Cell<Option<(u64, Fault)>> = const { Cell::new(None) };
}

/// Lets step number `at` from now on fail, or none.
pub(crate) fn set(at: Option<(u64, Fault)>) {
    STEPS.set(0);
    AT.set(at);
}

/// The number of steps since [`set`].
pub(crate) fn steps() -> u64 {
    STEPS.get()
}

pub(super) fn step() -> io::Result<()> {
    let number = STEPS.get();
    STEPS.set(number + 1);
    match AT.get() {
        Some((at, Fault::OnceIo)) if number == at => {
            Err(io::Error::other("input/output error, says the test"))
        }
        Some((at, fault)) if number == at || (number > at && fault == Fault::Crash) => {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space, says the test"))
        }
        _ => Ok(()),
    }
}
