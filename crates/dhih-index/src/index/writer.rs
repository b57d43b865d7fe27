//! `IndexWriter`: the one process that changes an index while others search it. A change is acknowledged once its record in the
//! write-ahead log is synced. Turning the log into segments, and merging these, is `compaction.rs`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::build::IndexConfig;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::batch::{Batch, Changed};
use crate::index::component::Component;
use crate::index::log::{Log, keep_torn_end, logged_state, write_log};
use crate::index::merge_job::{MEMTABLE, Merge, MergeFailure};
use crate::index::options::OpenOptions;
use crate::progress::Listener;
use crate::store::disk::{AppendError, Appender};
use crate::store::format::Origin;
use crate::store::lock::lock;
use crate::store::manifest::{Entry, Manifest, log_name};
use crate::store::sweep::sweep;
use crate::store::wal::{self, BatchChange, Change, LogState};

/// The one writer of an index directory; others are kept out until it is dropped.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, IndexWriter};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let codes = |bytes: &[u8]| Codes::new(8, bytes.to_vec());
/// IndexBuilder::default().build(&CodeSet::new(codes(&[0b0001, 0b0111])?), &dir)?;
///
/// let mut writer = IndexWriter::open(&dir)?;
/// let before = writer.snapshot();
/// writer.add(&CodeSet { ids: Some(vec![40]), ..CodeSet::new(codes(&[0b1111])?) })?;
/// writer.remove(&[0])?;
///
/// assert_eq!(writer.snapshot().knn(&[0b1111], 1)?[0].id, 40);
/// assert_eq!((before.len(), writer.snapshot().ids()), (2, vec![1, 40]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IndexWriter {
    pub(super) index: Index,
    log: Option<Log>,
    pub(super) config: IndexConfig,
    /// The callback that receives the progress of merges.
    pub(super) listener: Option<Listener>,
    /// The failure after which the content of the disk is unknown, if there was one. Such a writer refuses every change.
    poisoned: Option<String>,
    /// The merge that runs in the background.
    pub(super) merge: Option<Merge>,
    /// Why the last merge in the background failed; `None` once one succeeded.
    pub(super) merge_failure: Option<MergeFailure>,
    _lock: File,
}

