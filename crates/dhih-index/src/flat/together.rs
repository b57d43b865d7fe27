//! Compares many queries with the same codes in one pass: each block of codes, while it is in the cache, with one query after the other.
//! The callers decide what to keep: `Flat` keeps hits, and searches of segments keep codes (`search/together.rs`).

use crate::hamming::{self, BlockRequest, CodeBlock, CodeRange, Near, NearRequest};

/// Queries that share a pass over the codes.
pub(crate) const QUERIES_PER_PASS: usize = 128;
/// Bytes of codes that are compared with one query after the other: they stay in the second-level cache, twice where they are laid out.
const BYTES_PER_BLOCK: usize = 1 << 16;
/// The most codes of a block. The limits are read again after each block.
const CODES_PER_BLOCK: usize = 2048;
/// The number of codes of the first block. Each block has twice as many as the one before, because a k-NN search has no limit before it has
/// seen k codes.
const FIRST_BLOCK: usize = 64;
/// A block is laid out for comparison with many queries if at least this many share it. Codes of one word need no such layout.
const LAID_OUT_FOR: usize = 8;
const LAID_OUT_FROM_BYTES: usize = 9;

/// The next block is fetched ahead if at least this many queries share a pass. With fewer, a comparison is so short that what is fetched
/// in front of it only delays it.
const FETCHED_FOR: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Queries that share a pass. Its memory is kept from one pass to the next.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    block: CodeBlock,
    /// The words of the queries, one query after the other.
    words: Vec<u64>,
    near: Vec<Near>,
}

impl Pass {
    /// Calls `visit` for each query and block of codes with the query's number, the number of the block's first code, and the block's codes
    /// that are within the query's limit, with their numbers in the block. `visit` returns the limit from then on. Some codes may be beyond
    /// a limit that has fallen since.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub(crate) fn run<E>(
        &mut self,
        codes: &[u8],
        queries: &[&[u8]],
        limits: &mut [u32],
        mut visit: impl FnMut(usize, usize, &[Near]) -> Result<u32, E>,
    ) -> Result<(), E> {
        let Some(width) = queries.first().map(|query| query.len()) else { return Ok(()) };
        let laid_out = width >= LAID_OUT_FROM_BYTES && queries.len() >= LAID_OUT_FOR;
        let words_per_code = width.div_ceil(8);
        self.words.clear();
        self.words.extend(queries.iter().flat_map(|query| hamming::words(query)));
        let in_block = (BYTES_PER_BLOCK / width).clamp(8, CODES_PER_BLOCK);
        let Self { block, words, near } = self;
        let (mut first, mut rest, mut size) = (0, codes, FIRST_BLOCK.min(in_block));
        while !rest.is_empty() {
            let codes;
            (codes, rest) = rest.split_at(rest.len().min(size * width));
            if laid_out {
                block.fill(codes, width);
            }
            let ranges = &[CodeRange { start: 0, end: (codes.len() / width) as u32 }];
            let ahead =
                if queries.len() < FETCHED_FOR { 0 } else { rest.len().min(in_block * width) };
            let lines_ahead = (ahead / LINE).div_ceil(queries.len());
            for (number, query) in queries.iter().enumerate() {
                // The next block is fetched meanwhile: the hardware fetches no further than to the end of a page.
                for line in number * lines_ahead..(number + 1) * lines_ahead {
                    hamming::prefetch(rest, line * LINE);
                }
                let limit = limits[number];
                if laid_out {
                    let query = &words[number * words_per_code..][..words_per_code];
                    hamming::collect_near_in_block(&BlockRequest { query, block, limit }, near);
                } else {
                    hamming::collect_near(&NearRequest { query, codes, ranges, limit }, near);
                }
                if !near.is_empty() {
                    limits[number] = visit(number, first, near)?;
                    near.clear();
                }
            }
            first += size;
            size = in_block.min(2 * size);
        }
        Ok(())
    }
}
