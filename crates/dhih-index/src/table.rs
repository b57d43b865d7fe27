//! The table of one substring: from its value to the codes that have it. Built here, and looked up
//! in place in a mapped file. How it is stored: `format.rs`; which buckets are looked up:
//! `search.rs`.

use crate::substring::Substring;

/// A table being built: `directory[v]..directory[v + 1]` is the bucket of value `v` in `postings`,
/// or, where the values are too sparse for that, the range of `keys` that start with the prefix
/// `v`; then `key_starts[i]..key_starts[i + 1]` is the bucket of `keys[i]`.
#[derive(Debug)]
pub(crate) struct TableData {
    pub(crate) substring: Substring,
    pub(crate) prefix_bits: u32,
    pub(crate) directory: Vec<u32>,
    pub(crate) keys: Vec<u32>,
    pub(crate) key_starts: Vec<u32>,
    pub(crate) postings: Vec<u32>,
}

impl TableData {
    /// Sorts packed codes of `width` bytes into the buckets of a substring, each bucket ascending.
    pub(crate) fn build(substring: Substring, codes: &[u8], width: usize) -> Self {
        let count = codes.len() / width;
        if 1_u64 << substring.bits <= 4 * count as u64 {
            return Self::direct(substring, codes, width);
        }
        Self::sparse(substring, codes, width)
    }

    /// One bucket for each value there can be: a counting sort.
    fn direct(substring: Substring, codes: &[u8], width: usize) -> Self {
        let values = || codes.chunks_exact(width).map(|code| substring.of(code) as usize);
        let mut directory = vec![0; (1 << substring.bits) + 1];
        values().for_each(|value| directory[value + 1] += 1);
        accumulate(&mut directory);
        let mut next = directory.clone();
        let mut postings = vec![0; codes.len() / width];
        for (code, value) in values().enumerate() {
            postings[next[value] as usize] = code as u32;
            next[value] += 1;
        }
        let (prefix_bits, keys, key_starts) = (substring.bits, Vec::new(), Vec::new());
        Self { substring, prefix_bits, directory, keys, key_starts, postings }
    }

    /// One bucket for each value there is, found through its leading bits.
    fn sparse(substring: Substring, codes: &[u8], width: usize) -> Self {
        let codes = codes.chunks_exact(width).map(|code| substring.of(code)).zip(0_u32..);
        let mut pairs: Vec<(u32, u32)> = codes.collect();
        pairs.sort_unstable();
        let buckets = || pairs.chunk_by(|a, b| a.0 == b.0);
        let keys: Vec<u32> = buckets().map(|bucket| bucket[0].0).collect();
        let mut key_starts = vec![0];
        key_starts.extend(buckets().map(|bucket| bucket.len() as u32));
        accumulate(&mut key_starts);

        let prefix_bits = keys.len().checked_ilog2().unwrap_or(0).min(substring.bits);
        let mut directory = vec![0; (1 << prefix_bits) + 1];
        for &key in &keys {
            directory[prefix(key, substring.bits - prefix_bits) + 1] += 1;
        }
        accumulate(&mut directory);
        let postings = pairs.iter().map(|pair| pair.1).collect();
        Self { substring, prefix_bits, directory, keys, key_starts, postings }
    }

    /// To look it up.
    #[cfg(test)]
    fn view(&self) -> Table<'_> {
        let sparse = self.prefix_bits < self.substring.bits;
        Table {
            substring: self.substring,
            prefix_bits: self.prefix_bits,
            directory: &self.directory,
            sparse: sparse.then_some((&self.keys, &self.key_starts)),
            postings: &self.postings,
        }
    }
}

/// A table in a file. Its lengths are checked when the file is opened, its content is not: look-ups
/// that would leave the bounds return `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) substring: Substring,
    pub(crate) prefix_bits: u32,
    pub(crate) directory: &'a [u32],
    /// Keys and where their buckets start, unless the directory is addressed directly.
    pub(crate) sparse: Option<(&'a [u32], &'a [u32])>,
    pub(crate) postings: &'a [u32],
}

impl<'a> Table<'a> {
    /// Where the bucket of a value lies in the postings.
    #[inline]
    pub(crate) fn bucket(&self, value: u32) -> Option<(u32, u32)> {
        let at = prefix(value, self.substring.bits - self.prefix_bits);
        let (start, end) = (*self.directory.get(at)?, *self.directory.get(at + 1)?);
        let Some((keys, key_starts)) = self.sparse else { return Some((start, end)) };
        match keys.get(start as usize..end as usize)?.binary_search(&value) {
            Ok(found) => {
                let at = start as usize + found;
                Some((*key_starts.get(at)?, *key_starts.get(at + 1)?))
            }
            Err(_) => Some((0, 0)),
        }
    }

