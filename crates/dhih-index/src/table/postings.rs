//! The rows of each code, where they lie in a data file. What is searched: `segment.rs`.

use std::ops::Range;

/// The rows of each code: where they start, and themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Postings<'a> {
    /// `None` where each code has one row.
    starts: Option<&'a [u32]>,
    rows: &'a [u32],
}

impl<'a> Postings<'a> {
    pub(crate) fn new(starts: Option<&'a [u32]>, rows: &'a [u32]) -> Self {
        Self { starts, rows }
    }

    /// The rows of a code, one at least; `None` where the file contradicts itself.
    #[inline]
    pub(crate) fn of(self, code: u32) -> Option<&'a [u32]> {
        self.rows.get(self.range(code)?)
    }

    /// Writes down the first rows of some codes, at most `most` of each, from `at` on, and makes room where there is none; returns
    /// where they end. `None` where the file contradicts itself.
    pub(crate) fn write(
        self,
        codes: &[u32],
        most: usize,
        rows: &mut Vec<u32>,
        mut at: usize,
    ) -> Option<usize> {
        for &code in codes {
            let range = self.range(code)?;
            let from = self.rows.get(range.start..)?;
            let of_code = from.get(..range.end.checked_sub(range.start)?.min(most))?;
            let end = at + of_code.len();
            // A row is one code's.
            if end > self.rows.len() {
                return None;
            }
            if rows.len() < end.max(at + FEW) {
                rows.resize(2 * end.max(at + FEW), 0);
            }
            match from.first_chunk::<FEW>() {
                Some(few) if of_code.len() <= FEW => rows[at..at + FEW].copy_from_slice(few),
                _ => rows[at..end].copy_from_slice(of_code),
            }
            at = end;
        }
        Some(at)
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

/// Most codes have no more rows: so many are copied for each without asking how many there are.
const FEW: usize = 4;

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
            let mut out = vec![7; at];
            // What was there before stays; a row is one code's, so there are no more than all.
            match postings.write(&codes, most, &mut out, at) {
                Some(end) => prop_assert_eq!(&out[..end], [vec![7; at], expected].concat()),
                None => prop_assert!(at + expected.len() > rows.len()),
            }
        }
    }

    #[test]
    fn lists_that_leave_their_bounds_are_refused() {
        let (mut out, huge) = (Vec::new(), [0, u32::MAX, 2, 3]);
        let postings = Postings::new(Some(&huge), &[5, 6, 7]);
        assert_eq!(postings.write(&[2], 9, &mut out, 0), Some(1));
        for code in [0, 1, 3, u32::MAX] {
            assert_eq!((postings.of(code), postings.write(&[code], 9, &mut out, 0)), (None, None));
        }
        // Each of the rows once, and then some again.
        let postings = Postings::new(Some(&[0, 3]), &[5, 6, 7]);
        assert_eq!(postings.write(&[0, 0], 9, &mut out, 0), None);
        assert!(out.len() < 100);
    }
}