impl IndexWriter {
    /// Opens an index for changes. Bytes that an interrupted write left at the end of the write-ahead log are moved to `wal-N.torn` beside
    /// it.
    ///
    /// # Errors
    /// As for [`Index::open`], a damaged log among them; another writer; a directory that cannot be written to.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open_writer(dir, IndexConfig::default())
    }

    fn of(index: Index, log: Option<Log>, lock: File) -> Self {
        Self {
            index,
            log,
            config: IndexConfig::default(),
            listener: None,
            poisoned: None,
            merge: None,
            merge_failure: None,
            _lock: lock,
        }
    }

    /// A writer whose next publication begins a new log, even if the index already has one.
    pub(super) fn without_log(index: Index, lock: File) -> Self {
        Self::of(index, None, lock)
    }

    /// As [`open`](Self::open), with the number of substrings and the memory of the segments that merges write. By default a segment
    /// keeps the substrings of the largest one that went into it, and a merge takes at most 1 GiB.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with(dir: impl AsRef<Path>, config: IndexConfig) -> Result<Self> {
        OpenOptions::new().open_writer(dir, config)
    }

    /// The index as it is now; later changes do not show in it.
    pub fn snapshot(&self) -> Index {
        self.index.clone()
    }

    /// Adds items. Items without ids are numbered after the greatest existing id. When this returns, they are durable.
    ///
    /// # Errors
    /// When codes have another length or model, labels are of another kind, an id is taken, or the disk is full or fails. Nothing was added
    /// then. [`Error::Poisoned`] means that it is unknown whether the items were added.
    pub fn add(&mut self, set: &CodeSet) -> Result<()> {
        self.apply(&Batch::new().add(set.clone())).map(drop)
    }

    /// Adds items, or replaces those that have the same ids. When this returns the change is durable.
    ///
    /// # Errors
    /// As for [`add`](Self::add), but for ids that are taken.
    pub fn upsert(&mut self, set: &CodeSet) -> Result<Changed> {
        self.apply(&Batch::new().upsert(set.clone()))
    }

    /// Removes items and returns how many of these ids existed. When this returns, the removal is durable.
    ///
    /// # Errors
    /// When the disk is full or fails; nothing was removed then. [`Error::Poisoned`] as for [`add`](Self::add).
    pub fn remove(&mut self, ids: &[u64]) -> Result<usize> {
        let changed = self.apply(&Batch::new().remove(ids.iter().copied()))?;
        Ok(changed.removed)
    }

    /// Makes all changes of a batch, with one record in the log and one sync. When this returns they are durable; after a crash all of
    /// them or none are there.
    ///
    /// Where the index needs merging afterwards, that begins in the background; its success or failure does not change the answer.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn apply(&mut self, batch: &Batch) -> Result<Changed> {
        self.install_finished_merge();
        let (change, changed) = batch.prepare(&self.index)?;
        self.commit(change)?;
        self.merge_in_background();
        Ok(changed)
    }

    /// Makes the changes of several batches, each all or nothing, with one record in the log and one sync: group commit. A batch that
    /// does not fit is refused and does not touch the others.
    pub fn apply_all(&mut self, batches: &[Batch]) -> Vec<Result<Changed>> {
        if let [batch] = batches {
            return vec![self.apply(batch)];
        }
        if self.check_usable().is_err() {
            return batches
                .iter()
                .map(|_| self.check_usable().map(|()| Changed::default()))
                .collect();
        }
        self.install_finished_merge();
        let (mut next, mut changes) = (self.index.clone(), Vec::new());
        let mut prepare = |batch: &Batch| {
            let (change, changed) = batch.prepare(&next)?;
            next.apply(Change::Batch(change.clone()))?;
            if change != BatchChange::default() {
                changes.push(Change::Batch(change));
            }
            Ok(changed)
        };
        let answers: Vec<Result<Changed>> = batches.iter().map(&mut prepare).collect();
        match self.commit_all(changes) {
            Ok(()) => {
                self.merge_in_background();
                answers
            }
            Err(error) => {
                // Each caller gets an error of its own, because an error cannot be cloned.
                let mut error = Some(error);
                let again = |error: &mut Option<Error>| {
                    error.take().unwrap_or_else(|| Error::CommitFailed {
                        dir: self.index.dir.clone(),
                        poisoned: self.poisoned.is_some(),
                    })
                };
                answers
                    .into_iter()
                    .map(|answer| answer.and_then(|_| Err(again(&mut error))))
                    .collect()
            }
        }
    }

    /// Refuses to continue once the content of the disk is unknown.
    pub(super) fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            Some(cause) => {
                let (dir, cause) = (self.index.dir.clone(), cause.clone());
                Err(Error::Poisoned { dir, cause })
            }
            None => Ok(()),
        }
    }

    pub(super) fn commit(&mut self, change: BatchChange) -> Result<()> {
        self.check_usable()?;
        if change == BatchChange::default() {
            return Ok(());
        }
        // Many items become a segment at once; in the log they would be written twice.
        if change.added.len() >= MEMTABLE {
            return self.commit_as_segment(change);
        }
        self.commit_all(vec![Change::Batch(change)])
    }

    /// Writes one record of these changes to the log, and then applies them.
    fn commit_all(&mut self, changes: Vec<Change>) -> Result<()> {
        // Installing a merge may have failed just now in a way that leaves another manifest on disk than is known here.
        self.check_usable()?;
        if changes.is_empty() {
            return Ok(());
        }
        if self.log.is_none() {
            self.begin_log()?;
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        let (record, cursor) = wal::encode(&changes, log.cursor)?;
        match log.file.append(&record) {
            Ok(()) => log.cursor = cursor,
            Err(AppendError::Undone(cause)) => {
                return Err(Error::io("append to", log.file.path())(cause));
            }
            Err(AppendError::Unknown(cause)) => {
                self.poisoned = Some(cause.to_string());
                return self.check_usable();
            }
        }
        self.index.log = Some(log.state());
        changes.into_iter().try_for_each(|change| self.index.apply(change))
    }

    /// Begins a new log that holds the tombstones and the memtable.
    pub(super) fn begin_log(&mut self) -> Result<()> {
        let entries = self.entries()?;
        self.publish(Publication { components: self.index.components.clone(), entries, log: true })
    }

    /// The manifest's entries of the segments.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.index.manifest.segments(&self.index.dir)?.to_vec())
    }

    /// Which index a file belongs to that is written for the next generation.
    pub(super) fn next_origin(&self) -> Origin {
        Origin { generation: self.index.origin.generation + 1, ..self.index.origin }
    }

    /// The length of the log in bytes, and when it was begun.
    pub(super) fn log_bytes(&self) -> (u64, u64) {
        self.log.as_ref().map_or((0, 0), |log| (log.file.len(), log.first_len))
    }

    /// Replaces the manifest; from then on these components are the index.
    pub(super) fn publish(&mut self, publication: Publication) -> Result<()> {
        self.check_usable()?;
        let Publication { components, entries, log } = publication;
        let (dir, origin) = (self.index.dir.clone(), self.next_origin());
        // The lock keeps other writers out, unless the file system has no locks or the lock file was removed.
        if Manifest::read(&dir)? != *self.index.manifest {
            return Err(Error::Fenced { dir });
        }
        let changes = logged_state(&components);
        let log = match changes.is_empty() && !log {
            true => None,
            false => Some(write_log(&dir, self.index.shape(), origin, &changes)?),
        };
        let manifest = Manifest::new(
            self.index.manifest.features(),
            origin,
            entries,
            log.as_ref().map(|log| log.number),
        );
        if let Err(error) = manifest.write(&dir) {
            // The new manifest may nevertheless be on disk. It then names another log than the one that this writer would append to.
            if Manifest::read(&dir).ok().as_ref() != Some(&*self.index.manifest) {
                self.poisoned = Some(error.to_string());
            }
            return Err(error);
        }
        self.index.manifest = Arc::new(manifest);
        self.index.origin = origin;
        self.index.components = components;
        self.index.log = log.as_ref().map(Log::state);
        self.log = log;
        // A merge in the background has files that no manifest names yet.
        if self.merge.is_none() {
            sweep(&dir, &self.index.manifest);
        }
        Ok(())
    }
}

