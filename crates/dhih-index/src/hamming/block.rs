//! A block of codes laid out to be compared with many queries: eight codes side by side, word by word. Then one instruction works on the
//! same word of eight codes, nothing has to be summed across a register, and codes that the first words show to be too far need no more.
//! Laying a block out takes about as long as comparing it with a few queries.

use super::near::Near;

/// Codes side by side.
pub(super) const LANES: usize = 8;

/// Codes in groups of [`LANES`]: of each group the first word of all its codes, then the second word of all, and so on. A word has 64
/// bits; the last word of a code is filled up with zeros.
#[derive(Debug, Default)]
pub(crate) struct CodeBlock {
    words: Vec<[u64; LANES]>,
    words_per_code: usize,
    codes: usize,
}

impl CodeBlock {
    /// Lays out packed codes of `width` bytes in the place of those before.
    pub(crate) fn fill(&mut self, codes: &[u8], width: usize) {
        (self.words_per_code, self.codes) = (width.div_ceil(8), codes.len() / width);
        let groups = self.codes.div_ceil(LANES);
        self.words.resize(groups * self.words_per_code, [0; LANES]);
        let groups = self.words.chunks_exact_mut(self.words_per_code);
        for (group, codes) in groups.zip(codes.chunks(LANES * width)) {
            match width {
                16 => lay_out_fixed::<16>(group, codes),
                32 => lay_out_fixed::<32>(group, codes),
                64 => lay_out_fixed::<64>(group, codes),
                _ => lay_out(group, codes, width),
            }
        }
    }
}

/// Lays out one group; the compiler knows the length of a code.
fn lay_out_fixed<const N: usize>(group: &mut [[u64; LANES]], codes: &[u8]) {
    for (lane, code) in codes.as_chunks::<N>().0.iter().enumerate() {
        for (words, word) in group.iter_mut().zip(code.as_chunks().0) {
            words[lane] = u64::from_le_bytes(*word);
        }
    }
}

fn lay_out(group: &mut [[u64; LANES]], codes: &[u8], width: usize) {
    for (lane, code) in codes.chunks_exact(width).enumerate() {
        for (words, word) in group.iter_mut().zip(words(code)) {
            words[lane] = word;
        }
    }
}

/// The words of a code.
pub(crate) fn words(code: &[u8]) -> impl Iterator<Item = u64> {
    code.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    })
}

/// A search for the codes of a block within a distance of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRequest<'a> {
    /// The words of the query.
    pub(crate) query: &'a [u64],
    pub(crate) block: &'a CodeBlock,
    /// The greatest distance of a code that is wanted.
    pub(crate) limit: u32,
}

impl<'a> BlockRequest<'a> {
    /// Refuses a query that has another number of words than the codes.
    #[inline(always)]
    pub(super) fn check(&self) {
        assert_eq!(self.query.len(), self.block.words_per_code, "codes of different lengths");
    }

    /// The groups, numbered. Each has as many words as the query.
    #[inline(always)]
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, &'a [[u64; LANES]])> {
        self.block.words.chunks_exact(self.query.len()).enumerate()
    }

    /// As [`groups`](Self::groups), for a number of words that the compiler knows.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn groups_of<const N: usize>(
        &self,
    ) -> impl Iterator<Item = (usize, &'a [[u64; LANES]; N])> {
        self.block.words.as_chunks().0.iter().enumerate()
    }

    /// Which places of a group have codes: all places, except in the last group.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn places(&self, group: usize) -> u8 {
        let codes = (self.block.codes - group * LANES).min(LANES);
        (0xff_u16 >> (LANES - codes)) as u8
    }

    /// The number of words after which most groups are known to be too far, or all words where there is no such number. Half of the bits
    /// of unrelated codes differ, give or take the square root of their number; of eight codes, the nearest is hardly ever more than
    /// three times that deviation (half of the root) below.
    pub(super) fn telling_words(&self) -> usize {
        let is_telling = |words: &usize| {
            let bits = 64.0 * *words as f64;
            bits / 2.0 - 1.5 * bits.sqrt() > f64::from(self.limit)
        };
        (1..self.query.len()).find(is_telling).unwrap_or(self.query.len())
    }
}

/// Appends the codes that a request asks for to `found`, in the order of their numbers in the block: the reference for the kernels of the
/// instruction sets.
#[inline(always)]
pub(super) fn collect_near(request: &BlockRequest, found: &mut Vec<Near>) {
    let telling = request.telling_words();
    for (number, group) in request.groups() {
        let mut distances = [0; LANES];
        add(&mut distances, &group[..telling], &request.query[..telling]);
        if any_within(&distances, request.limit) {
            add(&mut distances, &group[telling..], &request.query[telling..]);
            append(request, number, &distances, found);
        }
    }
}

/// Adds the bits in which some words of each code differ from those of the query.
#[inline(always)]
fn add(distances: &mut [u64; LANES], group: &[[u64; LANES]], query: &[u64]) {
    for (words, query) in group.iter().zip(query) {
        for (distance, word) in distances.iter_mut().zip(words) {
            *distance += u64::from((word ^ query).count_ones());
        }
    }
}

#[inline(always)]
fn any_within(distances: &[u64; LANES], limit: u32) -> bool {
    distances.iter().fold(false, |any, &distance| any | (distance <= u64::from(limit)))
}

/// Appends the codes of a group that are within the limit. Lanes behind the last code of the last group contain no codes.
pub(super) fn append(
    request: &BlockRequest,
    group: usize,
    distances: &[u64; LANES],
    found: &mut Vec<Near>,
) {
    let first = group * LANES;
    for (at, &distance) in (first..request.block.codes).zip(distances) {
        if distance <= u64::from(request.limit) {
            found.push(Near { at: at as u32, distance: distance as u32 });
        }
    }
}
