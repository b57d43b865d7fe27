//! `Shard`: the hosts of a shard, which hold the same rows, with connections to the host that answers. If it fails, the next host is asked.
//! A question is answered completely by one host, or not at all.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Error,
    address::Address,
    session::{Answer, Held, Question, Session, is_there},
};

/// After this time without an answer, the host is checked for being alive.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time limit of that check.
const SIGN: Duration = Duration::from_secs(1);
/// How long hosts that fail are retried in turns.
const GIVE_UP: Duration = Duration::from_secs(2);
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(200);
/// The most idle connections.
const KEPT: usize = 64;

/// A shard with its hosts.
pub(super) struct Shard {
    address: Address,
    held: Held,
    /// The number of the host that answered last.
    current: AtomicUsize,
    /// Idle connections, each with the number of its host.
    idle: Mutex<Vec<(usize, Session)>>,
}

/// Why a host gave no answer.
enum Fault {
    /// The error of the host or of the connection.
    Told(String),
    /// The host neither answers nor accepts connections.
    Silent,
}

impl Shard {
    pub(super) fn new(address: Address, held: Held) -> Self {
        Self { address, held, current: AtomicUsize::new(0), idle: Mutex::default() }
    }

    /// The answer to a question before `deadline`, from whichever host gives it.
    ///
    /// # Errors
    /// When no host answers. The error names this shard and the failure of each host.
    pub(super) async fn ask(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let seconds = self.held.timeout.as_secs();
        let late = |_| Error::Late { what: self.address.what.clone(), seconds };
        timeout_at(deadline, self.ask_in_turns(question)).await.map_err(late)?
    }

    async fn ask_in_turns(&self, question: &Question) -> Result<Answer, Error> {
        let (started, hosts) = (Instant::now(), &self.address.hosts);
        loop {
            let first = self.current.load(Ordering::Relaxed);
            let mut reasons = Vec::new();
            for at in (first..first + hosts.len()).map(|at| at % hosts.len()) {
                match self.ask_host(at, question).await {
                    Ok(answer) => {
                        self.answered(first, at, &reasons);
                        return Ok(answer);
                    }
                    Err(reason) => reasons.push(format!("{}: {reason}", hosts[at].name)),
                }
            }
            if started.elapsed() > GIVE_UP {
                return Err(Error::Unreachable { what: self.address.what.clone(), reasons });
            }
            sleep(PAUSE).await;
        }
    }

    /// Records the host that answered, and logs a change of the host.
    fn answered(&self, before: usize, at: usize, reasons: &[String]) {
        let swap = self.current.compare_exchange(before, at, Ordering::Relaxed, Ordering::Relaxed);
        if before != at && swap.is_ok() {
            let host = &self.address.hosts[at].name;
            tracing::warn!(shard = %self.address.what, now = %host, because = ?reasons, "another host answers");
            metrics::counter!("dhih_store_failovers_total").increment(1);
        }
    }

    async fn ask_host(&self, at: usize, question: &Question) -> Result<Answer, String> {
        if let Some(session) = self.take(at) {
            match self.watched(at, session.answer(question)).await {
                Ok(answer) => {
                    self.keep(at, session);
                    return Ok(answer);
                }
                Err(Fault::Silent) => return Err(Fault::Silent.to_string()),
                // The idle connection may have ended long ago. A new connection shows whether the host is alive.
                Err(Fault::Told(reason)) => {
                    tracing::debug!(shard = %self.address.what, reason, "a connection ended");
                }
            }
        }
        let session = Session::open(&self.address.hosts[at], &self.held).await?;
        let answer =
            self.watched(at, session.answer(question)).await.map_err(|fault| fault.to_string())?;
        self.keep(at, session);
        Ok(answer)
    }

    /// Waits for an answer as long as its host accepts connections, which excludes hosts that hang or have disappeared.
    async fn watched<T>(
        &self,
        at: usize,
        answer: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Fault> {
        let mut answer = pin!(answer);
        loop {
            if let Ok(answer) = timeout(PATIENCE, &mut answer).await {
                return answer.map_err(Fault::Told);
            }
            if !timeout(SIGN, is_there(&self.address.hosts[at])).await.unwrap_or(false) {
                return Err(Fault::Silent);
            }
        }
    }

    /// Takes an idle connection to this host. Connections to other hosts are closed.
    fn take(&self, at: usize) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(host, session)| *host == at && !session.is_closed());
        idle.pop().map(|(_, session)| session)
    }

    fn keep(&self, at: usize, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push((at, session));
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.address)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(reason) => f.write_str(reason),
            Self::Silent => {
                write!(f, "no answer and no new connection within {:?}", PATIENCE + SIGN)
            }
        }
    }
}
