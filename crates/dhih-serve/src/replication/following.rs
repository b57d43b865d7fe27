//! The loop of a follower. It requests the changes after its own position and applies them, and reconnects whenever the feed ends. If the
//! journal of the primary does not continue from this position, it fetches a snapshot. The current items are served all the while.

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
use crate::api::{Succeeded, Succession};
use crate::http::AppState;
use crate::items::catalogue::{Lineage, LoggedChange, Position};
use crate::items::{LocalItems, ReplayError};

/// The pause after the first failure, and the longest pause. The pause doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The attempts to fetch the first snapshot of a collection while other collections wait to be served: with the pauses between them, about
/// 13 seconds of a primary that cannot be reached.
const MOST_ATTEMPTS: usize = 8;
/// The most changes that are applied as one group, and the most bytes of their payloads.
const MOST: usize = 4096;
const BYTES: usize = 8 << 20;

/// A follower: the primary, the directory of the copy, and the status that is reported.
pub(crate) struct Follower {
    primary: Primary,
    place: Place,
    status: Arc<FollowStatus>,
}

/// How following begins.
pub(crate) enum Begun {
    /// There is a copy, which can be served.
    WithCopy,
    /// There is no copy. The primary does not let anybody follow, and will not until somebody changes that; or it was tried often enough.
    WithoutCopy(FollowError),
}

impl Follower {
    /// A follower of `primary` with its copy at `place`.
    pub(crate) fn new(primary: Primary, place: Place) -> Self {
        let status = Arc::new(FollowStatus::new(primary.address.to_string()));
        Self { primary, place, status }
    }

    /// Fetches the first snapshot if there is no copy yet. Retries until the primary answers, or [`MOST_ATTEMPTS`] times if
    /// `may_do_without` says then that others need not wait for it.
    ///
    /// # Errors
    /// When a directory cannot be renamed.
    pub(crate) async fn begin(&self, may_do_without: impl Fn() -> bool) -> crate::Result<Begun> {
        if self.place.recover()? {
            return Ok(Begun::WithCopy);
        }
        let (mut pauses, mut failures) = (Pauses::default(), 0);
        loop {
            match fetch(&self.primary, &self.place, &Lineage::default()).await {
                Ok(_) => {
                    block_in_place(|| self.place.put())?;
                    return Ok(Begun::WithCopy);
                }
                Err(error) if error.is_definite_refusal() => return Ok(Begun::WithoutCopy(error)),
                Err(error) => {
                    failures += 1;
                    if failures >= MOST_ATTEMPTS && may_do_without() {
                        return Ok(Begun::WithoutCopy(error));
                    }
                    tracing::warn!(%error, "no snapshot of the primary yet; it is tried again");
                    self.status.lost(error.code());
                }
            }
            pauses.wait().await;
        }
    }

