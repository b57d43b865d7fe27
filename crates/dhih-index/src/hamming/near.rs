//! Finding the near codes among many: a block's distances, and of these what is within a limit. The distances are the instruction
//! set's; where it has a kernel of its own for the length, no distance is stored.

use super::Scan;

/// A code that is near enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Near {
    /// Its number among the codes that were looked at.
    pub(crate) at: u32,
    pub(crate) distance: u32,
}

/// Appends what is within `limit` of the query among the codes number `start..end` of each range, in order.
pub(super) type Find =
    fn(query: &[u8], codes: &[u8], ranges: &[(u32, u32)], limit: u32, found: &mut Vec<Near>);

/// Codes whose distances are computed at once: they stay in the first cache.
const BLOCK: usize = 256;
/// Distances looked at together before each by itself.
const GROUP: usize = 16;

/// By distances that are stored first.
#[inline(always)]
pub(super) fn find_by(
    scan: Scan,
    (query, codes): (&[u8], &[u8]),
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    let mut distances = [0; BLOCK];
    for &range in ranges {
        let mut first = range.0;
        for codes in of_range(codes, query.len(), range).chunks(BLOCK * query.len()) {
            let distances = &mut distances[..codes.len() / query.len()];
            scan(query, codes, distances);
            for group in distances.chunks(GROUP) {
                if group.iter().fold(false, |any, &distance| any | (distance <= limit)) {
                    let near = (first..).zip(group).filter(|(_, distance)| **distance <= limit);
                    found.extend(near.map(|(at, &distance)| Near { at, distance }));
                }
                first += group.len() as u32;
            }
        }
    }
}

/// The codes of a range.
#[inline(always)]
pub(super) fn of_range(codes: &[u8], width: usize, (start, end): (u32, u32)) -> &[u8] {
    &codes[start as usize * width..end as usize * width]
}
