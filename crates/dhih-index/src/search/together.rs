//! Scans of a segment that many queries share: each block of codes, while it is in the cache, is compared with one query after the other.

use crate::error::Result;
use crate::flat::together::Pass;
use crate::hamming::Near;
use crate::hits::{Accept, Bound, Hit};
use crate::search::collector::HitCollector;
use crate::search::scratch::Scratch;
use crate::search::state::Wanted;
use crate::store::segment::Segment;

/// The memory of a shared scan. It is kept from one scan to the next.
#[derive(Debug, Default)]
pub(crate) struct SharedScratch {
    pass: Pass,
    /// What was found so far for each query.
    collectors: Vec<HitCollector>,
    limits: Vec<u32>,
}

impl SharedScratch {
    /// Forgets what was found.
    pub(crate) fn clear(&mut self) {
        self.collectors.iter_mut().for_each(HitCollector::clear);
    }

    /// Once it was cleared: the bytes of memory that it holds, apart from those of a pass, which are few whatever is searched.
    pub(crate) fn bytes(&self) -> usize {
        self.collectors.iter().map(HitCollector::bytes_in_all).sum()
    }
}

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
        let SharedScratch { pass, collectors, limits } = &mut scratch.shared;
        collectors.resize_with(collectors.len().max(queries.len()), HitCollector::default);
        limits.clear();
        for (collector, &bound) in collectors.iter_mut().zip(bounds) {
            collector.begin(bound, segment.bits);
            limits.push(collector.limit());
        }
        let wanted = Wanted::new(segment, accept);
        pass.run(segment.codes(), queries, limits, |query, first, near| {
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
        shared.collectors[query].append_hits(self.segment, self.accept, rows, out)
    }
}
