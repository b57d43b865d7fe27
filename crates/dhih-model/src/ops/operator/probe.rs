//! Attention of one learnt query to the tokens of an image, by which SigLIP makes one vector of an image (Zhai et al., 2023).

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::attention::{shares, softmax, softmax_back};
use super::{Compiled, Gradients, Operator, Sides, values};
use crate::ops::convolution::{Factor, Rows};
use crate::ops::fresh::fill_parts;
use crate::ops::matrix::{Matrix, Size, product};
use crate::ops::normalize::sum_rows;
use crate::ops::{Tasks, add_to};

/// Attention pooling from `[n, 1, tokens, channels]` to `[n, 1, 1, channels]`. Linear layers make the query from the probe, and keys and values
/// from the tokens. Their weights are stacked in one tensor, as in PyTorch's `MultiheadAttention`.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The learnt query before its linear layer; it has as many values as there are channels.
    pub(crate) probe: Tensor,
    /// The weights for query, keys and values, `[3 channels, channels]`.
    pub(crate) weight: Tensor,
    /// The biases for query, keys and values, `[3 channels]`.
    pub(crate) bias: Tensor,
    /// The number of heads, among which the channels are divided. Each head attends on its own.
    pub(crate) heads: usize,
}

impl Probe {
    fn scale(&self, channels: usize) -> f32 {
        1.0 / ((channels / self.heads) as f32).sqrt()
    }

    /// The query times the scale of scores, `[channels]`.
    ///
    /// # Errors
    /// Those of the device of the weights.
    pub(crate) fn query(&self) -> Result<Vec<f32>> {
        let (probe, weight, bias) =
            (values(&self.probe)?, values(&self.weight)?, values(&self.bias)?);
        let scale = self.scale(probe.len());
        let rows = weight.chunks_exact(probe.len()).take(probe.len()).zip(&bias);
        let dot = |row: &[f32]| row.iter().zip(&probe).map(|(w, p)| w * p).sum::<f32>();
        Ok(rows.map(|(row, bias)| scale * (dot(row) + bias)).collect())
    }
}

impl Operator for Probe {
    fn output(&self, [height, width, channels]: Sides) -> Result<Sides> {
        let fits = self.probe.elem_count() == channels
            && self.weight.dims() == [3 * channels, channels]
            && self.bias.dims() == [3 * channels];
        if !fits || channels == 0 || self.heads == 0 || !channels.is_multiple_of(self.heads) {
            bail!("{} heads with weights {:?} on {channels}", self.heads, self.weight.dims());
        }
        if height * width == 0 {
            bail!("attention to no tokens");
        }
        Ok([1, 1, channels])
    }

    fn weights(&self) -> Vec<&Tensor> {
        vec![&self.probe, &self.weight, &self.bias]
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.dims4()?;
        self.output([height, width, channels])?;
        let (tokens, dims) = (height * width, channels / self.heads);
        let part = |number: usize, x: &Tensor| {
            let weight = self.weight.narrow(0, number * channels, channels)?;
            x.matmul(&weight.t()?)?.broadcast_add(&self.bias.narrow(
                0,
                number * channels,
                channels,
            )?)
        };
        let tokens_of = |number: usize| {
            let all = part(number, &x.reshape((n * tokens, channels))?)?;
            all.reshape((n, tokens, self.heads, dims))?.transpose(1, 2)?.contiguous()
        };
        let query = part(0, &self.probe.reshape((1, channels))?)?;
        let query = query.reshape((1, self.heads, 1, dims))?;
        let query = query.broadcast_as((n, self.heads, 1, dims))?.contiguous()?;
        let scores = (query.matmul(&tokens_of(1)?.t()?)? * (1.0 / (dims as f64).sqrt()))?;
        shares(&scores)?.matmul(&tokens_of(2)?)?.reshape((n, 1, 1, channels))
    }

    fn compiled(&self, [height, width, channels]: Sides) -> Result<Box<dyn Compiled>> {
        let (probe, weight, bias) =
            (values(&self.probe)?, values(&self.weight)?, values(&self.bias)?);
        let (heads, scale, query) = (self.heads, self.scale(channels), self.query()?);
        let of_tokens = Rows { values: &weight[channels * channels..], stride: channels };
        let of_tokens = Factor::transposed(channels, 2 * channels, of_tokens, 1.0);
        let tokens = height * width;
        Ok(Box::new(Query {
            probe,
            weight,
            of_tokens,
            bias,
            query,
            scale,
            heads,
            tokens,
            channels,
        }))
    }
}

#[derive(Debug)]
struct Query {
    probe: Vec<f32>,
    weight: Vec<f32>,
    /// The weights for keys and values, packed.
    of_tokens: Factor,
    bias: Vec<f32>,
    /// The query times the scale of scores.
    query: Vec<f32>,
    scale: f32,
    heads: usize,
    tokens: usize,
    channels: usize,
}

