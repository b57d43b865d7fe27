//! The table of one substring: from its value to the codes that have it. The codes themselves lie in the order of the table, so
//! that a bucket is read in one go. Built here, and looked up in place in a mapped file. How it is stored: `format.rs`; which
//! buckets are looked up: `search.rs`.

use rayon::prelude::*;

use crate::substring::{Extractor, Substring};

/// Codes of more bytes than this are not copied: their buckets hold numbers alone.
pub(crate) const COPIED: usize = 16;

/// A table being built: `directory[v]..directory[v + 1]` are the places of value `v` in `postings` and `codes`.
#[derive(Debug, Default)]
pub(crate) struct TableData {
    pub(crate) directory: Vec<u32>,
    /// The codes' numbers.
    pub(crate) postings: Vec<u32>,
    /// The codes, packed; empty where they are long.
    pub(crate) codes: Vec<u8>,
}

impl TableData {
    /// Sorts packed codes of `width` bytes into the buckets of a substring, each bucket ascending by number.
    pub(crate) fn build(substring: &Substring, codes: &[u8], width: usize) -> Self {
        let values = values(substring, codes, width);
        let directory = directory(substring.bits(), &values);
        let mut next = directory.clone();
        let mut postings = vec![0; values.len()];
        let mut copies = vec![0; if width <= COPIED { codes.len() } else { 0 }];
        for ((code, number), &value) in codes.chunks_exact(width).zip(0..).zip(&values) {
            let place = next[value as usize] as usize;
            next[value as usize] += 1;
            postings[place] = number;
            if width <= COPIED {
                copies[place * width..][..width].copy_from_slice(code);
            }
        }
        Self { directory, postings, codes: copies }
    }

    /// Of codes that lie in the order of the substring's values already.
    pub(crate) fn of_sorted(substring: &Substring, codes: &[u8], width: usize) -> Self {
        let directory = directory(substring.bits(), &values(substring, codes, width));
        Self { directory, ..Self::default() }
    }
}

/// The value of each code.
pub(crate) fn values(substring: &Substring, codes: &[u8], width: usize) -> Vec<u32> {
    let extractor = Extractor::new(substring);
    codes.par_chunks_exact(width).map(|code| extractor.of(code)).collect()
}

/// Where the bucket of each value starts, and the end.
fn directory(bits: u32, values: &[u32]) -> Vec<u32> {
    let mut directory = vec![0; (1 << bits) + 1];
    values.iter().for_each(|&value| directory[value as usize + 1] += 1);
    let mut sum = 0;
    for start in &mut directory {
        sum += *start;
        *start = sum;
    }
    directory
}

/// A table in a file. Its lengths are checked when the file is opened, its content is not: look-ups that would leave the
/// bounds return `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) substring: &'a Substring,
    /// The substring's bits in a code.
    pub(crate) mask: &'a [u8],
    pub(crate) directory: &'a [u32],
    /// The codes' numbers; empty where the codes of the file are in the order of this table.
    pub(crate) postings: &'a [u32],
    /// The codes in the order of this table; empty where they are long.
    pub(crate) codes: &'a [u8],
}

