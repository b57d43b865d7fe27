//! What a set of codes is like: how far neighbours are and how full buckets, seen from some of its own items. The planner
//! counts on it; hits never depend on it.

use crate::error::Result;
use crate::gathered::Reach;
use crate::part::Accept;
use crate::planner::{Profile, WEIGHTS};
use crate::probe::Masks;
use crate::search::{Scratch, Strategy, search};
use crate::segment::Segment;

/// Items that are looked at.
const ITEMS: usize = 64;

/// The profile of a segment; `None` where it is empty.
pub(crate) fn profile(segment: &Segment) -> Result<Option<Profile>> {
    if segment.rows == 0 || segment.table_count() == 0 {
        return Ok(None);
    }
    let (mut scratch, mut neighbours) = (Scratch::default(), Vec::with_capacity(ITEMS));
    let (mut codes, mut buckets) = ([0_u64; WEIGHTS], [0_u64; WEIGHTS]);
    for item in 0..ITEMS.min(segment.rows) {
        let row = item * segment.rows / ITEMS.min(segment.rows);
        let code = segment.code(segment.code_of_row()[row])?;
        // The nearest is the item itself.
        let reach = Reach::nearest(1 + Profile::neighbours());
        let hits = search(segment, code, reach, Strategy::Auto, Accept::default(), &mut scratch)?;
        neighbours.push(hits.iter().skip(1).map(|hit| hit.distance).collect());
        for part in 0..segment.table_count() {
            let table = segment.table(part);
            let value = table.substring.of(code);
            for weight in 0..WEIGHTS {
                for mask in Masks::new(table.substring.bits(), weight as u32) {
                    let bucket = table.bucket(value ^ mask);
                    codes[weight] += bucket.map_or(0, |(a, b)| u64::from(b.saturating_sub(a)));
                    buckets[weight] += 1;
                }
            }
        }
    }
    let mean = |weight: usize| codes[weight] as f64 / buckets[weight].max(1) as f64;
    Ok(Some(Profile::new(&neighbours, std::array::from_fn(mean)).rounded()))
}
