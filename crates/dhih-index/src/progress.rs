//! The progress of long operations, and how their caller stops them. Builds report here, and so can merging and verifying. The operations
//! define what their stages do; this file prints nothing.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A stage of a long operation. More may be added.
///
/// ```
/// use dhih_index::{Progress, Stage};
///
/// let tables = |progress: Progress| match progress.stage {
///     Stage::Table { table, tables } => format!("table {table} of {tables}"),
///     stage => format!("{stage:?}"),
/// };
/// # let _ = tables;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Items are sorted by id, on disk. Counted in items.
    SortIds,
    /// Items are sorted by code in runs that fit into memory. Counted in items.
    SortRuns,
    /// The sorted runs are merged. Counted in items.
    MergeRuns,
    /// All items are sorted and equal codes are grouped. Reported once.
    Sorted {
        /// The number of different codes.
        distinct: u64,
    },
    /// The table of a substring is built and written. Counted in codes.
    Table {
        /// The number of the table, from 1.
        table: u32,
        /// How many tables there are.
        tables: u32,
    },
    /// The hash table of whole codes is built and written. Counted in codes.
    CodeHash,
    /// The data file is on disk and its codes were sampled for the planner. Reported once, counted in bytes.
    Written,
    /// Pairs of items near each other are searched for. Counted in items.
    Pairs {
        /// The number of pairs so far.
        found: u64,
    },
}

/// How far an operation has come.
///
/// ```
/// use dhih_index::Progress;
///
/// let shown = |progress: Progress| match progress.is_complete() {
///     true => format!("{:?} has ended", progress.stage),
///     false => format!("{} of {} of {:?}", progress.done, progress.total, progress.stage),
/// };
/// # let _ = shown;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The stage that is under way, or complete where `done` is `total`.
    pub stage: Stage,
    /// How much of the stage is done.
    pub done: u64,
    /// How much the stage has to do.
    pub total: u64,
    /// The time since the operation began.
    pub elapsed: Duration,
}

impl Progress {
    /// Whether the stage has ended.
    pub fn is_complete(&self) -> bool {
        self.done >= self.total
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, total, .. } = self;
        match (self.stage, self.is_complete()) {
            (Stage::SortIds, true) => write!(f, "sorted {total} ids"),
            (Stage::SortIds, false) => write!(f, "sorting ids, {done} of {total}"),
            (Stage::SortRuns, true) => write!(f, "sorted {total} codes in runs"),
            (Stage::SortRuns, false) => write!(f, "sorting runs of codes, {done} of {total}"),
            (Stage::MergeRuns, true) => write!(f, "merged {total} codes"),
            (Stage::MergeRuns, false) => write!(f, "merging codes, {done} of {total}"),
            (Stage::Sorted { distinct }, _) => {
                write!(f, "sorted {total} codes, {distinct} different")
            }
            (Stage::Table { table, tables }, true) => write!(f, "made table {table} of {tables}"),
            (Stage::Table { table, tables }, false) => {
                write!(f, "making table {table} of {tables}, {done} of {total}")
            }
            (Stage::CodeHash, true) => write!(f, "made the table of whole codes"),
            (Stage::CodeHash, false) => {
                write!(f, "making the table of whole codes, {done} of {total}")
            }
            (Stage::Written, _) => write!(f, "wrote and sampled {total} bytes"),
            (Stage::Pairs { found }, true) => write!(f, "found {found} pairs of {total} items"),
            (Stage::Pairs { found }, false) => {
                write!(f, "finding pairs, {done} of {total} items, {found} pairs")
            }
        }
    }
}

type Callback = dyn FnMut(Progress) -> ControlFlow<()> + Send;

/// The callback of an operation's caller; clones share it.
#[derive(Clone)]
pub(crate) struct Listener(Arc<Mutex<Callback>>);

impl Listener {
    pub(crate) fn new(callback: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(callback)))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Reports the progress of one operation to its caller, if the caller listens.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    listener: Option<Listener>,
    start: Instant,
}

impl Reporter {
    /// The reporter of an operation that begins now.
    pub(crate) fn new(listener: Option<Listener>) -> Self {
        Self { listener, start: Instant::now() }
    }

    /// Reports how far a stage is; its end is left to [`Self::complete`], so that a caller sees it once.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the caller wants the operation to stop.
    pub(crate) fn report(&self, stage: Stage, done: u64, total: u64) -> Result<()> {
        if done < total { self.call(stage, done, total) } else { Ok(()) }
    }

    /// Reports that a stage is complete.
    ///
    /// # Errors
    /// As for [`Self::report`].
    pub(crate) fn complete(&self, stage: Stage, total: u64) -> Result<()> {
        self.call(stage, total, total)
    }

    fn call(&self, stage: Stage, done: u64, total: u64) -> Result<()> {
        let Some(Listener(callback)) = &self.listener else { return Ok(()) };
        let progress = Progress { stage, done, total, elapsed: self.start.elapsed() };
        let mut callback = callback.lock().unwrap_or_else(PoisonError::into_inner);
        match callback(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
