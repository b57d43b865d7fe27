//! Finding the near codes among many: a block's distances, and of these what is within a limit. The distances are the instruction
//! set's; where it has a kernel of its own for the length, no distance is stored.

use super::{Kernel, Scan};

/// A code that is near enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Near {
    /// Its number among the codes that were looked at.
    pub(crate) at: u32,
    pub(crate) distance: u32,
}

/// Appends what is within `limit` of the query, in order; the number of the first code is `first`.
pub(super) type Find =
    fn(query: &[u8], codes: &[u8], limit: u32, first: u32, found: &mut Vec<Near>);

/// As [`Find`], of the codes in some ranges of numbers, which lie within `codes`.
pub(super) type FindIn =
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
    limit: u32,
    mut first: u32,
    found: &mut Vec<Near>,
) {
    let mut distances = [0; BLOCK];
    for codes in codes.chunks(BLOCK * query.len()) {
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

/// One range after the other.
#[inline(always)]
pub(super) fn find_in_by(
    find: Find,
    (query, codes): (&[u8], &[u8]),
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    let width = query.len();
    for &(start, end) in ranges {
        let codes = &codes[start as usize * width..end as usize * width];
        find(query, codes, limit, start, found);
    }
}

impl Kernel {
    /// Checks lengths, so that kernels need not.
    #[inline]
    pub(super) fn near(
        &self,
        (query, codes): (&[u8], &[u8]),
        limit: u32,
        first: u32,
        found: &mut Vec<Near>,
    ) {
        assert!(!query.is_empty() && codes.len().is_multiple_of(query.len()));
        (self.find)(query, codes, limit, first, found);
    }
}
