//! What downloads and uploads share: the runtime, the limit on silence, and the progress on a terminal.

use std::future::Future;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use crate::error::{Error, Result};

/// How long a server may be silent by default.
pub const STALL: Duration = Duration::from_secs(30);

/// Runs one transfer on a runtime of its own.
pub(crate) fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::transfer("cannot start the network runtime"))?;
    let outcome = runtime.block_on(work);
    // A stalled connection or name look-up must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// The longest silence that is borne.
#[derive(Clone, Copy)]
pub(crate) struct Stall(pub(crate) Duration);

impl Stall {
    /// Waits for one step of a transfer.
    pub(crate) async fn guard<T>(self, work: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.0, work).await.map_err(|_| self.error())
    }

    /// Waits for work of many steps, as long as `progress` still grows.
    pub(crate) async fn guard_while<T>(
        self,
        work: impl Future<Output = T>,
        progress: impl Fn() -> u64,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        let mut seen = progress();
        loop {
            match tokio::time::timeout(self.0, &mut work).await {
                Ok(outcome) => return Ok(outcome),
                Err(_) if progress() == seen => return Err(self.error()),
                Err(_) => seen = progress(),
            }
        }
    }

    fn error(self) -> Error {
        Error::Stalled { seconds: self.0.as_secs() }
    }
}

/// Counts bytes, and shows their megabytes on a terminal.
pub(crate) struct Meter {
    /// Bytes in all, where known.
    pub(crate) total: Option<u64>,
    bytes: u64,
    shown_megabytes: u64,
    terminal: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self { total: None, bytes: 0, shown_megabytes: 0, terminal: stderr().is_terminal() }
    }
}

impl Meter {
    /// Of a transfer of so many bytes.
    pub(crate) fn of(total: u64) -> Self {
        Self { total: Some(total), ..Self::default() }
    }

    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let megabytes = self.bytes / 1_000_000;
        if self.terminal && megabytes > self.shown_megabytes {
            self.shown_megabytes = megabytes;
            let total =
                self.total.map_or(String::new(), |total| format!(" of {}", total / 1_000_000));
            // The transfer goes on where nobody reads stderr any more.
            let _ = write!(stderr(), "\r{megabytes}{total} MB ");
        }
    }

    /// Ends the line of the progress.
    pub(crate) fn end(&self) {
        if self.shown_megabytes > 0 {
            let _ = writeln!(stderr());
        }
    }
}
