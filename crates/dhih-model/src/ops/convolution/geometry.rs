//! The sizes of a convolution, the division of its work into pieces, and the order of its weights in memory.

use std::ops::Range;

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::product::Segment;
use crate::ops::tasks::threads;
use crate::ops::{Conv2dConfig, Tasks};

/// The sizes of a convolution of channels-last images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(in crate::ops) height: usize,
    pub(in crate::ops) width: usize,
    pub(in crate::ops) channels: usize,
    /// Channels of the output.
    pub(crate) out_channels: usize,
    /// Output rows and columns.
    pub(crate) out: (usize, usize),
    /// The distance from one output pixel to the next, in values. It is more than `out_channels` where other channels lie between.
    pub(super) pixel: usize,
    pub(super) kernel: (usize, usize),
    /// Rows and columns of zeros before the image. Those behind it follow from `out`.
    pub(super) border: (usize, usize),
    pub(super) config: Conv2dConfig,
}

/// Some output rows of some images: the work of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Band {
    pub(in crate::ops) images: Range<usize>,
    /// The same rows of each image; all rows where there is more than one image.
    pub(in crate::ops) rows: Range<usize>,
}

/// The shape of filters, `[out, in / groups, kernel height, kernel width]`. Filters of a linear layer, `[out, in]`, have one pixel.
pub(crate) fn filters(weight: &[usize]) -> Result<[usize; 4]> {
    match *weight {
        [out, inputs] => Ok([out, inputs, 1, 1]),
        [out, inputs, height, width] => Ok([out, inputs, height, width]),
        _ => bail!("filters are [out, in, height, width] or [out, in], got {weight:?}"),
    }
}

impl Geometry {
    /// Checks the shapes `[n, h, w, c]` and `[out, in / groups, kh, kw]` (or `[out, in]` for kernels of one pixel), and returns the sizes with
    /// n.
    pub(crate) fn new(
        x: &[usize],
        weight: &[usize],
        config: Conv2dConfig,
    ) -> Result<(Self, usize)> {
        let [out_channels, group_channels, kh, kw] = filters(weight)?;
        let &[n, height, width, channels] = x else {
            bail!("conv2d takes [n, h, w, c], got {x:?}");
        };
        let groups = config.groups;
        if groups == 0 || channels % groups != 0 || out_channels % groups != 0 {
            bail!("conv2d of {channels} to {out_channels} channels in {groups} groups");
        }
        if channels != group_channels * groups || channels * out_channels == 0 {
            bail!("conv2d of {channels} channels with weights for {}", group_channels * groups);
        }
        if height * width == 0 {
            bail!("conv2d of images of {height} x {width} pixels");
        }
        let out = (config.positions(height, kh)?, config.positions(width, kw)?);
        let kernel = (kh, kw);
        let border = (config.border(height, kh)[0], config.border(width, kw)[0]);
        let pixel = out_channels;
        Ok((Self { height, width, channels, out_channels, out, pixel, kernel, border, config }, n))
    }

    /// The same convolution, whose output becomes a part of images with `pixel` channels.
    pub(crate) fn among(self, pixel: usize) -> Self {
        Self { pixel: pixel.max(self.out_channels), ..self }
    }