impl Table<'_> {
    /// The places of a value.
    #[inline(always)]
    pub(crate) fn bucket(&self, value: u32) -> Option<(u32, u32)> {
        let at = value as usize;
        Some((*self.directory.get(at)?, *self.directory.get(at + 1)?))
    }

    /// The number of the code at a place.
    #[inline(always)]
    pub(crate) fn number(&self, place: u32) -> Option<u32> {
        if self.postings.is_empty() {
            return Some(place);
        }
        self.postings.get(place as usize).copied()
    }

    /// Whether it is exactly the table of these packed codes: every code once, in its bucket, each bucket ascending. `Err` says
    /// what is wrong.
    pub(crate) fn verify(&self, codes: &[u8], width: usize) -> Result<(), &'static str> {
        let count = codes.len() / width;
        let bounds = (self.directory.first(), self.directory.last());
        if bounds != (Some(&0), Some(&(count as u32))) || !self.directory.is_sorted() {
            return Err("its directory does not ascend from start to end");
        }
        let extractor = Extractor::new(self.substring);
        let mut last: Option<(u32, u32)> = None;
        for place in 0..count {
            let number = self.number(place as u32).ok_or("a posting is missing")?;
            let start = number as usize * width;
            let code = codes.get(start..start + width).ok_or("a posting names no code")?;
            let value = extractor.of(code);
            let (start, end) = self.bucket(value).ok_or("a bucket leaves its bounds")?;
            if !(start as usize..end as usize).contains(&place) {
                return Err("a code is not in its bucket");
            }
            if last.is_some_and(|last| last >= (value, number)) {
                return Err("a bucket does not ascend");
            }
            last = Some((value, number));
            if !self.codes.is_empty() && self.codes[place * width..][..width] != *code {
                return Err("a copy of a code differs from it");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn view<'a>(data: &'a TableData, substring: &'a Substring, mask: &'a [u8]) -> Table<'a> {
        let TableData { directory, postings, codes } = data;
        Table { substring, mask, directory, postings, codes }
    }

    proptest! {
        #[test]
        fn buckets_hold_the_codes_with_that_value(
            codes in prop::collection::vec(prop_oneof![Just([0; 5]), any::<[u8; 5]>()], 0..200),
            start in 0..30_u16, bits in 1..=10_u16,
        ) {
            let substring = Substring::new((start..start + bits).collect(), 40).unwrap();
            let (mask, bytes) = (substring.mask(40), codes.concat());
            let data = TableData::build(&substring, &bytes, 5);
            let table = view(&data, &substring, &mask);
            table.verify(&bytes, 5).unwrap();
            for value in 0..1 << bits {
                let expected: Vec<u32> = (0..codes.len() as u32)
                    .filter(|&code| substring.of(&codes[code as usize]) == value).collect();
                let (start, end) = table.bucket(value).unwrap();
                let found: Vec<u32> = (start..end).map(|place| table.number(place).unwrap()).collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(table.bucket(1 << bits), None);
        }

        #[test]
        fn any_change_is_found_and_no_look_up_panics(
            codes in prop::collection::hash_set(any::<[u8; 4]>(), 3..40),
            bits in prop::sample::select(vec![4_u16, 12]),
            place: prop::sample::Index, delta in 1..=u32::MAX,
        ) {
            let bytes: Vec<u8> = codes.into_iter().flatten().collect();
            let substring = Substring::new((0..bits).collect(), 32).unwrap();
            let mask = substring.mask(32);
            let mut data = TableData::build(&substring, &bytes, 4);
            let words = data.directory.len() + data.postings.len();
            match place.index(words + bytes.len()) {
                at if at < data.directory.len() => data.directory[at] = data.directory[at].wrapping_add(delta),
                at if at < words => {
                    let at = at - data.directory.len();
                    data.postings[at] = data.postings[at].wrapping_add(delta);
                }
                at => data.codes[at - words] ^= 1 | delta as u8,
            }
            let table = view(&data, &substring, &mask);
            prop_assert!(table.verify(&bytes, 4).is_err());
            for value in 0..16 {
                let _ = table.bucket(value).and_then(|(start, _)| table.number(start));
            }
        }
    }

    #[test]
    fn sorted_codes_need_no_postings() {
        let substring = Substring::new(vec![8, 9], 16).unwrap();
        let (codes, mask) = ([7, 0, 3, 1, 9, 1, 2, 3], substring.mask(16));
        let data = TableData::of_sorted(&substring, &codes, 2);
        let table = view(&data, &substring, &mask);
        table.verify(&codes, 2).unwrap();
        assert_eq!(
            (table.bucket(1), table.bucket(2), table.number(3)),
            (Some((1, 3)), Some((3, 3)), Some(3))
        );
    }
}
