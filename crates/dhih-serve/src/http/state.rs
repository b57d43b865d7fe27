//! One collection that is served: its run, its reloads, its picture encoder and its snapshots. `shared.rs` has the state that all
//! collections share.

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
    /// Held during a reload: one at a time.
    reloading: Mutex<()>,
    is_reloading: AtomicBool,
    last_reload: ArcSwapOption<LastReload>,
    /// Whether the last check of a store found that searches can be answered. Always true for an index on the local disk.
    is_store_available: AtomicBool,
    pictures: PictureEncoder,
    snapshots: Snapshots,
    /// The current snapshot for followers.
    offers: Offers,
    /// The status of following a primary; absent if this service follows none.
    following: ArcSwapOption<FollowStatus>,
    /// The most bytes of changes that the journal keeps; 0 ends it. If absent, the items keep the journal that they have.
    journal_bytes: Option<u64>,
}

impl AppState {
    /// Serves `run` as the only collection, with the given limits, keys and queue.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        Self::of(CollectionName::default(), run, Arc::new(Shared::new(limits, keys, queue)))
    }

    /// Serves `run` as the collection `name`.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub fn of(name: CollectionName, run: Run, shared: Arc<Shared>) -> std::io::Result<Self> {
        let api = name.api_path(shared.path_prefix());
        let run = run.with_addresses(Addresses { api, links: shared.links().cloned() });
        // A GPU runs one batch after the other. Without a network there is nothing to encode.
        let workers = match run.encoder() {
            Ok(encoder) if encoder.is_on_cpu() => rayon::current_num_threads(),
            Ok(_) => 1,
            Err(_) => 0,
        };
        let image = shared.limits().image.clone();
        let threads = shared.threads().clone();
        let pictures = PictureEncoder::start(shared.queue(), workers, threads, image)?;
        let offers = Offers::default();
        if let Ok(items) = run.items() {
            offers.withdraw(items);
        }
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
            offers,
            following: ArcSwapOption::empty(),
            journal_bytes: None,
        })
    }

    /// The name of the collection.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// The state that all collections share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The run that is currently served.
    pub fn run(&self) -> Arc<Run> {
        self.run.load_full()
    }

    /// Reopens the run and its index and serves what is there now. Requests in progress end with the old run. If reopening fails, the old
    /// run is served and changed as before. If a reload is in progress, this waits for it and reloads again, because the other one may have
    /// read older files.
    ///
    /// # Errors
    /// As for [`Run::load`].
    pub fn reload(&self) -> Result<Arc<Run>> {
        self.reload_holding(self.reloading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`reload`](Self::reload), but returns `None` at once if a reload is in progress.
    pub(crate) fn try_reload(&self) -> Option<Result<Arc<Run>>> {
        match self.reloading.try_lock() {
            Ok(one) => Some(self.reload_holding(one)),
            Err(TryLockError::Poisoned(one)) => Some(self.reload_holding(one.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn reload_holding(&self, _one: MutexGuard<'_, ()>) -> Result<Arc<Run>> {
        self.is_reloading.store(true, Ordering::Relaxed);
        // A panic while opening the run counts as a failed reload.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.open_again()));
        self.is_reloading.store(false, Ordering::Relaxed);
        let reloaded = opened.unwrap_or_else(|_| {
            self.run().resume();
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
        // Verification reads every byte and uses all cores. It runs at low priority, because requests come first.
        let opened = in_background(|| old.reload()).map_err(|error| Error::System {
            what: "threads",
            source: std::io::Error::other(error),
        });
        let Some(new) = opened?? else {
            tracing::info!("reloaded: nothing on disk has changed");
            return Ok(old);
        };
        if let Err(error) = self.keep_journal(&new) {
            // Opening the new items has closed the old ones, which need the lock again.
            drop(new);
            old.resume();
            return Err(error);
        }
        let new = Arc::new(new);
        self.run.store(new.clone());
        old.retire(&new);
        if let Ok(items) = new.items()
            && !old.items().is_ok_and(|old| Arc::ptr_eq(old, items))
        {
            self.offers.withdraw(items);
        }
        Ok(new)
    }

    /// Whether a reload is under way.
    pub(crate) fn is_reloading(&self) -> bool {
        self.is_reloading.load(Ordering::Relaxed)
    }

    /// The result of the last reload.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.load().as_deref().copied()
    }

    /// Whether searches can be answered as far as is known. Shards of a remote store may be down.
    pub(crate) fn is_store_available(&self) -> bool {
        self.is_store_available.load(Ordering::Relaxed)
    }

    /// Records the result of a check of the store and returns the result before it.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_store_available(&self, available: bool) -> bool {
        self.is_store_available.swap(available, Ordering::Relaxed)
    }

    /// Makes snapshots in this directory.
    #[must_use]
    pub fn with_snapshots(mut self, dir: Option<PathBuf>) -> Self {
        self.snapshots = Snapshots::new(dir);
        self
    }

    /// Keeps a journal of at most `bytes` for followers; 0 ends it. `None` leaves the journal as it is.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
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

    /// The maker of snapshots for followers.
    pub(crate) fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Sets the status of following a primary, which the follower updates from now on.
    pub(crate) fn set_following(&self, status: Arc<FollowStatus>) {
        self.following.store(Some(status));
    }

    /// The status of following a primary; absent if the items are not a copy.
    pub(crate) fn followed(&self) -> Option<Followed> {
        let is_copy = self.run().items().is_ok_and(|items| items.primary().is_some());
        self.following.load().as_ref().filter(|_| is_copy).map(|status| status.now())
    }

    /// The maker of snapshots.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The encoder of pictures.
    pub(crate) fn pictures(&self) -> &PictureEncoder {
        &self.pictures
    }

    /// The number of images that are being decoded or encoded, or wait for it.
    pub fn images_under_way(&self) -> usize {
        self.pictures.depth()
    }
}

#[cfg(test)]
mod tests {
    use dhih_index::{CodeSet, Codes, IndexBuilder};

    use super::*;
    use crate::items::catalogue::{Catalogue, FILE};
    use crate::items::{Access, ItemId, NewItem};
    use crate::run::coder::Origin;
    use crate::run::source::Source;

    /// The bug: where the journal could not be kept as configured, the items of the old run stayed closed for the new one.
    #[test]
    fn items_of_a_run_can_be_changed_after_a_reload_that_failed_late() {
        let dir = tempfile::tempdir().unwrap();
        let (index, aside) = (dir.path().join("index"), dir.path().join("aside"));
        let set = CodeSet::new(Codes::new(8, vec![1, 2]).unwrap());
        IndexBuilder::default().build(&set, &index).unwrap();
        let catalogue = Catalogue::open(&index).unwrap();
        catalogue.keep_journal(1 << 20).unwrap();
        catalogue.set_primary("http://primary").unwrap();
        drop(catalogue);
        let copied = std::fs::read(index.join(FILE)).unwrap();
        assert!(Catalogue::open(&index).unwrap().promote().unwrap());
        let source = Source::Index { dir: index.clone(), access: Access::Follower };
        let run = Run::open(&Origin::Codes, &source).unwrap();
        let (limits, queue) = (Limits::default(), QueueConfig::default());
        let state = AppState::new(run, limits, Keys::default(), queue).unwrap();
        let state = state.with_journal(Some(0)).unwrap();
        // In the place of the catalogue comes one whose journal cannot end, and goes again.
        std::fs::rename(index.join(FILE), &aside).unwrap();
        std::fs::write(index.join(FILE), copied).unwrap();
        let refused = state.reload();
        assert!(matches!(refused, Err(Error::JournalOfCopy { .. })), "{refused:?}");
        std::fs::rename(&aside, index.join(FILE)).unwrap();
        let record = crate::items::catalogue::Record { code: "09".into(), ..Default::default() };
        let (thumbnail, digest, attributes) = (Vec::new(), None, None);
        let new = NewItem { id: ItemId::Next, record, thumbnail, digest, attributes };
        state.run().items().unwrap().add(vec![new]).unwrap();
    }
}
