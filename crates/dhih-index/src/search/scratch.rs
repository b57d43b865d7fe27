//! The memory that searches work in. It is kept from one search to the next, so that searches allocate nothing after the first few. Only
//! little is kept: the memory of a search with very many hits is returned to the system when the search ends.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::flat::topk::Best;
use crate::hamming::Near;
use crate::hits::Hit;
use crate::search::collector::{HitCollector, RowSorter};
use crate::search::explain::Explanation;
use crate::search::look_ups::LookUps;
use crate::search::pipeline::BucketPipeline;
use crate::search::probing::TableProgress;
use crate::search::shared_scratch::SharedScratch;

/// The most memory that a scratch in the pool holds, in bytes, apart from its row bitset. A row bitset has one bit for each row of the
/// largest segment: its size depends on the index and not on the search, and making a new one takes longer than many searches do.
pub(crate) const KEPT_BYTES: usize = 1 << 20;

/// The memory of one search at a time.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What was found so far in a segment.
    pub(crate) collector: HitCollector,
    /// The rows of what was found.
    pub(crate) rows: RowSorter,
    /// What was found so far by a scan that several queries share.
    pub(crate) shared: SharedScratch,
    /// What was found so far by a scan of a memtable.
    pub(crate) best: Best,
    /// Codes within the limit that are about to be collected.
    pub(crate) near_codes: Vec<Near>,
    pub(crate) pipeline: BucketPipeline,
    /// Numbers of codes that are compared together, and their distances.
    pub(crate) numbers: Vec<u32>,
    pub(crate) distances: Vec<u32>,
    /// Whole codes that are looked up.
    pub(crate) look_ups: LookUps,
    /// How far each table was probed, ...
    pub(crate) tables: Vec<TableProgress>,
    /// ... and how far it will be by the steps that are estimated, each with the cost of the next one.
    pub(crate) probing_steps: Vec<(TableProgress, f64)>,
    /// Hits that are being merged with others.
    pub(crate) merging: Vec<Hit>,
    pub(crate) explanation: Explanation,
    /// Whether decisions are written down in the explanation.
    pub(crate) explain: bool,
}

impl Scratch {
    /// Resets the search. If there is more memory than [`KEPT_BYTES`], some of it is freed: each buffer keeps as much as searches with
    /// fewer hits need, so that these do not have to grow it again.
    fn reset(&mut self) {
        self.collector.clear();
        self.shared.clear();
        if self.bytes() <= KEPT_BYTES {
            return;
        }
        self.shared = SharedScratch::default();
        self.collector.shrink_to(KEPT_BYTES / 8 * 3);
        self.rows.shrink_to(KEPT_BYTES / 8 * 3);
        let each = KEPT_BYTES / 4 / 6;
        self.best.shrink_to(each);
        shrink(&mut self.near_codes, each);
        shrink(&mut self.numbers, each);
        shrink(&mut self.distances, each);
        self.look_ups.shrink_to(each);
        shrink(&mut self.merging, each);
    }

    /// The bytes of memory that it holds between searches, without the row bitset.
    pub(crate) fn bytes(&self) -> usize {
        self.collector.bytes()
            + self.rows.bytes()
            + self.shared.bytes()
            + self.best.bytes()
            + size_of::<Near>() * self.near_codes.capacity()
            + 4 * (self.numbers.capacity() + self.distances.capacity())
            + self.look_ups.bytes()
            + size_of::<Hit>() * self.merging.capacity()
    }
}

/// Frees memory of a buffer until at most `bytes` bytes are left.
fn shrink<T>(buffer: &mut Vec<T>, bytes: usize) {
    buffer.clear();
    buffer.shrink_to(bytes / size_of::<T>());
}

/// The scratches of the searches of one index that are not in use.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a scratch is moved in and out for each search")]
pub(crate) struct ScratchPool(Mutex<Vec<Box<Scratch>>>);

impl ScratchPool {
    /// Takes a scratch from the pool, or makes one. `explain` says whether decisions are written down.
    pub(crate) fn lend(&self, explain: bool) -> ScratchGuard<'_> {
        let mut scratch = self.kept(Vec::pop).unwrap_or_default();
        (scratch.explain, scratch.explanation) = (explain, Explanation::default());
        ScratchGuard { scratch: Some(scratch), pool: self }
    }

    /// The bytes of memory of each scratch that is kept.
    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> Vec<usize> {
        self.kept(|kept| kept.iter().map(|scratch| scratch.bytes()).collect())
    }

    fn kept<T>(&self, of: impl FnOnce(&mut Vec<Box<Scratch>>) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The most scratches that are kept: as many as there are threads that can search at the same time.
fn most_kept() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores =
        *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    match rayon::current_thread_index() {
        Some(_) => cores.max(rayon::current_num_threads()),
        None => cores,
    }
}

/// A scratch that is in use. It goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct ScratchGuard<'a> {
    /// `Some` until it is dropped.
    scratch: Option<Box<Scratch>>,
    pool: &'a ScratchPool,
}

impl ScratchGuard<'_> {
    /// The scratch.
    pub(crate) fn scratch(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_default()
    }
}

impl Drop for ScratchGuard<'_> {
    fn drop(&mut self) {
        let Some(mut scratch) = self.scratch.take() else { return };
        scratch.reset();
        let most = most_kept();
        self.pool.kept(|kept| {
            if kept.len() < most {
                kept.push(scratch);
            }
        });
    }
}