    /// The codes of a bucket.
    #[inline]
    pub(crate) fn codes(&self, (start, end): (u32, u32)) -> Option<&'a [u32]> {
        self.postings.get(start as usize..end as usize)
    }

    /// Whether it is exactly the table of these packed codes: every code once, in its bucket, each
    /// bucket ascending. `Err` says what is wrong.
    pub(crate) fn verify(&self, codes: &[u8], width: usize) -> Result<(), &'static str> {
        ascends(self.directory, self.sparse.map_or(self.postings, |(keys, _)| keys).len())?;
        if let Some((keys, key_starts)) = self.sparse {
            ascends(key_starts, self.postings.len())?;
            if !keys.is_sorted_by(|a, b| a < b) || !key_starts.is_sorted_by(|a, b| a < b) {
                return Err("its keys do not ascend");
            }
        }
        // Buckets lie in the order of their values, so one look-up per code that moves forward sees
        // all of them.
        let mut last: Option<(u32, u32)> = None;
        for (at, &code) in self.postings.iter().enumerate() {
            let start = code as usize * width;
            let bytes = codes.get(start..start + width).ok_or("a posting names no code")?;
            let value = self.substring.of(bytes);
            let bucket = self.bucket(value).ok_or("a bucket leaves its bounds")?;
            if !(bucket.0 as usize..bucket.1 as usize).contains(&at) {
                return Err("a code is not in its bucket");
            }
            if last.is_some_and(|last| last >= (value, code)) {
                return Err("a bucket does not ascend");
            }
            last = Some((value, code));
        }
        Ok(())
    }
}

fn ascends(starts: &[u32], end: usize) -> Result<(), &'static str> {
    let bounds = (starts.first().copied(), starts.last().map(|&last| last as usize));
    if bounds != (Some(0), Some(end)) || !starts.is_sorted() {
        return Err("its directory does not ascend from start to end");
    }
    Ok(())
}

/// The leading bits of a value, all but the `shift` lowest.
#[inline]
fn prefix(value: u32, shift: u32) -> usize {
    (u64::from(value) >> shift) as usize
}

/// From counts to where each starts.
fn accumulate(counts: &mut [u32]) {
    let mut sum = 0;
    for count in counts {
        sum += *count;
        *count = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buckets_hold_the_codes_with_that_value(
            codes in prop::collection::vec(prop_oneof![Just([0; 5]), any::<[u8; 5]>()], 0..200),
            start in 0..8_u32, bits in 1..=32_u32,
            others in prop::collection::vec(any::<u32>(), 20),
        ) {
            let (substring, bytes) = (Substring { start, bits }, codes.concat());
            let data = TableData::build(substring, &bytes, 5);
            let table = data.view();
            prop_assert_eq!(table.sparse.is_none(), 1 << bits <= 4 * codes.len() as u64);
            table.verify(&bytes, 5).unwrap();
            let values = codes.iter().map(|code| substring.of(code));
            let others = others.iter().map(|value| value >> (32 - bits));
            for value in values.chain(others) {
                let expected: Vec<u32> = (0..codes.len() as u32)
                    .filter(|&code| substring.of(&codes[code as usize]) == value).collect();
                prop_assert_eq!(table.codes(table.bucket(value).unwrap()).unwrap(), expected);
            }
        }

        #[test]
        fn any_change_is_found_and_no_look_up_panics(
            codes in prop::collection::hash_set(any::<[u8; 4]>(), 3..40),
            bits in prop::sample::select(vec![4_u32, 12, 32]),
            place: prop::sample::Index, delta in 1..=u32::MAX,
        ) {
            let bytes: Vec<u8> = codes.into_iter().flatten().collect();
            let mut data = TableData::build(Substring { start: 0, bits }, &bytes, 4);
            let TableData { directory, keys, key_starts, postings, .. } = &mut data;
            let mut all: Vec<&mut u32> =
                [directory, keys, key_starts, postings].into_iter().flatten().collect();
            let at = place.index(all.len());
            *all[at] = all[at].wrapping_add(delta);
            let table = data.view();
            prop_assert!(table.verify(&bytes, 4).is_err());
            for value in 0..16 {
                let _ = table.bucket(value).and_then(|bucket| table.codes(bucket));
            }
        }
    }
}
