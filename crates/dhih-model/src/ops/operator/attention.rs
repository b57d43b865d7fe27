//! Attention between the tokens of an image (Vaswani et al., 2017): `softmax(q k^T / sqrt(d)) v` for each head.
#![allow(unsafe_code)]

use std::ops::Range;

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

use super::{Compiled, Gradients, Operator, Sides};
use crate::ops::Tasks;
use crate::ops::activation::exp_negative;
use crate::ops::convolution::{Factor, Rows};
use crate::ops::fresh::fill_parts;
use crate::ops::matrix::{Matrix, Output, Size, multiply};
use crate::ops::multiversion::multiversion;
use crate::ops::portable::widened;
use crate::ops::scratch::with_scratch;
use crate::ops::shared::Shared;

/// Attention from `[n, 1, tokens, 3 channels]` to `[n, 1, tokens, channels]`. Each pixel of the input has its query, key and value, one after
/// the other.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// The number of heads, among which the channels are divided. Each head attends on its own.
    pub(crate) heads: usize,
    /// Whether a token attends only to itself and to tokens before it, as in text.
    pub(crate) causal: bool,
}

impl Operator for Attention {
    fn output(&self, [height, width, channels]: Sides) -> Result<Sides> {
        if self.heads == 0 || channels == 0 || channels % (3 * self.heads) != 0 {
            bail!("attention of {} heads on {channels} channels", self.heads);
        }
        Ok([height, width, channels / 3])
    }

    fn weights(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.dims4()?;
        let [_, _, out] = self.output([height, width, channels])?;
        let (tokens, dims) = (height * width, out / self.heads);
        let parts = x.reshape((n, tokens, 3, self.heads, dims))?;
        let part =
            |number: usize| parts.narrow(2, number, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let mut scores = (query.matmul(&key.t()?)? * (1.0 / (dims as f64).sqrt()))?;
        if self.causal {
            let hidden = |at: usize| at % tokens > at / tokens;
            let mask =
                (0..tokens * tokens).map(|at| if hidden(at) { f32::NEG_INFINITY } else { 0.0 });
            let mask = Tensor::from_vec(mask.collect(), (tokens, tokens), x.device())?;
            scores = scores.broadcast_add(&mask.to_dtype(x.dtype())?)?;
        }
        let y = shares(&scores)?.matmul(&value)?.transpose(1, 2)?;
        y.reshape((n, height, width, out))
    }

    fn compiled(&self, [height, width, channels]: Sides) -> Result<Box<dyn Compiled>> {
        let [_, _, out] = self.output([height, width, channels])?;
        let Self { heads, causal } = *self;
        Ok(Box::new(Heads { heads, causal, tokens: height * width, channels: out }))
    }
}

/// The softmax of each row, in candle's operations: candle-nn's `softmax_last_dim` has no gradient. Scores of 16 bits are summed in f32.
pub(super) fn shares(scores: &Tensor) -> Result<Tensor> {
    let wide = widened(scores)?;
    let largest = wide.max_keepdim(D::Minus1)?.detach();
    let powers = wide.broadcast_sub(&largest)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?.to_dtype(scores.dtype())
}

/// The sizes of the attention of one image.
#[derive(Debug, Clone, Copy)]
struct Heads {
    heads: usize,
    causal: bool,
    tokens: usize,
    /// The channels of the output.
    channels: usize,
}

/// Keys, times the scale of the scores, and values of a head.
struct Memory {
    /// `[dims, tokens]`.
    keys: Factor,
    /// `[tokens, dims]`.
    values: Factor,
}

/// The number of queries that are computed together, so that their shares stay in cache.
const QUERIES: usize = 64;

impl Heads {
    fn dims(self) -> usize {
        self.channels / self.heads
    }

    /// The queries (`part` 0), keys (1) or values (2) of a head, from a token on.
    fn part(self, x: &[f32], part: usize, head: usize, token: usize) -> Matrix<'_> {
        Matrix::rows_of(&x[self.offset(part, head, token)..], 3 * self.channels)
    }

    fn offset(self, part: usize, head: usize, token: usize) -> usize {
        3 * self.channels * token + part * self.channels + head * self.dims()
    }

