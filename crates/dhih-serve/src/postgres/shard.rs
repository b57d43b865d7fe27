//! `Shard`: its hosts, which hold the same, and the connections to the one that answers. When that does not any more, the next is
//! asked; a question is answered whole by one host, or not at all.

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

/// After so long without an answer a host is asked whether it is there.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const SIGN: Duration = Duration::from_secs(1);
/// How long hosts that fail are asked again, in turns.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Between two turns.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections that are kept for later.
const KEPT: usize = 64;

/// A shard.
pub(super) struct Shard {
    address: Address,
    held: Held,
    /// The host that answered last.
    current: AtomicUsize,
    /// Connections that nobody uses, each with the number of its host.
    idle: Mutex<Vec<(usize, Session)>>,
}

/// Why a host gave no answer.
enum Fault {
    /// What it, or the way to it, said.
    Told(String),
    /// It neither answers nor takes connections.
    Silent,
}

impl Shard {
    pub(super) fn new(address: Address, held: Held) -> Self {
        Self { address, held, current: AtomicUsize::new(0), idle: Mutex::default() }
    }

    /// The answer to a question, from whichever host gives it, before `deadline`.
    ///
    /// # Errors
    /// Names this shard, and what became of each of its hosts.
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

    /// Remembers who answered, and tells where it is another one.
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
                // It may have ended long ago: a new one tells whether the host is there.
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

    /// Waits for an answer for as long as its host takes connections: one that hangs, or has gone without a word, does not.
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

    /// A connection to this host that nobody uses. Those to other hosts are ended.
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
