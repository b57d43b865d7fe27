//! A writer that many threads share: changes that arrive while another is being synced are committed together (group commit).

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::batch::{Batch, Changed};
use crate::index::writer::IndexWriter;

/// An [`IndexWriter`] for many threads, with group commit. Cheap to clone.
///
/// A thread that calls [`apply`](Self::apply) waits until its batch is durable. Batches that arrive while the disk is busy with others
/// share the next record and the next sync, so throughput grows with the number of threads.
///
/// ```
/// use dhih_index::{Batch, CodeSet, Codes, IndexBuilder, SharedWriter};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = |id: u64| -> dhih_index::Result<CodeSet> {
///     Ok(CodeSet { ids: Some(vec![id]), ..CodeSet::new(Codes::new(8, vec![id as u8])?) })
/// };
/// IndexBuilder::default().build(&set(0)?, &dir)?;
///
/// let writer = SharedWriter::open(&dir)?;
/// std::thread::scope(|scope| {
///     let add = |id| writer.apply(Batch::new().add(set(id)?));
///     let threads: Vec<_> = (1..9).map(|id| scope.spawn(move || add(id))).collect();
///     threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap().unwrap().added, 1));
/// });
/// assert_eq!(writer.snapshot().len(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SharedWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Vec<Waiting>>,
    writer: Mutex<IndexWriter>,
}

/// A batch whose thread waits.
#[derive(Debug)]
struct Waiting {
    batch: Batch,
    answer: SyncSender<Result<Changed>>,
}

impl SharedWriter {
    /// Opens an index to change it, as [`IndexWriter::open`].
    ///
    /// # Errors
    /// The same errors.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        IndexWriter::open(dir).map(Self::new)
    }

    /// Shares a writer.
    pub fn new(writer: IndexWriter) -> Self {
        Self(Arc::new(Shared { waiting: Mutex::default(), writer: Mutex::new(writer) }))
    }

    /// Makes all changes of a batch. When this returns they are durable.
    ///
    /// # Errors
    /// As for [`IndexWriter::apply`].
    pub fn apply(&self, batch: Batch) -> Result<Changed> {
        let (answer, answered) = sync_channel(1);
        lock(&self.0.waiting).push(Waiting { batch, answer });
        // The thread that gets the writer commits the batches of all waiting threads. Another thread may have committed this batch while
        // this one waited.
        let mut writer = lock(&self.0.writer);
        let waiting = std::mem::take(&mut *lock(&self.0.waiting));
        let (batches, answers): (Vec<Batch>, Vec<_>) =
            waiting.into_iter().map(|waiting| (waiting.batch, waiting.answer)).unzip();
        if !batches.is_empty() {
            for (answer, result) in answers.iter().zip(writer.apply_all(&batches)) {
                // A thread that no longer waits needs no answer.
                let _ = answer.send(result);
            }
        }
        drop(writer);
        answered.recv().unwrap_or_else(|_| {
            Err(Error::CommitFailed { dir: self.snapshot().dir, poisoned: true })
        })
    }

    /// Adds items, or replaces those that have the same ids.
    ///
    /// # Errors
    /// As for [`IndexWriter::upsert`].
    pub fn upsert(&self, set: CodeSet) -> Result<Changed> {
        self.apply(Batch::new().upsert(set))
    }

    /// The index as it is now.
    pub fn snapshot(&self) -> Index {
        lock(&self.0.writer).snapshot()
    }

    /// Calls `work` with the writer; changes of other threads wait meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut IndexWriter) -> T) -> T {
        work(&mut lock(&self.0.writer))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
