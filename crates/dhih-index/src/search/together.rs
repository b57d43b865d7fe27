//! Scans of a segment that many queries share: each block of codes, while it is in the cache, is compared with one query after the other.

use crate::error::Result;
use crate::flat::topk::Best;
use crate::hamming::Near;
use crate::hits::{Accept, Bound, Hit};
use crate::search::collector::HitCollector;
use crate::search::scratch::Scratch;
use crate::search::shared_scratch::SharedScratch;
use crate::search::state::Wanted;
use crate::store::segment::Segment;

/// Up to this many hits of a query are kept in a heap, which is small. More hits are kept as codes by their distance, which need no
/// ordering.
const HEAP_HITS: usize = 64;

/// A scan that several queries share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedScan<'a> {
    pub(crate) segment: &'a Segment,
    /// Which rows may be hits.
    pub(crate) accept: Accept<'a>,
    /// The queries, and how far the search of each goes.
    pub(crate) queries: &'a [&'a [u8]],
    pub(crate) bounds: &'a [Bound],
}

impl SharedScan<'_> {
    /// Compares all codes with all queries. What is found stays in the scratch.
    pub(crate) fn run(&self, scratch: &mut Scratch) -> Result<()> {
        let &Self { segment, accept, queries, bounds } = self;
        let SharedScratch { pass, bests, collectors, limits } = &mut scratch.shared;
        limits.clear();
        limits.extend(bounds.iter().map(|bound| bound.radius));
        let (codes, wanted) = (segment.codes(), Wanted::new(segment, accept));
        if self.keeps_few() {
            bests.resize_with(bests.len().max(queries.len()), Best::default);
            bests.iter_mut().zip(bounds).for_each(|(best, &bound)| best.begin(bound));
            return pass.run(codes, queries, limits, |query, first, near| {
                let best = &mut bests[query];
                for &Near { at, distance } in near {
                    if distance <= best.limit() {
                        wanted.for_each_row(first as u32 + at, |row| {
                            best.push(Hit { distance, id: u64::from(row) });
                        })?;
                    }
                }
                Ok(best.limit())
            });
        }
        collectors.resize_with(collectors.len().max(queries.len()), HitCollector::default);
        for (collector, &bound) in collectors.iter_mut().zip(bounds) {
            collector.begin(bound, segment.bits);
        }
        pass.run(codes, queries, limits, |query, first, near| {
            let collector = &mut collectors[query];
            for &Near { at, distance } in near {
                if distance <= collector.limit() {
                    wanted.add(collector, Near { at: first as u32 + at, distance })?;
                }
            }
            Ok(collector.limit())
        })
    }

    /// Appends the hits of one of the queries to `out`, by distance, then id.
    pub(crate) fn append_hits(
        &self,
        query: usize,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        let Scratch { shared, rows, .. } = scratch;
        if !self.keeps_few() {
            return shared.collectors[query].append_hits(self.segment, self.accept, rows, out);
        }
        let start = out.len();
        shared.bests[query].drain_into(out);
        let hits = &mut out[start..];
        if hits.iter().any(|hit| hit.id >= self.segment.rows as u64) {
            return Err(self.segment.outside());
        }
        // Rows are in the order of their ids.
        if let Some(ids) = self.segment.ids() {
            hits.iter_mut().for_each(|hit| hit.id = ids[hit.id as usize]);
        }
        Ok(())
    }

    /// Whether few hits are kept for each query; all go equally far by number.
    fn keeps_few(&self) -> bool {
        self.bounds.iter().all(|bound| bound.k <= HEAP_HITS)
    }
}
