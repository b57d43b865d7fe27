//! Collecting the codes within a limit by a kernel's `scan`: the distances of a block of codes are stored, then those within the
//! limit are picked. Kernels that compare distances while they are still in registers need none of this.

use super::kernel::{NearRequest, Scan};
use super::near::Near;

/// Codes whose distances are stored at once: few enough that they stay in the first-level cache.
const CODES_PER_BLOCK: usize = 256;
/// Distances that are tested together: most of the time none of them is within the limit, and one branch skips them all.
const DISTANCES_PER_TEST: usize = 16;

/// Appends what the request asks for to `found`, using `scan` for the distances.
#[inline(always)]
pub(super) fn collect_near_by(scan: Scan, request: &NearRequest, found: &mut Vec<Near>) {
    let &NearRequest { query, ranges, limit, .. } = request;
    let mut distances = [0; CODES_PER_BLOCK];
    for &range in ranges {
        let mut first = range.start;
        for codes in request.codes_of(range).chunks(CODES_PER_BLOCK * query.len()) {
            let distances = &mut distances[..codes.len() / query.len()];
            scan(query, codes, distances);
            for group in distances.chunks(DISTANCES_PER_TEST) {
                if group.iter().fold(false, |any, &distance| any | (distance <= limit)) {
                    let near = (first..).zip(group).filter(|(_, distance)| **distance <= limit);
                    found.extend(near.map(|(at, &distance)| Near { at, distance }));
                }
                first += group.len() as u32;
            }
        }
    }
}
