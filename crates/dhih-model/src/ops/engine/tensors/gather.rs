//! Gathers the pixels of windows in one selection, and its adjoint. The indices are uploaded once for each kind of window, size and device.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::{Device, DeviceLocation, Result, Tensor, bail};

/// Windows along one side of an image: window `o` has the pixels `o stride + tap dilation - border` that are within the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Side {
    /// The number of pixels.
    pub(super) size: usize,
    /// The number of windows.
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) border: usize,
}

impl Side {
    fn pixel(&self, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride + tap * self.dilation)
            .checked_sub(self.border)
            .filter(|pixel| *pixel < self.size)
    }
}

/// The pixel at each position of each window, and the positions of each pixel in windows.
#[derive(Debug)]
pub(super) struct Gather {
    /// `[windows * taps]`: the number of a pixel, or the number after the last pixel where the position is outside of the image.
    pixels: Tensor,
    has_outside: bool,
    /// `[pixels * most]`: the number of a position, or the number after the last position where a pixel has fewer than `most`.
    places: Tensor,
    most: usize,
    /// The numbers of windows of an image, of its pixels, and of positions in a window.
    pub(super) windows: usize,
    image: usize,
    pub(super) taps: usize,
}

/// The most values that are gathered at a time, so that memory is limited, and candle's kernels, which count to 2^32, end.
pub(super) const MOST_VALUES: usize = 1 << 30;

type Key = ([Side; 2], DeviceLocation);

impl Gather {
    /// The indices of windows over rows and columns.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn of(sides: [Side; 2], device: &Device) -> Result<Arc<Self>> {
        static ALL: LazyLock<Mutex<HashMap<Key, Arc<Gather>>>> = LazyLock::new(Mutex::default);
        let key = (sides, device.location());
        if let Some(known) = ALL.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let gather = Arc::new(Self::new(sides, device)?);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(key).or_insert(gather)))
    }

    fn new([rows, columns]: [Side; 2], device: &Device) -> Result<Self> {
        let (windows, image) = (rows.out * columns.out, rows.size * columns.size);
        let taps = rows.kernel * columns.kernel;
        let mut pixels = Vec::with_capacity(windows * taps);
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); image];
        for window in 0..windows {
            for tap in 0..taps {
                let row = rows.pixel(window / columns.out, tap / columns.kernel);
                let column = columns.pixel(window % columns.out, tap % columns.kernel);
                let pixel = row.zip(column).map(|(row, column)| row * columns.size + column);
                if let Some(pixel) = pixel {
                    places[pixel].push(pixels.len() as u32);
                }
                pixels.push(pixel.unwrap_or(image) as u32);
            }
        }
        let has_outside = pixels.contains(&(image as u32));
        let most = places.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let none = pixels.len() as u32;
        let filled = |places: Vec<u32>| {
            let missing = most - places.len();
            places.into_iter().chain(std::iter::repeat_n(none, missing))
        };
        let places: Vec<u32> = places.into_iter().flat_map(filled).collect();
        let pixels = Tensor::from_vec(pixels, windows * taps, device)?;
        let places = Tensor::from_vec(places, image * most, device)?;
        Ok(Self { pixels, has_outside, places, most, windows, image, taps })
    }

    /// The number of images whose windows have at most [`MOST_VALUES`] values, at least 1.
    pub(super) fn together(&self, channels: usize) -> usize {
        (MOST_VALUES / self.values(1, channels).max(1)).max(1)
    }

    /// The most values that are gathered for `n` images, there or back.
    fn values(&self, n: usize, channels: usize) -> usize {
        let image = (self.windows * self.taps).max(self.image * self.most);
        image.saturating_mul(n).saturating_mul(channels)
    }

    /// Refuses more values than a kernel of a GPU counts.
    fn check_countable(&self, n: usize, channels: usize) -> Result<()> {
        let values = self.values(n, channels);
        if u32::try_from(values).is_err() {
            bail!(
                "windows of {n} images gather {values} values, and candle's kernels count to 2^32: take smaller images"
            );
        }
        Ok(())
    }

    /// The pixels of all windows. Those outside of the image have the value `outside`.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`; returns `[n, windows, taps, channels]`.
    pub(super) fn windows_of(&self, x: &Tensor, outside: f32) -> Result<Tensor> {
        let (n, _, _, channels) = x.dims4()?;
        self.check_countable(n, channels)?;
        let x = x.contiguous()?.reshape((n, self.image, channels))?;
        let x = if self.has_outside { behind(&x, outside)? } else { x };
        x.index_select(&self.pixels, 1)?.reshape((n, self.windows, self.taps, channels))
    }

    /// The adjoint of [`Self::windows_of`]: for each pixel the sum over its positions in windows.
    ///
    /// # Shapes
    /// `windows`: `[n, windows, taps, channels]`; returns `[n, pixels, channels]`.
    pub(super) fn sums_of(&self, windows: &Tensor) -> Result<Tensor> {
        let (n, _, _, channels) = windows.dims4()?;
        self.check_countable(n, channels)?;
        let windows = windows.reshape((n, self.windows * self.taps, channels))?;
        let places = behind(&windows, 0.0)?.index_select(&self.places, 1)?;
        if self.most == 1 {
            return Ok(places);
        }
        places.reshape((n, self.image, self.most, channels))?.sum(2)
    }
}

