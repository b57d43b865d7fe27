//! What a set of codes is like: how far neighbours are and how full buckets, seen from some of its own items. The planner
//! counts on it; hits never depend on it.

use rayon::prelude::*;

use crate::error::Result;
use crate::hits::Accept;
use crate::hits::Bound;
use crate::search::plan::{Profile, WEIGHTS};
use crate::search::scratch::Scratch;
use crate::search::{SegmentSearch, Strategy, search};
use crate::store::segment::Segment;
use crate::table::probe::Masks;

/// Items that are looked at.
const ITEMS: usize = 64;

/// The profile of a segment; `None` where it is empty.
pub(crate) fn profile(segment: &Segment) -> Result<Option<Profile>> {
    if segment.rows == 0 || segment.table_count() == 0 {
        return Ok(None);
    }
    let items = ITEMS.min(segment.rows);
    let looks = (0..items).into_par_iter().with_max_len(1);
    let looks = looks.map_init(Scratch::default, |scratch, item| {
        look(segment, item * segment.rows / items, scratch)
    });
    let looks: Vec<Look> = looks.collect::<Result<_>>()?;
    let sum = |of: fn(&Look) -> &[u64; WEIGHTS], weight: usize| {
        looks.iter().map(|look| of(look)[weight]).sum::<u64>()
    };
    let mean = |weight| {
        sum(|look| &look.codes, weight) as f64 / sum(|look| &look.buckets, weight).max(1) as f64
    };
    let buckets = std::array::from_fn(mean);
    let neighbours: Vec<Vec<u32>> = looks.into_iter().map(|look| look.neighbours).collect();
    Ok(Some(Profile::new(&neighbours, buckets).rounded()))
}

/// What one item sees.
struct Look {
    /// Distances of its neighbours.
    neighbours: Vec<u32>,
    /// Codes in buckets, and buckets, by their distance from its own.
    codes: [u64; WEIGHTS],
    buckets: [u64; WEIGHTS],
}

fn look(segment: &Segment, row: usize, scratch: &mut Scratch) -> Result<Look> {
    let code = segment.code(segment.code_of_row()[row])?;
    // The nearest is the item itself.
    let bound = Bound::nearest(1 + Profile::neighbours());
    let (strategy, accept, mut hits) = (Strategy::Auto, Accept::default(), Vec::new());
    let (query, candidates) = (code, segment.rows);
    let request = SegmentSearch { segment, query, bound, strategy, accept, candidates };
    search(&request, scratch, &mut hits)?;
    let neighbours = hits.iter().skip(1).map(|hit| hit.distance).collect();
    let (mut codes, mut buckets) = ([0; WEIGHTS], [0; WEIGHTS]);
    for part in 0..segment.table_count() {
        let table = segment.table(part);
        let value = table.substring.of(code);
        for weight in 0..WEIGHTS {
            for mask in Masks::new(table.substring.bits(), weight as u32) {
                let bucket = table.bucket(value ^ mask);
                codes[weight] += bucket.map_or(0, |b| u64::from(b.end.saturating_sub(b.start)));
                buckets[weight] += 1;
            }
        }
    }
    Ok(Look { neighbours, codes, buckets })
}
