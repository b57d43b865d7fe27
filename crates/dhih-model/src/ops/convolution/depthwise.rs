//! Depthwise convolution: each channel has its own kernel. It is a pass over memory rather than a product of matrices, by vectors of channels.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "indices of registers, several arrays at once")]

use std::ops::Range;

use super::geometry::Geometry;
use super::product::Epilogue;
use crate::ops::simd::{Simd, dispatch};

/// A depthwise convolution. Its weights are ordered by tap, `[taps, channels]`.
#[derive(Debug)]
pub(super) struct Depthwise {
    geometry: Geometry,
    spans: Spans,
    taps: Vec<f32>,
}

/// For each output position along one side: the kernel positions that lie within the image, and the input position of the first of them.
type Span = (Range<usize>, usize);

/// The spans of output rows and columns.
#[derive(Debug)]
struct Spans {
    vertical: Vec<Span>,
    horizontal: Vec<Span>,
}

impl Spans {
    fn new(geometry: &Geometry) -> Self {
        let Geometry { height, width, out, kernel, border, .. } = *geometry;
        Self {
            vertical: spans((height, out.0), (kernel.0, border.0), geometry),
            horizontal: spans((width, out.1), (kernel.1, border.1), geometry),
        }
    }
}

/// Channels, rounded up so that a vector that begins at one of them does not reach beyond the end.
fn filled(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

fn spans(
    (size, out): (usize, usize),
    (kernel, border): (usize, usize),
    geometry: &Geometry,
) -> Vec<Span> {
    let config = geometry.config;
    let position =
        |o: usize, k: usize| (o * config.stride + k * config.dilation).wrapping_sub(border);
    let span = |o: usize| {
        let first = (0..kernel).find(|k| position(o, *k) < size).unwrap_or(kernel);
        let end = (first..kernel).find(|k| position(o, *k) >= size).unwrap_or(kernel);
        (first..end, if first < end { position(o, first) } else { 0 })
    };
    (0..out).map(span).collect()
}

impl Depthwise {
    /// `weight`: `[channels, 1, kh, kw]`.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let (count, width) = (geometry.kernel.0 * geometry.kernel.1, filled(geometry.channels));
        let mut taps = vec![0.0; count * width];
        for (c, weight) in weight.chunks_exact(count).enumerate() {
            weight.iter().enumerate().for_each(|(tap, w)| taps[tap * width + c] = *w);
        }
        Self { geometry, spans: Spans::new(&geometry), taps }
    }

    /// Computes the output rows `rows` of each image.
    pub(super) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32], epilogue: Epilogue<'_>) {
        let Self { geometry, spans, taps } = self;
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= filled(geometry.channels)));
        let job = Pass { geometry, taps, horizontal: &spans.horizontal, epilogue };
        let outputs = y.chunks_mut((rows.len() * geometry.out_row()).max(1));
        for (x, y) in x.chunks_exact(geometry.image()).zip(outputs) {
            let lines = spans.vertical[rows.clone()].iter();
            for (line, y) in lines.zip(y.chunks_mut(geometry.out_row())) {
                let last = (geometry.out.1 - 1) * geometry.pixel + geometry.channels;
                assert!(y.len() >= last, "a row of the output is too short");
                // SAFETY: `x` is an image and `y` a row of one; spans contain positions within the image only.
                unsafe { forward_row(&job, line, Ends::of(x), y.as_mut_ptr()) }
                if epilogue.activation.needs_input() {
                    epilogue.activation.apply_in_place(y);
                }
            }
        }
    }

    /// Writes the gradients of whole images.
    pub(super) fn input_gradient(&self, dy: &[f32], dx: &mut [f32]) {
        let Self { geometry, spans, taps } = self;
        let epilogue = Epilogue::NONE;
        let job = Pass { geometry, taps, horizontal: &spans.horizontal, epilogue };
        let images = dy.chunks_exact(geometry.output());
        for (dy, dx) in images.zip(dx.chunks_exact_mut(geometry.image())) {
            dx.fill(0.0);
            for (line, dy) in spans.vertical.iter().zip(dy.chunks_exact(geometry.out_row())) {
                // SAFETY: as in the forward pass, with input and output exchanged.
                unsafe { input_row(&job, line, Ends::of(dy), dx.as_mut_ptr(), dx.len()) }
            }
        }
    }
}

/// What the rows of one pass share.
struct Pass<'a> {
    geometry: &'a Geometry,
    taps: &'a [f32],
    horizontal: &'a [Span],
    epilogue: Epilogue<'a>,
}

/// The first and the end pointer of a slice.
#[derive(Clone, Copy)]
struct Ends {
    start: *const f32,
    len: usize,
}

impl Ends {
    fn of(values: &[f32]) -> Self {
        Self { start: values.as_ptr(), len: values.len() }
    }

    /// The vector at `at`, with zeros where it reaches beyond the end of the slice.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, at: usize) -> S {
        // SAFETY: the caller guarantees that `at` is within the slice.
        unsafe {
            if at + S::LANES <= self.len {
                return S::load(self.start.add(at));
            }
            S::load_first(self.start.add(at), self.len - at)
        }
    }
}