    /// The shape of the weights: `[out, in / groups, kh, kw]`.
    pub(crate) fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.group().0, self.kernel.0, self.kernel.1]
    }

    /// The number of values of one input image.
    pub(in crate::ops) fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The number of values of one output image.
    pub(in crate::ops) fn output(&self) -> usize {
        self.out.0 * self.out_row()
    }

    /// The number of values of one row of an output image.
    pub(in crate::ops) fn out_row(&self) -> usize {
        self.out.1 * self.pixel
    }

    /// The number of multiply-adds of one image.
    pub(super) fn cost(&self) -> usize {
        self.out.0 * self.out.1 * self.out_channels * self.patch_len()
    }

    /// The input and output channels of one group.
    pub(super) fn group(&self) -> (usize, usize) {
        let groups = self.config.groups;
        (self.channels / groups, self.out_channels / groups)
    }

    /// The number of values of the patch that one output value sees.
    pub(super) fn patch_len(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.group().0
    }

    /// Whether each channel is convolved on its own.
    pub(super) fn is_depthwise(&self) -> bool {
        let groups = self.config.groups;
        groups > 1 && groups == self.channels && groups == self.out_channels
    }

    /// Whether a patch reaches over the border of the image.
    pub(super) fn has_border(&self) -> bool {
        let reach = (self.patch_rows(self.out.0), self.patch_columns());
        self.border != (0, 0) || reach.0 > self.height || reach.1 > self.width
    }

    /// Whether each pixel is convolved by itself.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.config.stride == 1 && !self.has_border()
    }

    /// The same convolution with each row cut into `parts`, where it [`Self::is_pointwise`].
    pub(super) fn with_rows_cut(self, parts: usize) -> Self {
        let (height, width) = (self.height * parts, self.width / parts);
        Self { height, width, out: (self.out.0 * parts, self.out.1 / parts), ..self }
    }

    /// The number of rows that the patches of `rows` output rows cover.
    pub(super) fn patch_rows(&self, rows: usize) -> usize {
        let Conv2dConfig { stride, dilation, .. } = self.config;
        (rows - 1) * stride + (self.kernel.0 - 1) * dilation + 1
    }

    fn patch_columns(&self) -> usize {
        let Conv2dConfig { stride, dilation, .. } = self.config;
        (self.out.1 - 1) * stride + (self.kernel.1 - 1) * dilation + 1
    }

    /// The columns of an image with as much of its border as patches reach.
    pub(super) fn padded_width(&self) -> usize {
        if self.has_border() { self.patch_columns() } else { self.width }
    }

    /// The segments of a patch of the first group, in an image of [`Self::padded_width`] columns. With one group and no dilation, a row of the
    /// kernel is one segment; otherwise each kernel position is one.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let (row, dilation) = (self.padded_width() * self.channels, self.config.dilation);
        let (kh, kw) = self.kernel;
        if self.config.groups == 1 && dilation == 1 {
            let len = kw * self.channels;
            return (0..kh).map(|ky| Segment { offset: ky * row, len }).collect();
        }
        let at = |ky, kx| ky * dilation * row + kx * dilation * self.channels;
        let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx)));
        taps.map(|(ky, kx)| Segment { offset: at(ky, kx), len: self.group().0 }).collect()
    }

    /// Divides a band into pieces whose patches fit into a core's cache beside other data, or are as many values as the weights, which each
    /// piece reads: rows of one image, or several small images.
    pub(super) fn pieces(&self, band: &Band) -> Vec<Band> {
        const VALUES: usize = 64 * 1024;
        let row = self.padded_width() * self.channels * self.config.stride + self.out_row();
        let values = VALUES.max(self.patch_len() * self.out_channels);
        let most = (values / row.max(1)).max(1);
        let Band { images, rows } = band;
        let together = (most / rows.len().max(1)).max(1);
        let cut = |first: usize| {
            let images = first..images.end.min(first + together);
            let (rows, end) = (rows.clone().step_by(most), rows.end);
            rows.map(move |row| Band { images: images.clone(), rows: row..end.min(row + most) })
        };
        images.clone().step_by(together).flat_map(cut).collect()
    }

    /// Computes the output of `n` images in bands, in parallel: `run` takes the images of a band, its output rows, and where they go. Bands
    /// begin at multiples of `multiple` rows. `y` may end with the last value that is written.
    pub(super) fn run_in_bands(
        &self,
        (x, n): (&[f32], usize),
        multiple: usize,
        y: &mut [f32],
        run: impl Fn(&[f32], Range<usize>, &mut [f32]) + Sync + Send,
    ) {
        let (image, row) = (self.image(), self.out_row());
        let wanted = if threads() == 1 { 1 } else { 4 * threads() };
        let mut rest = y;
        let mut work = Vec::new();
        for Band { images, rows } in self.bands(n, wanted, multiple) {
            let len = images.len() * rows.len() * row;
            let (y, behind) = rest.split_at_mut(len.min(rest.len()));
            rest = behind;
            work.push((&x[images.start * image..images.end * image], rows, y));
        }
        work.into_par_iter().run(|(x, rows, y)| run(x, rows, y));
    }

    /// Divides `n` images into about `wanted` bands, in order: whole images, or rows where there are few images. Bands begin at multiples
    /// of `multiple` rows. Results do not depend on the division.
    pub(super) fn bands(&self, n: usize, wanted: usize, multiple: usize) -> Vec<Band> {
        const COST: usize = 1 << 24;
        if n >= wanted {
            let most = n.div_ceil(wanted).max(1);
            let step = (COST / self.cost().max(1)).clamp(1, most);
            let starts = (0..n).step_by(step);
            return starts
                .map(|i| Band { images: i..n.min(i + step), rows: 0..self.out.0 })
                .collect();
        }
        let lines = self.out.0.div_ceil(multiple);
        let cut = |image| {
            let of_image = evenly(lines, wanted.div_ceil(n.max(1)));
            of_image.map(move |r| Band {
                images: image..image + 1,
                rows: r.start * multiple..self.out.0.min(r.end * multiple),
            })
        };
        (0..n).flat_map(cut).collect()
    }
}

