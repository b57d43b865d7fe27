//! A follower at work: it asks the primary for what comes after its own position, makes those changes, and asks again whenever that ends; where
//! the primary cannot go on from there, it takes a snapshot. What it serves meanwhile is what it has.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, block_in_place, spawn_blocking};
use tokio::time::sleep;

use super::client::{Answer, Primary};
use super::error::FollowError;
use super::fetch::fetch;
use super::frame::{Frame, Frames};
use super::place::Place;
use super::status::FollowStatus;
use crate::http::AppState;
use crate::items::catalogue::{LoggedChange, Position};
use crate::items::{LocalItems, ReplayError};

/// How long after a failure it is tried again: at first, and at most. It doubles in between.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Changes that are made together: so many at most, of so many bytes.
const MOST: usize = 4096;
const BYTES: usize = 8 << 20;

/// A follower.
pub(crate) struct Follower {
    primary: Primary,
    place: Place,
    status: Arc<FollowStatus>,
}

impl Follower {
    /// A follower of a primary whose copy is at `place`.
    pub(crate) fn new(primary: Primary, place: Place) -> Self {
        let status = Arc::new(FollowStatus::new(primary.address.to_string()));
        Self { primary, place, status }
    }

    /// Takes a first snapshot where there is no copy yet, however long it takes until the primary answers.
    ///
    /// # Errors
    /// A directory that cannot be renamed.
    pub(crate) async fn begin(&self) -> crate::Result<()> {
        if self.place.recover()? {
            return Ok(());
        }
        let mut pauses = Pauses::default();
        loop {
            match fetch(&self.primary, &self.place).await {
                Ok(_) => return block_in_place(|| self.place.put()),
                Err(error) => {
                    tracing::warn!(%error, "no snapshot of the primary yet; it is tried again");
                    self.status.lost(error.code());
                }
            }
            pauses.wait().await;
        }
    }

    /// Follows with the items of `state`, until they are promoted or the task is aborted.
    pub(crate) fn spawn(self, state: Arc<AppState>) -> JoinHandle<()> {
        state.set_following(self.status.clone());
        tokio::spawn(async move {
            block_in_place(|| self.place.tidy());
            match self.claim(&state).await {
                Err(FollowError::Replay(ReplayError::NotFollowing)) => return,
                Err(error) => tracing::warn!(%error, "the primary's address is not noted"),
                Ok(()) => {}
            }
            let mut pauses = Pauses::default();
            loop {
                let started = position_of(&state);
                let Err(error) = self.follow(&state).await;
                self.status.lost(error.code());
                if matches!(error, FollowError::Replay(ReplayError::NotFollowing)) {
                    tracing::info!("this is a primary from now on");
                    return;
                }
                metrics::counter!("dhih_replication_interruptions_total").increment(1);
                if error.asks_for_snapshot() {
                    tracing::warn!(%error, "all items are taken anew");
                    match self.take_anew(&state).await {
                        Ok(()) => {
                            pauses = Pauses::default();
                            continue;
                        }
                        Err(error) => {
                            tracing::error!(%error, "no snapshot of the primary; what was served before is served on");
                            self.status.lost(error.code());
                        }
                    }
                } else {
                    tracing::warn!(%error, "the primary is not followed at the moment; it is tried again");
                }
                if position_of(&state) != started {
                    pauses = Pauses::default();
                }
                pauses.wait().await;
            }
        })
    }

    /// Notes whom the items follow from now on, where they are a copy.
    async fn claim(&self, state: &Arc<AppState>) -> Result<(), FollowError> {
        let items = items(state).inspect_err(|_| {
            tracing::warn!(
                primary = self.status.primary(),
                "this copy was promoted, so that nobody is followed: leave --follow out, or begin a new copy in another --index directory"
            );
        })?;
        let primary = self.status.primary().to_owned();
        let followed = spawn_blocking(move || items.follow(primary)).await;
        Ok(followed
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            .map_err(ReplayError::from)?)
    }

