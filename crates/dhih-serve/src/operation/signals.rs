//! The signals that the program handles: SIGINT and SIGTERM stop it, SIGHUP makes it reload.

use std::io;

use tokio::sync::watch;

/// The signals received since [`watch`](Self::watch), which must be called within a Tokio runtime.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    stops: watch::Receiver<u32>,
    hangups: watch::Receiver<u32>,
}

impl Signals {
    /// Starts to watch signals. They do not end the process any more.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    #[cfg(unix)]
    pub(crate) fn watch() -> io::Result<Self> {
        use tokio::signal::unix::SignalKind;
        let stops = watch::Sender::new(0);
        let hangups = watch::Sender::new(0);
        let signals = Self { stops: stops.subscribe(), hangups: hangups.subscribe() };
        count(SignalKind::interrupt(), stops.clone())?;
        count(SignalKind::terminate(), stops)?;
        count(SignalKind::hangup(), hangups)?;
        Ok(signals)
    }

    /// Starts to watch signals. They do not end the process any more.
    ///
    /// # Errors
    /// Never on this system, which has only Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) fn watch() -> io::Result<Self> {
        let (stops, hangups) = (watch::Sender::new(0), watch::Sender::new(0));
        let signals = Self { stops: stops.subscribe(), hangups: hangups.subscribe() };
        tokio::spawn(async move {
            // The sender is kept alive, because `hangup` would resolve without one.
            let _hangups = hangups;
            while tokio::signal::ctrl_c().await.is_ok() {
                stops.send_modify(|count| *count += 1);
            }
        });
        Ok(signals)
    }

    /// Resolves once the program has received this many signals to stop.
    pub(crate) async fn stopped(&self, times: u32) {
        let mut stops = self.stops.clone();
        if stops.wait_for(|count| *count >= times).await.is_err() {
            std::future::pending().await
        }
    }

    /// Resolves at the next SIGHUP, or at once if one has arrived since the last call.
    pub(crate) async fn hangup(&mut self) {
        if self.hangups.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(unix)]
fn count(kind: tokio::signal::unix::SignalKind, counter: watch::Sender<u32>) -> io::Result<()> {
    let mut signal = tokio::signal::unix::signal(kind)?;
    tokio::spawn(async move {
        while signal.recv().await.is_some() {
            counter.send_modify(|count| *count += 1);
        }
    });
    Ok(())
}
