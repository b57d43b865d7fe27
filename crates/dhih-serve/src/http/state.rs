//! One collection as it is served: its run, how reloads of it went, what encodes its pictures and what makes its snapshots. What all
//! collections share: `shared.rs`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::api::LastReload;
use crate::background::in_background;
use crate::collections::CollectionName;
use crate::encode::{PictureEncoder, QueueConfig};
use crate::http::shared::Shared;
use crate::items::ChangeError;
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::operation::snapshots::Snapshots;
use crate::replication::offer::Offers;
use crate::replication::status::{FollowStatus, Followed};
use crate::run::{Addresses, Run};
use crate::{Error, Result};

/// A collection that is served.
#[derive(Debug)]
pub struct AppState {
    name: CollectionName,
    shared: Arc<Shared>,
    run: ArcSwap<Run>,
    /// One reload at a time.
    reloading: Mutex<()>,
    is_reloading: AtomicBool,
    last_reload: ArcSwapOption<LastReload>,
    /// Whether the last check of a store found that searches can be answered. Always true where codes are on this machine's disk.
    is_store_available: AtomicBool,
    pictures: PictureEncoder,
    snapshots: Snapshots,
    /// The snapshot for followers.
    offers: Offers,
    /// How far the followed primary is ahead; absent where none is followed.
    following: ArcSwapOption<FollowStatus>,
    /// Bytes of the journal that is kept for followers; absent where that is left to what the items have.
    journal_bytes: Option<u64>,
}

impl AppState {
    /// Serves `run` alone, within `limits`, to those with `keys`, under the names of this machine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        Self::of(CollectionName::default(), run, Arc::new(Shared::new(limits, keys, queue)))
    }

    /// Serves `run` as the collection of this name.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn of(name: CollectionName, run: Run, shared: Arc<Shared>) -> std::io::Result<Self> {
        let api = name.api_path(shared.path_prefix());
        let run = run.with_addresses(Addresses { api, links: shared.links().cloned() });
        // A GPU takes one batch after the other; without a network nothing is encoded.
        let workers = match run.encoder() {
            Ok(encoder) if encoder.is_on_cpu() => rayon::current_num_threads(),
            Ok(_) => 1,
            Err(_) => 0,
        };
        let image = shared.limits().image.clone();
        let threads = shared.threads().clone();
        let pictures = PictureEncoder::start(shared.queue(), workers, threads, image)?;
        Ok(Self {
            name,
            shared,
            run: ArcSwap::from_pointee(run),
            reloading: Mutex::default(),
            is_reloading: AtomicBool::new(false),
            last_reload: ArcSwapOption::empty(),
            is_store_available: AtomicBool::new(true),
            pictures,
            snapshots: Snapshots::default(),
            offers: Offers::default(),
            following: ArcSwapOption::empty(),
            journal_bytes: None,
        })
    }

    /// The collection's name.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// What all collections share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The run being served.
    pub fn run(&self) -> Arc<Run> {
        self.run.load_full()
    }

    /// Opens the run and its index anew and serves what is there now. Requests that are under way end with the old one; on
    /// failure that goes on being served and changed. Waits for a reload that is under way, which may have seen older files.
    ///
    /// # Errors
    /// As for [`Run::load`].
    pub fn reload(&self) -> Result<Arc<Run>> {
        self.reload_holding(self.reloading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`reload`](Self::reload), but `None` at once where one is under way.
    pub(crate) fn try_reload(&self) -> Option<Result<Arc<Run>>> {
        match self.reloading.try_lock() {
            Ok(one) => Some(self.reload_holding(one)),
            Err(TryLockError::Poisoned(one)) => Some(self.reload_holding(one.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn reload_holding(&self, _one: MutexGuard<'_, ()>) -> Result<Arc<Run>> {
        self.is_reloading.store(true, Ordering::Relaxed);
        // A panic of the opening is a failure of the reload as any other.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.open_again()));
        self.is_reloading.store(false, Ordering::Relaxed);
        let reloaded = opened.unwrap_or_else(|_| {
            let reason = "opening the run panicked".into();
            Err(Error::Unusable { reason, make: "cargo run --release -p dhih-train".into() })
        });
        let outcome = if reloaded.is_ok() { "done" } else { "failed" };
        metrics::counter!("dhih_reloads_total", "outcome" => outcome).increment(1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reason = reloaded.as_ref().err().map(Error::code);
        let last = LastReload { ok: reloaded.is_ok(), at: since.as_secs(), reason };
        self.last_reload.store(Some(Arc::new(last)));
        reloaded
    }

    fn open_again(&self) -> Result<Arc<Run>> {
        let old = self.run();
        // Opening verifies every byte, which takes all cores for a while: requests come first.
        let opened = in_background(|| old.reload()).map_err(|error| Error::System {
            what: "threads",
            source: std::io::Error::other(error),
        });
        let Some(new) = opened?? else {
            tracing::info!("reloaded: nothing on disk has changed");
            return Ok(old);
        };
        self.keep_journal(&new)?;
        let new = Arc::new(new);
        self.run.store(new.clone());
        old.retire(&new);
        Ok(new)
    }

    /// Whether a reload is under way.
    pub(crate) fn is_reloading(&self) -> bool {
        self.is_reloading.load(Ordering::Relaxed)
    }

    /// How the last reload ended.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.load().as_deref().copied()
    }

    /// Whether searches can be answered as far as is known: a store elsewhere may have shards that do not answer.
    pub(crate) fn is_store_available(&self) -> bool {
        self.is_store_available.load(Ordering::Relaxed)
    }

    /// Notes what a check of the store found, and says what the one before had found.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_store_available(&self, available: bool) -> bool {
        self.is_store_available.swap(available, Ordering::Relaxed)
    }

    /// Makes snapshots below this directory.
    #[must_use]
    pub fn with_snapshots(mut self, dir: Option<PathBuf>) -> Self {
        self.snapshots = Snapshots::new(dir);
        self
    }

    /// Keeps a journal of so many bytes for followers; 0 ends it, and without a number what the items have is left as it is.
    ///
    /// # Errors
    /// A catalogue that cannot be written to.
    pub fn with_journal(mut self, bytes: Option<u64>) -> Result<Self> {
        self.journal_bytes = bytes;
        self.keep_journal(&self.run())?;
        Ok(self)
    }

    fn keep_journal(&self, run: &Run) -> Result<()> {
        match (self.journal_bytes, run.items()) {
            (Some(bytes), Ok(items)) => items.keep_journal(bytes).map_err(|error| match error {
                ChangeError::Failed(error) | ChangeError::NotWritable(error) => error,
                other => Error::NotAdded { reason: other.to_string() },
            }),
            _ => Ok(()),
        }
    }

    /// The snapshot for followers.
    pub(crate) fn offers(&self) -> &Offers {
        &self.offers
    }

    /// A primary is followed from now on.
    pub(crate) fn set_following(&self, status: Arc<FollowStatus>) {
        self.following.store(Some(status));
    }

    /// How far behind the primary this is, where one is followed.
    pub(crate) fn followed(&self) -> Option<Followed> {
        let is_copy = self.run().items().is_ok_and(|items| items.primary().is_some());
        self.following.load().as_ref().filter(|_| is_copy).map(|status| status.now())
    }

    /// What makes snapshots.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// What encodes pictures.
    pub(crate) fn pictures(&self) -> &PictureEncoder {
        &self.pictures
    }

    /// Images that are decoded or encoded, or wait for it.
    pub fn images_under_way(&self) -> usize {
        self.pictures.depth()
    }
}
