//! Entries of a table being built: the number of a code, then the code itself as whole words. An entry has `K` words, that of the
//! number included. Codes that are too long to be copied have no entries; then only their numbers are sorted.

use crate::table::substring::{Extractor, Substring};

/// Codes of more bytes than this are not copied into tables: their buckets hold numbers only.
pub(crate) const COPIED: usize = 16;

/// Packed codes of `width` bytes, read as words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a, const K: usize> {
    codes: &'a [u8],
    width: usize,
    /// Which bits of an entry's words belong to the code.
    masks: [u32; K],
}

impl<'a, const K: usize> Words<'a, K> {
    /// Takes packed codes of at most `4 * (K - 1)` bytes.
    pub(crate) fn new(codes: &'a [u8], width: usize) -> Self {
        let mut masks = [0; K];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut masks[1..]);
        bytes[..width].fill(0xff);
        Self { codes, width, masks }
    }

    /// The entry of a code.
    #[inline(always)]
    pub(crate) fn get(&self, number: usize) -> [u32; K] {
        let mut entry = [0; K];
        let start = number * self.width;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut entry[1..]);
        if let Some(window) = self.codes.get(start..start + 4 * (K - 1)) {
            // The window reaches into the next code, whose bytes are masked out.
            bytes.copy_from_slice(window);
            (1..K).for_each(|k| entry[k] &= self.masks[k]);
        } else {
            bytes[..self.width].copy_from_slice(&self.codes[start..start + self.width]);
        }
        entry[0] = number as u32;
        entry
    }
}

/// Writes the code of an entry to place `at` of packed codes of `width` bytes. Places must be written in ascending order: the bytes
/// behind the code are overwritten, too, where there are any.
#[inline(always)]
pub(crate) fn put<const K: usize>(entry: &[u32; K], codes: &mut [u8], width: usize, at: usize) {
    let (start, bytes): (_, &[u8]) = (at * width, bytemuck::cast_slice(&entry[1..]));
    match codes.get_mut(start..start + 4 * (K - 1)) {
        Some(window) => window.copy_from_slice(bytes),
        None => codes[start..start + width].copy_from_slice(&bytes[..width]),
    }
}

/// Reads one substring from many entries, by looking up what each value of each byte adds to the substring's value.
pub(crate) struct WordExtractor(Box<[[u32; 256]; COPIED]>);

impl WordExtractor {
    pub(crate) fn new(substring: &Substring) -> Self {
        let mut adds = Box::new([[0; 256]; COPIED]);
        for (byte, of_byte) in Extractor::new(substring).bytes() {
            adds[*byte] = *of_byte;
        }
        Self(adds)
    }

    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "indices known at compile time need no bounds check"
    )]
    pub(crate) fn of<const K: usize>(&self, entry: &[u32; K]) -> u32 {
        let mut value = 0;
        for k in 1..K {
            for (b, byte) in entry[k].to_le_bytes().into_iter().enumerate() {
                value |= self.0[4 * (k - 1) + b][usize::from(byte)];
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come_back<const K: usize>(width: usize) {
        let codes: Vec<u8> = (0..7 * width).map(|i| (i * i + 3 * i + 1) as u8).collect();
        let substring = (0..8 * width as u16).step_by(7).take(20).collect();
        let substring = Substring::new(substring, 8 * width as u32).unwrap();
        let extractor = WordExtractor::new(&substring);
        let (words, mut copy) = (Words::<K>::new(&codes, width), vec![0; codes.len()]);
        for (number, code) in codes.chunks_exact(width).enumerate() {
            let entry = words.get(number);
            assert_eq!(entry[0] as usize, number);
            assert_eq!(bytemuck::cast_slice::<u32, u8>(&entry[1..])[..width], *code);
            assert_eq!(extractor.of(&entry), substring.of(code));
            put(&entry, &mut copy, width, number);
        }
        assert_eq!(copy, codes);
    }

    #[test]
    fn codes_of_every_width_come_back() {
        (1..=4).for_each(come_back::<2>);
        (5..=8).for_each(come_back::<3>);
        (9..=12).for_each(come_back::<4>);
        (13..=16).for_each(come_back::<5>);
    }
}
