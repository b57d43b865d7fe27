//! The posting lists of the codes: the rows of the items that have each code, read in place in a data file. What rows are:
//! `store/segment.rs`.

use std::ops::Range;

/// The posting lists of all codes, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Postings<'a> {
    /// Where each code's list starts, and where the last one ends; `None` if each code has exactly one row.
    starts: Option<&'a [u32]>,
    rows: &'a [u32],
}

impl<'a> Postings<'a> {
    pub(crate) fn new(starts: Option<&'a [u32]>, rows: &'a [u32]) -> Self {
        Self { starts, rows }
    }

    /// Whether each code has exactly one row.
    #[inline]
    pub(crate) fn have_one_row_each(self) -> bool {
        self.starts.is_none()
    }

    /// The rows of a code; `None` if the file contradicts itself.
    #[inline]
    pub(crate) fn of(self, code: u32) -> Option<&'a [u32]> {
        self.rows.get(self.range(code)?)
    }

    /// The number of rows of a code; `None` if the file contradicts itself.
    #[inline]
    pub(crate) fn count(self, code: u32) -> Option<usize> {
        let range = self.range(code)?;
        (range.end <= self.rows.len()).then_some(range.end.checked_sub(range.start)?)
    }

    /// Writes the first rows of some codes into a buffer, at most `most` of each code, from the buffer's end on; `None` if the file
    /// contradicts itself.
    pub(crate) fn write(self, codes: &[u32], most: usize, out: &mut RowBuffer) -> Option<()> {
        let (rows, mut at) = (&mut out.rows, out.end);
        for &code in codes {
            let range = self.range(code)?;
            let from = self.rows.get(range.start..)?;
            let of_code = from.get(..range.end.checked_sub(range.start)?.min(most))?;
            let end = at + of_code.len();
            // A row belongs to one code, so that there are never more rows than the file has.
            if end > self.rows.len() {
                return None;
            }
            let needed = end.max(at + ROWS_PER_COPY);
            if rows.len() < needed {
                rows.resize(2 * needed, 0);
            }
            match from.first_chunk::<ROWS_PER_COPY>() {
                Some(rows_and_more) if of_code.len() <= ROWS_PER_COPY => {
                    rows[at..at + ROWS_PER_COPY].copy_from_slice(rows_and_more);
                }
                _ => rows[at..end].copy_from_slice(of_code),
            }
            at = end;
        }
        out.end = at;
        Some(())
    }

    #[inline]
    fn range(self, code: u32) -> Option<Range<usize>> {
        let at = code as usize;
        Some(match self.starts {
            None => at..at + 1,
            Some(starts) => *starts.get(at)? as usize..*starts.get(at + 1)? as usize,
        })
    }
}

/// Most codes have at most this many rows. For these, a fixed number is copied, which is faster than copying as many as there are.
const ROWS_PER_COPY: usize = 4;

/// Rows that were written one after the other. The rows behind `end` are stale and are overwritten before they are read.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    rows: Vec<u32>,
    end: usize,
}

impl RowBuffer {
    /// The rows that were written.
    pub(crate) fn rows(&mut self) -> &mut [u32] {
        &mut self.rows[..self.end]
    }

    /// How many rows were written.
    pub(crate) fn len(&self) -> usize {
        self.end
    }

    /// Forgets the rows but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.end = 0;
    }

    /// Appends rows one by one.
    pub(crate) fn extend(&mut self, rows: impl Iterator<Item = u32>) {
        self.rows.truncate(self.end);
        self.rows.extend(rows);
        self.end = self.rows.len();
    }

    /// Bytes of memory that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        4 * self.rows.capacity()
    }

    /// Forgets the rows, and frees memory until at most `bytes` bytes are left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.end = 0;
        self.rows.truncate(bytes / 4);
        self.rows.shrink_to(bytes / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_rows_of_codes_are_written_one_after_the_other(
            counts in prop::collection::vec(1..12_u32, 1..30), single: bool, most in 0..14_usize, at in 0..9_usize,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let counts: Vec<u32> = if single { vec![1; counts.len()] } else { counts };
            let ends = counts.iter().scan(0, |sum, count| { *sum += count; Some(*sum) });
            let starts: Vec<u32> = [0].into_iter().chain(ends).collect();
            let rows: Vec<u32> = (0..starts[counts.len()]).rev().collect();
            let postings = Postings::new((!single).then_some(&starts), &rows);
            let mut codes: Vec<u32> = picks.iter().map(|pick| pick.index(counts.len()) as u32).collect();
            codes.sort_unstable();
            codes.dedup();
            let expected: Vec<u32> = codes.iter().flat_map(|&code| postings.of(code).unwrap().iter().copied().take(most)).collect();
            for &code in &codes {
                prop_assert_eq!(postings.count(code), postings.of(code).map(<[u32]>::len));
            }
            let mut out = RowBuffer::default();
            out.extend(std::iter::repeat_n(7, at));
            // What was written before stays. More rows than the file has are refused.
            match postings.write(&codes, most, &mut out) {
                Some(()) => prop_assert_eq!(out.rows(), [vec![7; at], expected].concat()),
                None => prop_assert!(at + expected.len() > rows.len()),
            }
        }
    }

    #[test]
    fn lists_that_leave_their_bounds_are_refused() {
        let (mut out, huge) = (RowBuffer::default(), [0, u32::MAX, 2, 3]);
        let postings = Postings::new(Some(&huge), &[5, 6, 7]);
        assert_eq!(postings.write(&[2], 9, &mut out), Some(()));
        assert_eq!(out.rows(), [7]);
        for code in [0, 1, 3, u32::MAX] {
            out.clear();
            let found =
                (postings.of(code), postings.count(code), postings.write(&[code], 9, &mut out));
            assert_eq!(found, (None, None, None));
        }
        // Each of the rows once, and then some again.
        let postings = Postings::new(Some(&[0, 3]), &[5, 6, 7]);
        out.clear();
        assert_eq!(postings.write(&[0, 0], 9, &mut out), None);
        assert!(out.bytes() < 400);
    }
}