/// The images of a batch, at most `together` at a time.
pub(super) fn parts(n: usize, together: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(together).map(move |first| first..n.min(first + together))
}

/// Some images of a batch.
pub(super) fn narrowed(x: &Tensor, part: &Range<usize>) -> Result<Tensor> {
    if part.len() == x.dim(0)? { Ok(x.clone()) } else { x.narrow(0, part.start, part.len()) }
}

/// Parts of a tensor, joined along a dimension.
pub(super) fn joined(parts: Vec<Tensor>, dim: usize) -> Result<Tensor> {
    match &parts[..] {
        [one] => Ok(one.clone()),
        _ => Tensor::cat(&parts, dim),
    }
}

/// Appends one pixel of a constant value.
fn behind(x: &Tensor, value: f32) -> Result<Tensor> {
    let (n, _, channels) = x.dims3()?;
    let more = Tensor::full(value, (n, 1, channels), x.device())?.to_dtype(x.dtype())?;
    Tensor::cat(&[x, &more], 1)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::variable;

    #[test]
    fn sums_are_the_adjoint_of_windows() {
        for (size, out, kernel, stride, dilation, border) in [
            (5, 5, 3, 1, 1, 1),
            (7, 3, 3, 2, 1, 0),
            (6, 3, 2, 2, 1, 0),
            (7, 5, 2, 1, 2, 0),
            (4, 2, 5, 3, 1, 2),
        ] {
            let rows = Side { size, out, kernel, stride, dilation, border };
            let columns = Side { size: 4, out: 2, kernel: 3, stride: 2, dilation: 1, border: 1 };
            let gather = Gather::of([rows, columns], &Device::Cpu).unwrap();
            let x = variable("x", &[2, size, 4, 3]);
            let windows = gather.windows_of(x.as_tensor(), 0.0).unwrap();
            let y = variable("y", windows.dims());
            let dot = |a: &Tensor, b: &Tensor| {
                (a.flatten_all().unwrap() * b.flatten_all().unwrap())
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap()
            };
            let there = dot(&windows, y.as_tensor());
            let back = dot(x.as_tensor(), &gather.sums_of(y.as_tensor()).unwrap());
            assert!((there - back).abs() < 1e-4, "{rows:?}: {there} {back}");
        }
    }

    /// candle's kernel for a selection would never end.
    #[test]
    fn more_values_than_a_kernel_counts_are_refused() {
        let side = Side { size: 112, out: 56, kernel: 3, stride: 2, dilation: 1, border: 1 };
        let gather = Gather::of([side, side], &Device::Cpu).unwrap();
        // A pixel of 64 channels is in up to 4 windows.
        assert_eq!(gather.together(64), (1 << 30) / (112 * 112 * 4 * 64));
        let zero = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        let images = zero.broadcast_as((1400, 112, 112, 64)).unwrap();
        let error = gather.windows_of(&images, 0.0).unwrap_err().to_string();
        assert!(error.contains("count to 2^32"), "{error}");
    }

    #[test]
    fn places_outside_have_the_value_asked_for_and_maps_are_made_once() {
        let side = Side { size: 2, out: 2, kernel: 2, stride: 1, dilation: 1, border: 1 };
        let gather = Gather::of([side, side], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[[[1f32], [2.0]], [[3.0], [4.0]]]], &Device::Cpu).unwrap();
        let windows = gather.windows_of(&x, -9.0).unwrap().squeeze(3).unwrap().squeeze(0).unwrap();
        let expected = [
            [-9f32, -9.0, -9.0, 1.0],
            [-9.0, -9.0, 1.0, 2.0],
            [-9.0, 1.0, -9.0, 3.0],
            [1.0, 2.0, 3.0, 4.0],
        ];
        assert_eq!(windows.to_vec2::<f32>().unwrap(), expected);
        assert!(Arc::ptr_eq(&gather, &Gather::of([side, side], &Device::Cpu).unwrap()));
    }
}