impl Query {
    /// The keys and values of all tokens, `[tokens, 2 channels]`. The tokens of an image are cut into pieces at the same places whatever the batch,
    /// so that the result for an image does not depend on the other images.
    fn keys_and_values(&self, x: &[f32], on_all: bool) -> Vec<f32> {
        /// The tokens of a piece.
        const PIECE: usize = 64;
        let Self { channels, tokens, .. } = *self;
        let mut all = vec![0.0; 2 * x.len()];
        let bias = &self.bias[channels..];
        let piece = |(rows, x): (&mut [f32], &[f32])| {
            self.of_tokens.multiply_rows(x, rows);
            for row in rows.chunks_exact_mut(2 * channels) {
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
        };
        let images = all.chunks_mut(2 * tokens * channels).zip(x.chunks(tokens * channels));
        let pieces = images.flat_map(|(rows, x)| {
            rows.chunks_mut(2 * PIECE * channels).zip(x.chunks(PIECE * channels))
        });
        if on_all {
            pieces.collect::<Vec<_>>().into_par_iter().run(piece);
        } else {
            pieces.for_each(piece);
        }
        all
    }

    fn head(&self, head: usize) -> std::ops::Range<usize> {
        let dims = self.channels / self.heads;
        head * dims..(head + 1) * dims
    }

    /// How much a head attends to each token of an image.
    fn shares(&self, rows: &[f32], head: usize) -> Vec<f32> {
        let range = self.head(head);
        let query = &self.query[range.clone()];
        let rows = rows.chunks_exact(2 * self.channels);
        let score = |row: &[f32]| row[range.clone()].iter().zip(query).map(|(k, q)| k * q).sum();
        let mut shares: Vec<f32> = rows.map(score).collect();
        softmax(&mut shares, self.tokens);
        shares
    }

    /// The value of a token for a head.
    fn value<'a>(&self, row: &'a [f32], head: usize) -> &'a [f32] {
        &row[self.channels..][self.head(head)]
    }

    fn image(&self, rows: &[f32], y: &mut [f32]) {
        y.fill(0.0);
        for head in 0..self.heads {
            let shares = self.shares(rows, head);
            let y = &mut y[self.head(head)];
            for (row, share) in rows.chunks_exact(2 * self.channels).zip(shares) {
                y.iter_mut().zip(self.value(row, head)).for_each(|(y, v)| *y += share * v);
            }
        }
    }

    /// Writes the gradients of keys and values, and returns that of the query before it is scaled.
    fn image_back(&self, rows: &[f32], dy: &[f32], d_rows: &mut [f32]) -> Vec<f32> {
        let mut d_query = vec![0.0; self.channels];
        for head in 0..self.heads {
            let range = self.head(head);
            let shares = self.shares(rows, head);
            let dy = &dy[range.clone()];
            let rows = || rows.chunks_exact(2 * self.channels);
            let along =
                |row: &[f32]| self.value(row, head).iter().zip(dy).map(|(v, dy)| v * dy).sum();
            let mut d_scores: Vec<f32> = rows().map(along).collect();
            softmax_back(&shares, &mut d_scores, self.tokens);
            let query = &self.query[range.clone()];
            let d_rows = d_rows.chunks_exact_mut(2 * self.channels);
            for ((row, d_row), (share, d_score)) in
                rows().zip(d_rows).zip(shares.iter().zip(&d_scores))
            {
                let (d_key, d_value) = d_row.split_at_mut(self.channels);
                for (d, q) in d_key[range.clone()].iter_mut().zip(query) {
                    *d = d_score * q;
                }
                for (d, dy) in d_value[range.clone()].iter_mut().zip(dy) {
                    *d = share * dy;
                }
                for (d, key) in d_query[range.clone()].iter_mut().zip(&row[range.clone()]) {
                    *d += self.scale * d_score * key;
                }
            }
        }
        d_query
    }
}

impl Compiled for Query {
    fn run(&self, x: &[f32], _: usize, y: &mut [f32], on_all: bool) {
        let rows = self.keys_and_values(x, on_all);
        let image = 2 * self.tokens * self.channels;
        if on_all {
            let images = y.par_chunks_mut(self.channels).zip(rows.par_chunks(image));
            images.run(|(y, rows)| self.image(rows, y));
        } else {
            let images = y.chunks_mut(self.channels).zip(rows.chunks(image));
            images.for_each(|(y, rows)| self.image(rows, y));
        }
    }

    fn back(&self, x: &[f32], _: usize, dy: &[f32], wants_dx: bool) -> Gradients {
        let channels = self.channels;
        let rows = self.keys_and_values(x, true);
        let image = 2 * self.tokens * channels;
        let images = rows.par_chunks(image).zip(dy.par_chunks(channels));
        let (d_rows, d_queries) = fill_parts(rows.len(), image, images, |d_rows, (rows, dy)| {
            self.image_back(rows, dy, d_rows)
        });
        let mut d_query = vec![0.0; channels];
        d_queries.iter().for_each(|of_image| add_to(&mut d_query, of_image));
        let (of_query, rest) = self.weight.split_at(channels * channels);
        let count = x.len() / channels;
        let size = Size { rows: 2 * channels, inner: count, columns: channels };
        let d_rest = Matrix::rows_of(&d_rows, 2 * channels);
        let of_rest = product(size, d_rest.transposed(), Matrix::rows_of(x, channels));
        let mut weight: Vec<f32> =
            d_query.iter().flat_map(|d| self.probe.iter().map(move |p| d * p)).collect();
        weight.extend(of_rest);
        let mut probe = vec![0.0; channels];
        for (row, d) in of_query.chunks_exact(channels).zip(&d_query) {
            probe.iter_mut().zip(row).for_each(|(probe, w)| *probe += d * w);
        }
        let bias = [d_query, sum_rows(&d_rows, 2 * channels)].concat();
        let dx = wants_dx.then(|| {
            let size = Size { rows: count, inner: 2 * channels, columns: channels };
            product(size, d_rest, Matrix::rows_of(rest, channels))
        });
        Gradients { dx, weights: vec![probe, weight, bias] }
    }
}