    fn scale(self) -> f32 {
        1.0 / (self.dims() as f32).sqrt()
    }

    /// Writes how much some queries from `first` on attend to each token: `[queries, tokens]`.
    fn shares(self, x: &[f32], head: usize, first: usize, to: &mut [f32]) {
        let size = Size { rows: to.len() / self.tokens, inner: self.dims(), columns: self.tokens };
        let (query, key) = (self.part(x, 0, head, first), self.part(x, 1, head, 0));
        multiply(size, self.scale(), query, key.transposed(), Output::new(to, self.tokens));
        self.to_shares(first, to);
    }

    /// Scores of some queries from `first` on to shares.
    fn to_shares(self, first: usize, to: &mut [f32]) {
        if !self.causal {
            return softmax(to, self.tokens);
        }
        for (query, row) in to.chunks_exact_mut(self.tokens).enumerate() {
            let (seen, later) = row.split_at_mut(first + query + 1);
            let count = seen.len();
            softmax(seen, count);
            later.fill(0.0);
        }
    }

    /// Keys and values of a head, in the order in which they are multiplied with.
    fn memory(self, x: &[f32], head: usize) -> Memory {
        let (tokens, dims, stride) = (self.tokens, self.dims(), 3 * self.channels);
        let [keys, values] =
            [1, 2].map(|part| Rows { values: &x[self.offset(part, head, 0)..], stride });
        Memory {
            keys: Factor::transposed(dims, tokens, keys, self.scale()),
            values: Factor::new(tokens, dims, values),
        }
    }

    /// Blocks of about [`QUERIES`] queries of an image, of like sizes.
    fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        let len = self.tokens.div_ceil(self.tokens.div_ceil(QUERIES).max(1)).max(1);
        (0..self.tokens).step_by(len).map(move |first| first..self.tokens.min(first + len))
    }

    /// Computes the outputs of some queries of one image in a head; `y` is the image's output.
    ///
    /// # Safety
    /// While this runs, no one else accesses these outputs.
    unsafe fn block(
        self,
        x: &[f32],
        (head, memory): (usize, &Memory),
        queries: Range<usize>,
        y: Shared<'_>,
    ) {
        let Self { tokens, channels, .. } = self;
        let (first, count) = (queries.start, queries.len());
        let query = Rows { values: &x[self.offset(0, head, first)..], stride: 3 * channels };
        let to = Rows { values: y.from(first * channels + head * self.dims()), stride: channels };
        with_scratch(|scratch| {
            let shares = scratch.shares.resize(count * tokens);
            let scores = Rows { values: Shared::new(shares), stride: tokens };
            // SAFETY: `shares` is borrowed by this call alone.
            unsafe { memory.keys.multiply(count, query, scores) }
            self.to_shares(first, shares);
            // SAFETY: the caller promises this.
            unsafe { memory.values.multiply(count, Rows { values: shares, stride: tokens }, to) }
        });
    }

    /// Adds the gradient of one image's input to `dx`, which is 0 before.
    fn image_back(self, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for head in 0..self.heads {
            for first in (0..self.tokens).step_by(QUERIES) {
                self.block_back(x, dy, head, first, dx);
            }
        }
    }

    /// The same for the queries from `first` on: their own gradients, and their contribution to those of keys and values.
    fn block_back(self, x: &[f32], dy: &[f32], head: usize, first: usize, dx: &mut [f32]) {
        let Self { tokens, channels, .. } = self;
        let (queries, dims) = (QUERIES.min(tokens - first), self.dims());
        let dy = &dy[first * channels + head * dims..];
        let dy = Matrix::rows_of(dy, channels);
        with_scratch(|scratch| {
            let shares = scratch.shares.resize(queries * tokens);
            let d_shares = scratch.gradient.resize(queries * tokens);
            self.shares(x, head, first, shares);
            let value = self.part(x, 2, head, 0);
            let size = Size { rows: queries, inner: dims, columns: tokens };
            multiply(size, 1.0, dy, value.transposed(), Output::new(d_shares, tokens));
            softmax_back(shares, d_shares, tokens);
            let (shares, scores) =
                (Matrix::rows_of(shares, tokens), Matrix::rows_of(d_shares, tokens));
            let (query, key) = (self.part(x, 0, head, first), self.part(x, 1, head, 0));
            let to_queries = Size { rows: queries, inner: tokens, columns: dims };
            let to_tokens = Size { rows: tokens, inner: queries, columns: dims };
            for (size, scale, a, b, part, token) in [
                (to_queries, self.scale(), scores, key, 0, first),
                (to_tokens, self.scale(), scores.transposed(), query, 1, 0),
                (to_tokens, 1.0, shares.transposed(), dy, 2, 0),
            ] {
                let to = &mut dx[self.offset(part, head, token)..];
                multiply(size, scale, a, b, Output::new(to, 3 * channels).adding());
            }
        });
    }
}

