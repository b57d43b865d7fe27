//! The windows of average pooling: which pixels of an image each mean is of.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::Pool2dConfig;

/// The windows of an image: every range of rows combined with every range of columns. No range is empty. From one range to the next, neither end
/// decreases.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) rows: Vec<Range<usize>>,
    pub(crate) columns: Vec<Range<usize>>,
}

impl Grid {
    /// The positions of a window that slides over an image of `height` x `width` pixels.
    pub(crate) fn sliding((height, width): (usize, usize), config: Pool2dConfig) -> Result<Self> {
        let Pool2dConfig { kernel, stride, padding, .. } = config;
        if padding > kernel / 2 {
            bail!("avg_pool2d takes padding up to half of the kernel, got {config:?}");
        }
        let windows = |size: usize| -> Result<Vec<_>> {
            let window = |o: usize| {
                let first = o * stride;
                first.saturating_sub(padding)..(first + kernel - padding).min(size)
            };
            Ok((0..config.positions(size)?).map(window).collect())
        };
        Self { rows: windows(height)?, columns: windows(width)? }.checked()
    }

    /// `height` x `width` windows that cover an image of `rows` x `columns` pixels.
    pub(crate) fn adaptive(
        (rows, columns): (usize, usize),
        (height, width): (usize, usize),
    ) -> Result<Self> {
        let windows = |size: usize, count: usize| -> Vec<_> {
            (0..count).map(|o| o * size / count..((o + 1) * size).div_ceil(count)).collect()
        };
        Self { rows: windows(rows, height), columns: windows(columns, width) }.checked()
    }

    fn checked(self) -> Result<Self> {
        let sides = [&self.rows, &self.columns];
        if sides.iter().any(|side| side.is_empty() || side.iter().any(Range::is_empty)) {
            bail!("means without pixels, or none: {:?} x {:?}", self.rows, self.columns);
        }
        Ok(self)
    }
}

/// Height and width of images `[n, height, width, channels]`.
pub(super) fn sides(x: &Tensor) -> Result<(usize, usize)> {
    let (_, height, width, _) = x.dims4()?;
    Ok((height, width))
}