dispatch! {
    unsafe fn forward_row(job: &Pass<'_>, line: &Span, x: Ends, y: *mut f32) = forward
}

#[inline(always)]
unsafe fn forward<S: Simd>(job: &Pass<'_>, line: &Span, x: Ends, y: *mut f32) {
    let Geometry { channels, kernel, config, .. } = *job.geometry;
    for c in (0..channels).step_by(S::LANES) {
        let is_whole = c + S::LANES <= channels;
        // SAFETY: the caller guarantees the sizes of `x` and `y`; `c` is within the channels of each pixel and tap.
        unsafe {
            match (kernel.1, config.stride, config.dilation) {
                (3, 1, 1) if is_whole => together::<S, 3, 1, 9>(job, line, x.start, y, c),
                (3, 2, 1) if is_whole => together::<S, 3, 2, 15>(job, line, x.start, y, c),
                (5, 1, 1) if is_whole => together::<S, 5, 1, 11>(job, line, x.start, y, c),
                (5, 2, 1) if is_whole => together::<S, 5, 2, 17>(job, line, x.start, y, c),
                _ => one_by_one::<S>(job, line, x, y, c),
            }
        }
    }
}

/// The outputs of a vector of channels from `c` on, each summed by itself.
#[inline(always)]
unsafe fn one_by_one<S: Simd>(job: &Pass<'_>, line: &Span, x: Ends, y: *mut f32, c: usize) {
    let Geometry { width, channels, kernel, config, .. } = *job.geometry;
    let filled = filled(channels);
    // SAFETY: the caller guarantees the sizes; spans contain positions within the image only.
    unsafe {
        let bias = job.epilogue.bias.map_or(S::splat(0.0), |bias| S::load(bias.as_ptr().add(c)));
        for (ox, span) in job.horizontal.iter().enumerate() {
            let mut sum = bias;
            for (i, ky) in line.0.clone().enumerate() {
                let row = (line.1 + i * config.dilation) * width + span.1;
                for (j, kx) in span.0.clone().enumerate() {
                    let pixel: S = x.load((row + j * config.dilation) * channels + c);
                    let tap = job.taps.as_ptr().add((ky * kernel.1 + kx) * filled + c);
                    sum = pixel.mul_add(S::load(tap), sum);
                }
            }
            finish(job, sum, (ox, c), y);
        }
    }
}

/// The number of outputs that are summed side by side: a single sum would wait for each of its additions, and neighbours see the same pixels.
/// Sides of images of 224 pixels are multiples of it all the way down.
const TOGETHER: usize = 7;

/// The outputs of a vector of channels from `c` on, some at a time, each in the order in which it would be summed by itself. All channels of the
/// vector exist. The outputs see `SEEN` pixels of a row; those outside of the image are 0.
#[inline(always)]
unsafe fn together<S: Simd, const K: usize, const STRIDE: usize, const SEEN: usize>(
    job: &Pass<'_>,
    line: &Span,
    x: *const f32,
    y: *mut f32,
    c: usize,
) {
    let Geometry { width, channels, border, out, .. } = *job.geometry;
    const { assert!(SEEN == (TOGETHER - 1) * STRIDE + K) };
    let filled = filled(channels);
    // SAFETY: the caller guarantees the sizes; only pixels within the image are read, and only outputs within the row are written.
    unsafe {
        let bias = job.epilogue.bias.map_or(S::splat(0.0), |bias| S::load(bias.as_ptr().add(c)));
        for first in (0..out.1).step_by(TOGETHER) {
            let mut sums = [bias; TOGETHER];
            let column = (first * STRIDE).wrapping_sub(border.1);
            for (i, ky) in line.0.clone().enumerate() {
                let row = x.add((line.1 + i) * width * channels + c);
                let taps = job.taps.as_ptr().add(ky * K * filled + c);
                let taps: [S; K] = std::array::from_fn(|kx| S::load(taps.add(kx * filled)));
                let pixels: [S; SEEN] = if column < width && column + SEEN <= width {
                    std::array::from_fn(|at| S::load(row.add((column + at) * channels)))
                } else {
                    std::array::from_fn(|at| match column.wrapping_add(at) {
                        column if column < width => S::load(row.add(column * channels)),
                        _ => S::splat(0.0),
                    })
                };
                for kx in 0..K {
                    for output in 0..TOGETHER {
                        let pixel = pixels[output * STRIDE + kx];
                        sums[output] = pixel.mul_add(taps[kx], sums[output]);
                    }
                }
            }
            for (i, sum) in sums.into_iter().take(out.1 - first).enumerate() {
                finish(job, sum, (first + i, c), y);
            }
        }
    }
}

/// Stores the channels from `c` on of the output at column `ox`.
#[inline(always)]
unsafe fn finish<S: Simd>(job: &Pass<'_>, sum: S, (ox, c): (usize, usize), y: *mut f32) {
    let Geometry { channels, pixel, .. } = *job.geometry;
    // SAFETY: the caller guarantees that `y` is a row of outputs.
    unsafe {
        let sum = match job.epilogue.activation.range() {
            Some((low, high)) => sum.max(S::splat(low)).min(S::splat(high)),
            None => sum,
        };
        let to = y.add(ox * pixel + c);
        if c + S::LANES <= channels {
            // Whole vectors need no mask.
            return sum.store(to);
        }
        sum.store_first(to, channels - c);
    }
}

dispatch! {
    unsafe fn input_row(job: &Pass<'_>, line: &Span, dy: Ends, dx: *mut f32, len: usize) = scatter
}

#[inline(always)]
unsafe fn scatter<S: Simd>(job: &Pass<'_>, line: &Span, dy: Ends, dx: *mut f32, len: usize) {
    let Geometry { width, channels, kernel, config, .. } = *job.geometry;
    let (filled, dilation) = (filled(channels), config.dilation);
    for c in (0..channels).step_by(S::LANES) {
        // SAFETY: the caller guarantees the sizes of both slices; `c` is within the channels of each pixel and tap.
        unsafe {
            for (ox, span) in job.horizontal.iter().enumerate() {
                let gradient: S = dy.load(ox * channels + c);
                for (i, ky) in line.0.clone().enumerate() {
                    let row = (line.1 + i * dilation) * width + span.1;
                    for (j, kx) in span.0.clone().enumerate() {
                        let tap = job.taps.as_ptr().add((ky * kernel.1 + kx) * filled + c);
                        let at = (row + j * dilation) * channels + c;
                        let old: S = Ends { start: dx, len }.load(at);
                        let new = gradient.mul_add(S::load(tap), old);
                        new.store_first(dx.add(at), channels - c);
                    }
                }
            }
        }
    }
}

/// The sizes of the sum of weight gradients.
#[derive(Debug)]
pub(super) struct DepthwiseWeights {
    geometry: Geometry,
    spans: Spans,
}

impl DepthwiseWeights {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { geometry, spans: Spans::new(&geometry) }
    }

    /// The number of values of the sum that [`Self::add`] adds to.
    pub(super) fn sum_len(&self) -> usize {
        self.geometry.kernel.0 * self.geometry.kernel.1 * filled(self.geometry.channels)
    }

    /// Adds what some images contribute to the sum.
    pub(super) fn add(&self, x: &[f32], dy: &[f32], sum: &mut [f32]) {
        let Self { geometry, spans } = self;
        assert!(sum.len() >= self.sum_len());
        let epilogue = Epilogue::NONE;
        let job = Pass { geometry, taps: &[], horizontal: &spans.horizontal, epilogue };
        let images = x.chunks_exact(geometry.image()).zip(dy.chunks_exact(geometry.output()));
        for (x, dy) in images {
            for (line, dy) in spans.vertical.iter().zip(dy.chunks_exact(geometry.out_row())) {
                // SAFETY: `x` is an image and `dy` a row of one; the assertion covers the sum; spans contain positions within the image only.
                unsafe { weight_row(&job, line, Ends::of(x), Ends::of(dy), sum.as_mut_ptr()) }
            }
        }
    }

    /// The sum in the order of the weights.
    pub(super) fn finish(&self, sum: &[f32]) -> Vec<f32> {
        let (count, width) =
            (self.geometry.kernel.0 * self.geometry.kernel.1, filled(self.geometry.channels));
        let at = |i: usize| sum[i % count * width + i / count];
        (0..count * self.geometry.channels).map(at).collect()
    }
}

dispatch! {
    unsafe fn weight_row(job: &Pass<'_>, line: &Span, x: Ends, dy: Ends, sum: *mut f32) = weights
}

#[inline(always)]
unsafe fn weights<S: Simd>(job: &Pass<'_>, line: &Span, x: Ends, dy: Ends, sum: *mut f32) {
    let Geometry { width, channels, kernel, config, .. } = *job.geometry;
    let (filled, dilation) = (filled(channels), config.dilation);
    for c in (0..channels).step_by(S::LANES) {
        for (i, ky) in line.0.clone().enumerate() {
            for kx in 0..kernel.1 {
                // SAFETY: the caller guarantees the sizes of the slices; `c` is within the channels of each pixel and tap.
                unsafe {
                    let to = sum.add((ky * kernel.1 + kx) * filled + c);
                    let mut total = S::load(to);
                    for (ox, span) in job.horizontal.iter().enumerate() {
                        if !span.0.contains(&kx) {
                            continue;
                        }
                        let column = span.1 + (kx - span.0.start) * dilation;
                        let pixel = (line.1 + i * dilation) * width + column;
                        let gradient: S = dy.load(ox * channels + c);
                        let value: S = x.load(pixel * channels + c);
                        total = value.mul_add(gradient, total);
                    }
                    total.store(to);
                }
            }
        }
    }
}
