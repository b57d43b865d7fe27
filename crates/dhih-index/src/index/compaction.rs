//! Compaction: the memtable becomes a segment, small segments become larger ones, and rows with tombstones are dropped.
//!
//! Which components are merged: those that are due, and then every segment that is at most twice as large as all that is merged
//! already, so that each remaining segment is more than twice as large as the next. A merge reads a snapshot and runs in the background;
//! what was changed meanwhile is carried over when its segment is installed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;

use crate::codes::items::Items;
use crate::error::{Error, Result};
use crate::index::component::{Component, Data};
use crate::index::memtable::MemTable;
use crate::index::merge_job::{MEMTABLE, Merge, MergeFailure, MergeJob};
use crate::index::open::open_segment;
use crate::index::writer::{IndexWriter, Publication};
use crate::progress::{Listener, Progress};
use crate::store::manifest::Entry;
use crate::store::wal::BatchChange;

/// A new log, without obsolete records, is begun when the log has at least this many bytes, and twice as many as when it was begun.
const LOG_BYTES: u64 = 16 << 20;
/// The longest time between two attempts of a merge that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The work of compaction that is due.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A new log: most of the present one is obsolete.
    Log,
    /// Merging these components, by their numbers.
    Merge(Vec<usize>),
}

impl IndexWriter {
    /// Performs the compaction that is due, and waits for it: turns a full memtable into a segment, merges segments, rewrites segments of
    /// which more than a third of the rows were removed, and begins a new log if the present one is long. A writer does the same in the
    /// background after changes. This method is for programs that end, and for seeing a failure.
    ///
    /// # Errors
    /// A damaged segment, which is kept as it is; a disk that does not take what is written. All acknowledged changes are there in any
    /// case.
    pub fn maintain(&mut self) -> Result<()> {
        self.wait_for_merge();
        self.check_usable()?;
        loop {
            match self.due() {
                Due::Nothing => return Ok(()),
                Due::Log => {
                    self.begin_log()?;
                    self.merge_failure = None;
                }
                Due::Merge(chosen) => self.merge_now(&chosen)?,
            }
        }
    }

    /// Calls `callback` with the progress of all merges from now on, including those in the background. If it returns
    /// [`ControlFlow::Break`], the merge ends with [`Error::Cancelled`], and the index stays as it was.
    pub fn on_progress(
        &mut self,
        callback: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static,
    ) {
        self.listener = Some(Listener::new(callback));
    }

    /// Why the last merge in the background failed; `None` once a merge succeeds. It is tried again, at growing intervals.
    pub fn merge_error(&self) -> Option<&Error> {
        self.merge_failure.as_ref().map(|failure| &failure.error)
    }

    /// Turns the memtable into a segment, however small it is, and merges segments so that each is more than twice as large as the next.
    ///
    /// # Errors
    /// As for [`maintain`](Self::maintain).
    pub fn flush(&mut self) -> Result<()> {
        self.wait_for_merge();
        self.check_usable()?;
        let chosen = self.with_smaller_segments(self.stale_and_memtable());
        match chosen.is_empty() {
            true => Ok(()),
            false => self.merge_now(&chosen),
        }
    }

    /// Merges everything into one segment, without removed items.
    ///
    /// # Errors
    /// As for [`maintain`](Self::maintain).
    pub fn compact(&mut self) -> Result<()> {
        self.wait_for_merge();
        self.check_usable()?;
        let all: Vec<usize> = (0..self.index.components.len()).collect();
        self.merge_now(&all)
    }

    fn due(&self) -> Due {
        let components = &self.index.components;
        let memtable = memtable_of(components).map_or(0, |table| table.len());
        let (bytes, first_bytes) = self.log_bytes();
        let log_is_long = bytes > LOG_BYTES.max(2 * first_bytes);
        let full = memtable >= MEMTABLE || (log_is_long && memtable >= MEMTABLE / 4);
        if full || components.iter().any(is_stale) {
            return Due::Merge(self.with_smaller_segments(self.stale_and_memtable()));
        }
        if log_is_long { Due::Log } else { Due::Nothing }
    }