impl Compiled for Heads {
    fn run(&self, x: &[f32], n: usize, y: &mut [f32], on_all: bool) {
        let Self { tokens, channels, heads, .. } = *self;
        let image = |number: usize| &x[3 * number * tokens * channels..];
        let y = Shared::new(y);
        let block = |at: usize, memory: &Memory, queries| {
            let y = y.from(at / heads * tokens * channels);
            // SAFETY: each call has other queries of an image or another head.
            unsafe { self.block(image(at / heads), (at % heads, memory), queries, y) }
        };
        let memory = |at: usize| self.memory(image(at / heads), at % heads);
        if !on_all {
            for at in 0..n * heads {
                let memory = memory(at);
                self.blocks().for_each(|queries| block(at, &memory, queries));
            }
            return;
        }
        let memories = (0..n * heads).into_par_iter().run_all(memory);
        let work: Vec<_> = memories
            .iter()
            .enumerate()
            .flat_map(|(at, memory)| self.blocks().map(move |queries| (at, memory, queries)))
            .collect();
        work.into_par_iter().run(|(at, memory, queries)| block(at, memory, queries));
    }

    fn back(&self, x: &[f32], _: usize, dy: &[f32], wants_dx: bool) -> Gradients {
        let image = self.tokens * self.channels;
        let dx = wants_dx.then(|| {
            let inputs = x.par_chunks(3 * image).zip(dy.par_chunks(image));
            fill_parts(x.len(), 3 * image, inputs, |dx, (x, dy)| self.image_back(x, dy, dx)).0
        });
        Gradients { dx, weights: Vec::new() }
    }
}

/// The number of values that are compared and summed side by side.
const LANES: usize = 16;

multiversion! {
    /// Replaces each row of `columns` values by its softmax.
    pub(super) fn softmax(rows: &mut [f32], columns: usize) {
        for row in rows.chunks_exact_mut(columns) {
            let mut largest = [f32::NEG_INFINITY; LANES];
            let (whole, rest) = row.as_chunks::<LANES>();
            for values in whole {
                for i in 0..LANES {
                    largest[i] = if values[i] > largest[i] { values[i] } else { largest[i] };
                }
            }
            let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
            let (whole, rest) = row.as_chunks_mut::<LANES>();
            let mut sums = [0f32; LANES];
            for values in whole {
                for i in 0..LANES {
                    values[i] = exp_negative(largest - values[i]);
                    sums[i] += values[i];
                }
            }
            for (value, sum) in rest.iter_mut().zip(&mut sums) {
                *value = exp_negative(largest - *value);
                *sum += *value;
            }
            let share = 1.0 / sums.iter().sum::<f32>();
            row.iter_mut().for_each(|value| *value *= share);
        }
    }
}

multiversion! {
    /// Replaces the gradients of the softmax of rows by those of the rows.
    pub(super) fn softmax_back(shares: &[f32], gradients: &mut [f32], columns: usize) {
        let rows = shares.chunks_exact(columns).zip(gradients.chunks_exact_mut(columns));
        for (shares, gradients) in rows {
            let mut sums = [0f32; LANES];
            let products = shares.iter().zip(gradients.iter());
            for (i, (share, gradient)) in products.enumerate() {
                sums[i % LANES] += share * gradient;
            }
            let mean: f32 = sums.iter().sum();
            for (gradient, share) in gradients.iter_mut().zip(shares) {
                *gradient = share * (*gradient - mean);
            }
        }
    }
}