    /// Starts the task that follows the primary and changes the items of `state`. When the items are promoted, it tells the former primary
    /// and ends.
    pub(crate) fn spawn(self, state: Arc<AppState>) -> JoinHandle<()> {
        state.set_following(self.status.clone());
        tokio::spawn(async move {
            block_in_place(|| self.place.tidy());
            match self.claim(&state).await {
                Err(FollowError::Replay(ReplayError::NotFollowing)) => {
                    tracing::warn!(
                        primary = self.status.primary(),
                        "this copy was promoted, so that nobody is followed: leave --follow out, or begin a new copy in another --index directory"
                    );
                    return self.succeed(&state).await;
                }
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
                    return self.succeed(&state).await;
                }
                metrics::counter!("dhih_replication_interruptions_total").increment(1);
                if error.asks_for_snapshot() {
                    tracing::warn!(%error, "all items are taken anew");
                    match self.take_anew(&state).await {
                        Ok(()) => {
                            pauses = Pauses::default();
                            continue;
                        }
                        Err(FollowError::Replay(ReplayError::NotFollowing)) => {
                            tracing::info!("this copy was promoted while a snapshot was taken");
                            return self.succeed(&state).await;
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

    /// Records the address of the primary in the items. Fails if the items are no copy, for example because they were promoted.
    async fn claim(&self, state: &Arc<AppState>) -> Result<(), FollowError> {
        let items = items(state)?;
        let primary = self.status.primary().to_owned();
        let followed = spawn_blocking(move || items.follow(primary)).await;
        Ok(followed
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            .map_err(ReplayError::from)?)
    }

    /// Applies the changes of a feed as they arrive. Returns only with an error.
    async fn follow(&self, state: &Arc<AppState>) -> Result<std::convert::Infallible, FollowError> {
        let mut position = position_of(state).ok_or(ReplayError::NotFollowing)?;
        items(state)?;
        let asked = format!("/replication/changes?after={position}");
        let mut feed = Feed::of(self.primary.get(&asked, 0).await?);
        self.status.connected();
        // No snapshot is needed, so that a part of one from an earlier attempt would only keep items that are deleted by now.
        block_in_place(|| self.place.give_up());
        tracing::info!(position = position.number, "the primary is followed");
        loop {
            let Group { changes, head, .. } = feed.next().await?;
            if !changes.is_empty() {
                position = replay(state, changes).await?;
            }
            if let Some(Head { number, at }) = head {
                self.status.saw(number, position.number, at);
            }
            // The items may have been promoted while the feed was idle.
            items(state)?;
        }
    }

    /// Tells the former primary that these items were promoted, as soon as it can be reached, so that it accepts no changes any more.
    async fn succeed(&self, state: &Arc<AppState>) {
        // A snapshot that was being fetched is not needed any more.
        block_in_place(|| self.place.give_up());
        let mut pauses = Pauses::default();
        let mut is_first = true;
        loop {
            match self.tell(state).await {
                Ok(true) => {
                    return tracing::info!(
                        former = self.status.primary(),
                        "the former primary refuses changes from now on"
                    );
                }
                Ok(false) => return,
                Err(FollowError::Refused { status: 409, code, message, .. })
                    if code == "other_history" =>
                {
                    return tracing::info!(
                        message,
                        "what is at the address of the former primary has nothing to refuse"
                    );
                }
                Err(error @ FollowError::Refused { status: 409 | 422, .. }) => {
                    return tracing::error!(%error, "the former primary does not see that it was replaced, and may accept changes that no other service gets: stop it");
                }
                Err(error) if is_first => {
                    is_first = false;
                    tracing::warn!(%error, "the former primary was not told of the promotion, and would accept changes; it is tried again");
                }
                Err(_) => {}
            }
            pauses.wait().await;
        }
    }

    /// Sends the epoch to the former primary. Returns whether it gives way.
    async fn tell(&self, state: &Arc<AppState>) -> Result<bool, FollowError> {
        let run = state.run();
        let Lineage { epoch, history, fork, .. } =
            run.items().map_err(ReplayError::from)?.lineage()?;
        let Some(fork) = fork else { return Ok(false) };
        let succession = Succession { epoch, position: fork.to_string(), history };
        let Succeeded { superseded } = self.primary.post("/replication/epoch", &succession).await?;
        Ok(superseded)
    }

    /// Replaces all items by those of a new snapshot. They may be promoted until the snapshot is complete, and then stay.
    async fn take_anew(&self, state: &Arc<AppState>) -> Result<(), FollowError> {
        let lineage = items(state)?.lineage()?;
        fetch(&self.primary, &self.place, &lineage).await?;
        block_in_place(|| {
            let run = state.run();
            let items = run.items().map_err(ReplayError::from)?;
            if !items.close_copy() {
                return Err(ReplayError::NotFollowing.into());
            }
            self.replace(state).inspect_err(|_| items.resume())?;
            metrics::counter!("dhih_replication_snapshots_total").increment(1);
            Ok(())
        })
    }

    /// Serves the snapshot that was fetched, or what was served before if that fails. No change of the items is in progress.
    fn replace(&self, state: &AppState) -> Result<(), FollowError> {
        self.place.put()?;
        if let Err(error) = state.reload() {
            if let Err(error) = self.place.take_back() {
                tracing::error!(%error, "the old copy is not in its place");
            }
            return Err(error.into());
        }
        self.place.tidy();
        Ok(())
    }
}

/// A feed that is being read.
struct Feed {
    answer: Answer,
    frames: Frames,
    /// The moment at which all received bytes had been read. Every frame that is read afterwards was therefore received after this moment.
    drained: Instant,
}

/// Frames that are handled together.
#[derive(Default)]
struct Group {
    changes: Vec<LoggedChange>,
    bytes: usize,
    head: Option<Head>,
}

/// The position of the primary at a moment.
struct Head {
    number: u64,
    /// A moment no later than the one at which the follower received the number. The lag is counted from it, so that work of the follower
    /// itself cannot make the lag look shorter.
    at: Instant,
}

impl Feed {
    fn of(answer: Answer) -> Self {
        Self { answer, frames: Frames::default(), drained: Instant::now() }
    }

    /// Waits for the next frames, and returns those that have arrived, up to the bounds of a group.
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

/// The items, if they are still a copy.
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

/// Pauses that grow exponentially, with random jitter, so that the followers of a primary do not all reconnect at the same moment.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    pub(super) async fn wait(&mut self) {
        // Each `RandomState` has different keys, so the hash of nothing is a random number.
        let random = RandomState::new().build_hasher().finish();
        let spread = self.0.mul_f64(0.5 + random as f64 / u64::MAX as f64);
        sleep(spread).await;
        self.0 = (2 * self.0).min(LONGEST_PAUSE);
    }
}