    fn stale_and_memtable(&self) -> Vec<usize> {
        let components = self.index.components.iter().enumerate();
        let chosen = components.filter(|(_, it)| it.segment().is_none() || is_stale(it));
        chosen.map(|(number, _)| number).collect()
    }

    /// Adds the segments that are at most twice as large as what is chosen.
    fn with_smaller_segments(&self, mut chosen: Vec<usize>) -> Vec<usize> {
        let components = &self.index.components;
        let mut size: usize = chosen.iter().map(|&number| components[number].len()).sum();
        let mut others: Vec<usize> =
            (0..components.len()).filter(|number| !chosen.contains(number)).collect();
        others.sort_by_key(|&number| components[number].len());
        for number in others {
            if components[number].len() > 2 * size {
                break;
            }
            size += components[number].len();
            chosen.push(number);
        }
        chosen.sort_unstable();
        chosen
    }

    /// The job of merging these components, which can run on any thread.
    fn merge_of(&self, chosen: &[usize]) -> MergeJob {
        let inputs: Vec<Component> =
            chosen.iter().map(|&number| self.index.components[number].clone()).collect();
        let of_files = |components: &[Component]| {
            components.iter().filter(|component| component.segment().is_some()).count()
        };
        // An index has at least one segment, which may be empty.
        let must_write = of_files(&inputs) == of_files(&self.index.components);
        MergeJob {
            index: self.index.clone(),
            inputs,
            must_write,
            config: self.config.clone(),
            origin: self.next_origin(),
            listener: self.listener.clone(),
        }
    }

    fn merge_now(&mut self, chosen: &[usize]) -> Result<()> {
        let job = self.merge_of(chosen);
        let entry = job.run()?;
        self.install(&job.inputs, entry)?;
        self.merge_failure = None;
        Ok(())
    }

    /// Begins a merge in the background where one is due and none runs.
    pub(super) fn merge_in_background(&mut self) {
        let paused = self.merge_failure.as_ref().is_some_and(|failure| {
            let pause = Duration::from_secs(1 << failure.times.min(6)).min(LONGEST_PAUSE);
            failure.at.elapsed() < pause
        });
        if self.merge.is_some() || paused {
            return;
        }
        match self.due() {
            Due::Nothing => {}
            Due::Log => {
                let begun = self.begin_log();
                self.note(begun);
            }
            Due::Merge(chosen) => self.begin_merge(&chosen),
        }
    }

    /// Begins to merge some components in the background.
    pub(super) fn begin_merge(&mut self, chosen: &[usize]) {
        let job = self.merge_of(chosen);
        let inputs = job.inputs.clone();
        let thread = std::thread::Builder::new().name("dhih-merge".into());
        match thread.spawn(move || job.run()) {
            Ok(thread) => self.merge = Some(Merge { inputs, thread }),
            Err(cause) => self.note(Err(Error::io("start a thread for", &self.index.dir)(cause))),
        }
    }

    /// Installs the segment of a merge that has ended, if one has.
    pub(super) fn install_finished_merge(&mut self) {
        if self.merge.as_ref().is_some_and(|merge| merge.thread.is_finished()) {
            self.wait_for_merge();
        }
    }

    /// Waits for the merge that runs, if one does, and installs its segment. Its failure is kept for `merge_error`.
    pub(super) fn wait_for_merge(&mut self) {
        let Some(Merge { inputs, thread }) = self.merge.take() else { return };
        let panicked = |_| {
            let cause = std::io::Error::other("the thread has panicked");
            Err(Error::io("merge segments of", &self.index.dir)(cause))
        };
        let done = thread.join().unwrap_or_else(panicked);
        let done = done.and_then(|entry| self.install(&inputs, entry));
        self.note(done);
    }

    /// Remembers how a merge in the background ended.
    fn note(&mut self, done: Result<()>) {
        let times = self.merge_failure.as_ref().map_or(0, |failure| failure.times);
        let failure = |error| MergeFailure { error, times: times + 1, at: Instant::now() };
        self.merge_failure = done.err().map(failure);
    }