/// Divides `len` things into `parts` ranges, or as many as there are things, whose sizes differ by at most 1.
pub(super) fn evenly(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.clamp(1, len.max(1));
    (0..parts).map(move |part| part * len / parts..(part + 1) * len / parts)
}

/// Writes the columns `outs` of one group's weights `[out, in, kh, kw]` as rows of `width` values. The rows have the order of a channels-last
/// patch: kernel row, kernel column, channel.
pub(super) fn by_patch(
    weight: &[f32],
    taps: usize,
    outs: Range<usize>,
    width: usize,
    to: &mut [f32],
) {
    let channels = to.len() / (taps * width).max(1);
    for c in 0..channels {
        for (column, o) in outs.clone().enumerate() {
            let weight = &weight[(o * channels + c) * taps..][..taps];
            for (tap, weight) in weight.iter().enumerate() {
                to[(tap * channels + c) * width + column] = *weight;
            }
        }
    }
}

/// The inverse of [`by_patch`] for all `out` columns, in parallel.
pub(super) fn by_channel(rows: &[f32], taps: usize, out: usize, width: usize) -> Vec<f32> {
    const BLOCK: usize = 16;
    let channels = rows.len() / (taps * width).max(1);
    let mut weight = vec![0.0; channels * taps * out];
    let blocks = weight.par_chunks_mut((BLOCK * channels * taps).max(1)).enumerate();
    blocks.run(|(block, weight)| {
        for c in 0..channels {
            for (i, weight) in weight.chunks_exact_mut(channels * taps).enumerate() {
                for (tap, weight) in weight[c * taps..][..taps].iter_mut().enumerate() {
                    *weight = rows[(tap * channels + c) * width + block * BLOCK + i];
                }
            }
        }
    });
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Padding;

    #[test]
    fn bands_cover_every_row_once_and_in_order() {
        let config = Conv2dConfig { padding: Padding::Each(1), ..Default::default() };
        for (n, side, wanted) in [(1, 31, 8), (3, 7, 32), (64, 15, 8), (100, 3, 16), (2, 224, 1)] {
            let (geometry, _) = Geometry::new(&[n, side, side, 8], &[8, 8, 3, 3], config).unwrap();
            for multiple in [1, 4] {
                let mut next = 0;
                for Band { images, rows } in geometry.bands(n, wanted, multiple) {
                    assert_eq!(images.start * side + rows.start, next);
                    assert!(images.len() == 1 || rows == (0..side));
                    assert!(rows.start.is_multiple_of(multiple));
                    next = (images.end - 1) * side + rows.end;
                }
                assert_eq!(next, n * side);
            }
        }
    }

    #[test]
    fn orders_of_weights_are_inverse() {
        let weight: Vec<f32> = (0..20 * 3 * 6).map(|i| i as f32).collect();
        let mut rows = vec![0.0; 6 * 3 * 32];
        by_patch(&weight, 6, 0..20, 32, &mut rows);
        assert_eq!((rows[1], rows[32], rows[3 * 32]), (weight[18], weight[6], weight[1]));
        assert_eq!(by_channel(&rows, 6, 20, 32), weight);
    }
}