    /// Makes changes as they come, until that fails.
    async fn follow(&self, state: &Arc<AppState>) -> Result<std::convert::Infallible, FollowError> {
        let mut position = position_of(state).ok_or(ReplayError::NotFollowing)?;
        items(state)?;
        let asked = format!("/replication/changes?after={position}");
        let mut feed = Feed::of(self.primary.get(&asked, 0).await?);
        self.status.connected();
        tracing::info!(position = position.number, "the primary is followed");
        loop {
            let Group { changes, head, .. } = feed.next().await?;
            if !changes.is_empty() {
                position = replay(state, changes).await?;
            }
            if let Some(Head { number, at }) = head {
                self.status.saw(number, position.number, at);
            }
            // It may have been promoted while nothing came.
            items(state)?;
        }
    }

    async fn take_anew(&self, state: &Arc<AppState>) -> Result<(), FollowError> {
        fetch(&self.primary, &self.place).await?;
        block_in_place(|| {
            self.place.put()?;
            match state.reload() {
                Ok(_) => {
                    self.place.tidy();
                    metrics::counter!("dhih_replication_snapshots_total").increment(1);
                    Ok(())
                }
                Err(error) => {
                    self.place.take_back()?;
                    Err(error.into())
                }
            }
        })
    }
}

/// A feed that is read.
struct Feed {
    answer: Answer,
    frames: Frames,
    /// When everything that had come was last read. What comes next was sent later.
    drained: Instant,
}

/// What is done together.
#[derive(Default)]
struct Group {
    changes: Vec<LoggedChange>,
    bytes: usize,
    head: Option<Head>,
}

/// How far the primary is.
struct Head {
    number: u64,
    /// A moment from which on it was so.
    at: Instant,
}

impl Feed {
    fn of(answer: Answer) -> Self {
        Self { answer, frames: Frames::default(), drained: Instant::now() }
    }

    /// What has come, once something has: as much of it as is made together.
    async fn next(&mut self) -> Result<Group, FollowError> {
        let mut group = Group::default();
        while group.changes.len() < MOST && group.bytes < BYTES {
            match self.frames.next()? {
                Some(Frame::Change(change)) => {
                    group.bytes += change.payload.len();
                    group.changes.push(change);
                }
                Some(Frame::Head(number)) => group.head = Some(Head { number, at: self.drained }),
                None => match self.answer.next_if_here()? {
                    Some(bytes) => self.frames.push(&bytes),
                    None => {
                        self.drained = Instant::now();
                        if !group.changes.is_empty() || group.head.is_some() {
                            break;
                        }
                        let bytes = self.answer.next().await?.ok_or(FollowError::Ended)?;
                        self.frames.push(&bytes);
                    }
                },
            }
        }
        Ok(group)
    }
}

async fn replay(
    state: &Arc<AppState>,
    changes: Vec<LoggedChange>,
) -> Result<Position, FollowError> {
    let items = items(state)?;
    let made = changes.len() as u64;
    let replayed = spawn_blocking(move || items.replay(changes)).await;
    let position =
        replayed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    metrics::counter!("dhih_replication_changes_total").increment(made);
    Ok(position)
}

/// The items that follow.
fn items(state: &AppState) -> Result<Arc<LocalItems>, ReplayError> {
    let items = state.run().items()?.clone();
    match items.primary() {
        Some(_) => Ok(items),
        None => Err(ReplayError::NotFollowing),
    }
}

fn position_of(state: &AppState) -> Option<Position> {
    state.run().items().ok()?.position()
}

/// Pauses that become longer, and of which no two followers have the same.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    async fn wait(&mut self) {
        // Each of these has other keys.
        let random = RandomState::new().build_hasher().finish();
        let spread = self.0.mul_f64(0.5 + random as f64 / u64::MAX as f64);
        sleep(spread).await;
        self.0 = (2 * self.0).min(LONGEST_PAUSE);
    }
}
