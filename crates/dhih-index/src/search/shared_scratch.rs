//! `SharedScratch`: the memory of a scan that many queries share. The scan: `together.rs`.

use crate::flat::together::Pass;
use crate::flat::topk::Best;
use crate::search::collector::HitCollector;

/// The memory of a shared scan. It is kept from one scan to the next.
#[derive(Debug, Default)]
pub(crate) struct SharedScratch {
    pub(super) pass: Pass,
    /// What was found so far for each query, if few hits are wanted: rows in the place of ids.
    pub(super) bests: Vec<Best>,
    /// What was found so far for each query, if many hits are wanted: codes.
    pub(super) collectors: Vec<HitCollector>,
    pub(super) limits: Vec<u32>,
}

impl SharedScratch {
    /// Forgets what was found.
    pub(crate) fn clear(&mut self) {
        self.collectors.iter_mut().for_each(HitCollector::clear);
    }

    /// The bytes of memory that it holds after it was cleared, without those of a pass, which are always few.
    pub(crate) fn bytes(&self) -> usize {
        let collectors = self.collectors.iter().map(HitCollector::bytes_in_all);
        collectors.chain(self.bests.iter().map(Best::bytes)).sum()
    }
}