impl OpenOptions {
    /// Opens an index for changes, as [`IndexWriter::open_with`]. The options hold for the segments that are there and for those that the
    /// writer makes, and so for all its snapshots.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, IndexBuilder, IndexConfig, OpenOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// IndexBuilder::default().build(&CodeSet::new(Codes::new(8, vec![1, 2, 3])?), &dir)?;
    ///
    /// let options = OpenOptions::new().populate(true);
    /// let mut writer = options.open_writer(&dir, IndexConfig::default())?;
    /// writer.remove(&[1])?;
    /// assert_eq!(writer.snapshot().ids(), [0, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`IndexWriter::open`] and [`OpenOptions::open`].
    pub fn open_writer(&self, dir: impl AsRef<Path>, config: IndexConfig) -> Result<IndexWriter> {
        let dir = dir.as_ref();
        Manifest::read(dir)?;
        let lock = lock(dir)?;
        let mut index = self.open(dir)?;
        let log = match index.log.clone() {
            Some(LogState { number, len, cursor, torn }) => {
                let path = dir.join(log_name(number));
                if let Some(torn) = torn {
                    keep_torn_end(&path, number, torn)?;
                }
                let file = Appender::open(&path, len)?;
                // A log of version 1 is not written to: the next change begins a new one.
                cursor.map(|cursor| Log { number, file, cursor, first_len: 0 })
            }
            None => None,
        };
        if let Some(state) = &mut index.log {
            state.torn = None;
        }
        sweep(dir, &index.manifest);
        let mut writer = IndexWriter::of(index, log, lock);
        writer.config = config;
        Ok(writer)
    }
}

/// What the index consists of after a publication.
pub(super) struct Publication {
    /// Segments, and last the memtable where it has items.
    pub(super) components: Vec<Component>,
    /// The manifest's entries of the segments, in their order.
    pub(super) entries: Vec<Entry>,
    /// Whether a log is begun even where there is nothing to write into it.
    pub(super) log: bool,
}