    /// Replaces the inputs of a merge by its segment. Items that were removed or replaced since the merge began get a tombstone in it.
    fn install(&mut self, inputs: &[Component], entry: Option<Entry>) -> Result<()> {
        let (mut components, mut entries) = (Vec::new(), Vec::new());
        let mut merged = match &entry {
            Some(entry) => {
                let segment = Arc::new(open_segment(&self.index.dir, entry, self.index.options)?);
                Some(Component::new(Data::Segment(segment), self.index.shape()))
            }
            None => None,
        };
        let mut gone = RoaringBitmap::new();
        let mut bury = |merged: &Option<Component>, id: u64| {
            let row = merged.as_ref().and_then(|merged| merged.row(id));
            gone.extend(row.map(|row| row as u32));
        };
        let now = self.index.components.iter().filter(|component| component.segment().is_some());
        for (component, entry) in now.zip(self.entries()?) {
            let xxh3 = |component: &Component| component.segment().map(|it| it.header.xxh3);
            match inputs.iter().find(|input| xxh3(input) == xxh3(component)) {
                None => {
                    components.push(component.clone());
                    entries.push(entry);
                }
                Some(input) => {
                    for row in &*component.tombstones - &*input.tombstones {
                        bury(&merged, component.id(row as usize));
                    }
                }
            }
        }
        let mut memtable = memtable_of(&self.index.components).cloned();
        if let Some(input) = memtable_of(inputs) {
            let shape = self.index.shape();
            let now = memtable.take().unwrap_or_else(|| MemTable::new(shape));
            for (id, code, attributes) in input.iter() {
                if now.get(id) != Some((code, attributes)) {
                    bury(&merged, id);
                }
            }
            let mut rest = Items::default();
            for (id, code, attributes) in now.iter() {
                if input.get(id) != Some((code, attributes)) {
                    rest.push(id, code, attributes);
                }
            }
            let mut table = MemTable::new(shape);
            table.insert_all(&rest);
            memtable = Some(table);
        }
        if let Some(merged) = &mut merged {
            merged.tombstones = Arc::new(gone);
        }
        components.extend(merged);
        entries.extend(entry);
        let shape = self.index.shape();
        let memtable = memtable.filter(|table| table.len() > 0);
        let memtable = memtable.map(|table| Data::MemTable(Arc::new(table)));
        components.extend(memtable.map(|data| Component::new(data, shape)));
        self.publish(Publication { components, entries, log: false })
    }

    /// Makes a change whose items become a segment at once. It is acknowledged once the manifest that names the segment is durable.
    pub(super) fn commit_as_segment(&mut self, change: BatchChange) -> Result<()> {
        self.wait_for_merge();
        self.check_usable()?;
        let BatchChange { removed, added } = change;
        let mut next = self.index.clone();
        let removals = BatchChange { removed, added: Items::default() };
        next.apply(crate::store::wal::Change::Batch(removals))?;
        let shape = self.index.shape();
        let mut table = MemTable::new(shape);
        table.insert_all(&added);
        drop(added);
        let inputs = vec![Component::new(Data::MemTable(Arc::new(table)), shape)];
        let job = MergeJob {
            index: next.clone(),
            inputs,
            must_write: true,
            config: self.config.clone(),
            origin: self.next_origin(),
            listener: self.listener.clone(),
        };
        let Some(entry) = job.run()? else { return Ok(()) };
        let segment = Arc::new(open_segment(&self.index.dir, &entry, self.index.options)?);
        let mut entries = self.entries()?;
        let memtable = entries.len().min(next.components.len());
        next.components.insert(memtable, Component::new(Data::Segment(segment), shape));
        entries.push(entry);
        self.publish(Publication { components: next.components, entries, log: false })
    }
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        // The thread writes into the directory, which another writer may open once the lock is gone.
        self.wait_for_merge();
    }
}

/// Whether a segment is rewritten because more than a third of its rows were removed.
fn is_stale(component: &Component) -> bool {
    component.segment().is_some() && 3 * component.tombstones.len() > component.rows() as u64
}

fn memtable_of(components: &[Component]) -> Option<&MemTable> {
    components.iter().find_map(|component| match &component.data {
        Data::MemTable(table) => Some(&**table),
        Data::Segment(_) => None,
    })
}
