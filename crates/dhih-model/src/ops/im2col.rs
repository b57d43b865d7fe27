//! Unrolling of image patches into the rows of a matrix, and its transpose, for one channels-last image.

use std::ops::Range;

/// The geometry of a convolution over one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patches {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) kernel: (usize, usize),
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// Output rows and columns.
    pub(super) out: (usize, usize),
}

impl Patches {
    /// Values of one patch: kernel height x kernel width x channels, in this order.
    pub(super) fn patch_len(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels
    }

    /// Whether a patch is just the pixel itself, so that the image is its own patch matrix.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == 0
    }

    /// Output rows whose patches fit a few hundred kilobytes of cache, at least one.
    pub(super) fn rows_per_block(&self) -> usize {
        const BLOCK_VALUES: usize = 48 * 1024;
        (BLOCK_VALUES / (self.patch_len() * self.out.1)).clamp(1, self.out.0)
    }

    /// Writes the patches of the output rows `rows` to `columns`: `[rows * out width, patch_len]`.
    pub(super) fn unroll(&self, image: &[f32], rows: Range<usize>, columns: &mut [f32]) {
        let mut patches = columns.chunks_exact_mut(self.patch_len());
        for oy in rows {
            for ox in 0..self.out.1 {
                if let Some(patch) = patches.next() {
                    self.gather(image, oy, ox, patch);
                }
            }
        }
    }

    /// Adds the patches of the output rows `rows` back to the image: the transpose of [`Self::unroll`].
    pub(super) fn roll(&self, columns: &[f32], rows: Range<usize>, image: &mut [f32]) {
        let mut patches = columns.chunks_exact(self.patch_len());
        for oy in rows {
            for ox in 0..self.out.1 {
                if let Some(patch) = patches.next() {
                    self.scatter(patch, oy, ox, image);
                }
            }
        }
    }

    fn gather(&self, image: &[f32], oy: usize, ox: usize, patch: &mut [f32]) {
        let run = self.kernel.1 * self.channels;
        for (ky, line) in patch.chunks_exact_mut(run).enumerate() {
            match self.line(oy, ox, ky) {
                Some((start, inside)) => {
                    line[..inside.start].fill(0.0);
                    line[inside.end..].fill(0.0);
                    let pixels = &image[start..start + inside.len()];
                    line[inside].copy_from_slice(pixels);
                }
                None => line.fill(0.0),
            }
        }
    }

    fn scatter(&self, patch: &[f32], oy: usize, ox: usize, image: &mut [f32]) {
        let run = self.kernel.1 * self.channels;
        for (ky, line) in patch.chunks_exact(run).enumerate() {
            if let Some((start, inside)) = self.line(oy, ox, ky) {
                let pixels = &mut image[start..start + inside.len()];
                for (to, from) in pixels.iter_mut().zip(&line[inside]) {
                    *to += from;
                }
            }
        }
    }

    /// Where line `ky` of a patch lies: the image offset of its first value inside, and which part of the line is
    /// inside. A line of a patch is contiguous in the image.
    fn line(&self, oy: usize, ox: usize, ky: usize) -> Option<(usize, Range<usize>)> {
        let y = (oy * self.stride + ky).checked_sub(self.padding)?;
        if y >= self.height {
            return None;
        }
        let left = ox * self.stride;
        let first = self.padding.saturating_sub(left);
        let last = (self.width + self.padding).saturating_sub(left).min(self.kernel.1);
        if first >= last {
            return None;
        }
        let x = left + first - self.padding;
        let start = (y * self.width + x) * self.channels;
        Some((start, first * self.channels..last * self.channels))
    }
}
