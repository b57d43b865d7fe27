//! The sizes of a convolution, how its work is cut into pieces, and the order of its weights in memory.

use std::ops::Range;

use candle_core::{Result, bail};

use super::product::Segment;
use crate::ops::{Conv2dConfig, positions};

/// The sizes of a convolution of channels-last images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) struct Geometry {
    pub(in crate::ops) height: usize,
    pub(in crate::ops) width: usize,
    pub(in crate::ops) channels: usize,
    /// Channels of the output.
    pub(in crate::ops) out_channels: usize,
    /// Output rows and columns.
    pub(in crate::ops) out: (usize, usize),
    pub(super) kernel: (usize, usize),
    pub(super) config: Conv2dConfig,
}

/// Some output rows of some images: a piece of work for one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Band {
    pub(in crate::ops) images: Range<usize>,
    /// The same rows of each image; all of them where there is more than one image.
    pub(in crate::ops) rows: Range<usize>,
}

impl Geometry {
    /// Checks the shapes `[n, h, w, c]` and `[out, in / groups, kh, kw]`; also returns n.
    pub(in crate::ops) fn new(
        x: &[usize],
        weight: &[usize],
        config: Conv2dConfig,
    ) -> Result<(Self, usize)> {
        let (&[n, height, width, channels], &[out_channels, group_channels, kh, kw]) = (x, weight)
        else {
            bail!("conv2d takes [n, h, w, c] and [out, in, kh, kw], got {x:?} and {weight:?}");
        };
        let Conv2dConfig { stride, padding, dilation, groups } = config;
        if groups == 0 || channels % groups != 0 || out_channels % groups != 0 {
            bail!("conv2d of {channels} to {out_channels} channels in {groups} groups");
        }
        if channels != group_channels * groups || channels * out_channels == 0 {
            bail!("conv2d of {channels} channels with weights for {}", group_channels * groups);
        }
        if dilation == 0 || kh == 0 || kw == 0 {
            bail!("conv2d with a kernel of {kh} x {kw} and dilation {dilation}");
        }
        let along = |size, kernel| positions(size, (kernel - 1) * dilation + 1, stride, padding);
        let out = (along(height, kh)?, along(width, kw)?);
        let kernel = (kh, kw);
        Ok((Self { height, width, channels, out_channels, out, kernel, config }, n))
    }

    /// Values of one input image.
    pub(in crate::ops) fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Values of one output image.
    pub(in crate::ops) fn output(&self) -> usize {
        self.out.0 * self.out_row()
    }

    /// Values of one row of an output image.
    pub(in crate::ops) fn out_row(&self) -> usize {
        self.out.1 * self.out_channels
    }

    /// Multiplications and additions of one image.
    pub(super) fn cost(&self) -> usize {
        self.output() * self.patch_len()
    }

    /// Input and output channels of one group.
    pub(super) fn group(&self) -> (usize, usize) {
        let groups = self.config.groups;
        (self.channels / groups, self.out_channels / groups)
    }

    /// Values of a patch that one output value sees.
    pub(super) fn patch_len(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.group().0
    }

    /// Whether each channel is convolved on its own.
    pub(super) fn is_depthwise(&self) -> bool {
        let groups = self.config.groups;
        groups > 1 && groups == self.channels && groups == self.out_channels
    }

    /// Columns of an image with the border that patches reach.
    pub(super) fn padded_width(&self) -> usize {
        let Conv2dConfig { stride, padding, dilation, .. } = self.config;
        if padding == 0 {
            return self.width;
        }
        (self.out.1 - 1) * stride + (self.kernel.1 - 1) * dilation + 1
    }

    /// The runs of a patch of the first group in an image of [`Self::padded_width`] columns. With one group and no
    /// dilation, a line of the kernel is one run.
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

    /// Output rows whose patches fit a core's cache beside other things, at least one.
    pub(super) fn rows_in_cache(&self) -> usize {
        const VALUES: usize = 64 * 1024;
        let row = self.padded_width() * self.channels * self.config.stride;
        (VALUES / (row + self.out_row())).clamp(1, self.out.0.max(1))
    }

    /// Cuts `n` images into bands for `threads`, in order: whole images, or rows where there are few images. Bands begin at
    /// multiples of four rows. Results do not depend on the cut.
    pub(in crate::ops) fn bands(&self, n: usize, threads: usize) -> Vec<Band> {
        const COST: usize = 1 << 24;
        let wanted = 4 * threads;
        if n >= wanted || threads == 1 {
            let most = n.div_ceil(wanted).max(1);
            let step = (COST / self.cost().max(1)).clamp(1, most);
            let starts = (0..n).step_by(step);
            return starts
                .map(|i| Band { images: i..n.min(i + step), rows: 0..self.out.0 })
                .collect();
        }
        let rows = self.out.0.div_ceil(wanted.div_ceil(n.max(1))).next_multiple_of(4);
        let cut = |image| {
            let starts = (0..self.out.0).step_by(rows);
            starts.map(move |r| Band { images: image..image + 1, rows: r..self.out.0.min(r + rows) })
        };
        (0..n).flat_map(cut).collect()
    }
}

/// One group's weights, `[out, in, kh, kw]`, as `[kh * kw * in, out]`: the order of a channels-last patch.
pub(super) fn by_patch(weight: &[f32], taps: usize, out: usize) -> Vec<f32> {
    let mut rows = vec![0.0; weight.len()];
    let channels = weight.len() / (taps * out).max(1);
    reorder(channels, taps, out, |by_channel, by_patch| rows[by_patch] = weight[by_channel]);
    rows
}

/// The inverse of [`by_patch`], from rows of `width` values, of which the first `out` count.
pub(super) fn by_channel(rows: &[f32], taps: usize, out: usize, width: usize) -> Vec<f32> {
    let channels = rows.len() / (taps * width).max(1);
    let mut weight = vec![0.0; channels * taps * out];
    reorder(channels, taps, out, |by_channel, by_patch| {
        weight[by_channel] = rows[by_patch / out * width + by_patch % out];
    });
    weight
}

/// Calls `f(index by channel, index by patch)` for each weight, in blocks that keep both sides in cache.
fn reorder(channels: usize, taps: usize, out: usize, mut f: impl FnMut(usize, usize)) {
    const BLOCK: usize = 16;
    for first in (0..out).step_by(BLOCK) {
        for c in 0..channels {
            for t in 0..taps {
                for o in first..out.min(first + BLOCK) {
                    f((o * channels + c) * taps + t, (t * channels + c) * out + o);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_every_row_once_and_in_order() {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        for (n, side, threads) in [(1, 31, 2), (3, 7, 8), (64, 15, 2), (100, 3, 4), (2, 224, 1)] {
            let (geometry, _) = Geometry::new(&[n, side, side, 8], &[8, 8, 3, 3], config).unwrap();
            let mut next = 0;
            for Band { images, rows } in geometry.bands(n, threads) {
                assert_eq!(images.start * side + rows.start, next);
                assert!(images.len() == 1 || rows == (0..side));
                assert!(rows.start.is_multiple_of(4));
                next = (images.end - 1) * side + rows.end;
            }
            assert_eq!(next, n * side);
        }
    }

    #[test]
    fn orders_of_weights_are_inverse() {
        let weight: Vec<f32> = (0..20 * 3 * 6).map(|i| i as f32).collect();
        let rows = by_patch(&weight, 6, 20);
        assert_eq!(rows[20], weight[6]);
        assert_eq!(rows[1], weight[18]);
        assert_eq!(by_channel(&rows, 6, 20, 20), weight);
    }
}
