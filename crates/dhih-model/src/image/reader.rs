//! Decoding pictures for a network: at the smallest sufficient size, by many threads, and within a bound of memory. Training, encoding and
//! serving all use it, so that a picture has the same code in each of them.

use image::{DynamicImage, RgbImage};

use super::budget::DecodingBudget;
use super::header::{Format, Header};
use super::input_shape::InputShape;
use super::jpeg::layout::Layout;
use super::limits::Limits;
use super::picture::Picture;
use super::{decode_header, jpeg, oriented};
use crate::error::Result;

/// A decoder that threads share.
#[derive(Debug)]
pub struct PictureReader {
    limits: Limits,
    budget: DecodingBudget,
}

/// The memory that large pictures of all threads may take together, in bytes. A single larger picture is decoded alone.
const BUDGET: u64 = 1 << 30;
/// Pictures that need less memory are decoded without a share of the budget.
const SMALL: u64 = 16 << 20;
/// The least longest side of a picture that is scaled while it is decoded; thumbnails are made of such pictures, too.
const LEAST_SIDE: usize = 256;
/// The divisors of the sides that are tried, beginning with the smallest picture.
const SCALES: [u32; 3] = [8, 4, 2];

impl PictureReader {
    /// A reader of pictures within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, budget: DecodingBudget::new(BUDGET) }
    }

    /// The limits of a single picture.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Decodes a picture for a network that takes `shape`, as [`decode_for`]. Waits while other threads use too much memory.
    ///
    /// # Errors
    /// Those of [`decode_for`].
    pub fn picture(&self, bytes: &[u8], shape: InputShape) -> Result<Picture> {
        let header = Header::read(bytes)?;
        self.limits.check(&header)?;
        let share = |memory| (memory > SMALL).then(|| self.budget.take(memory));
        if let Some(scaled) = Scaled::choose(&header, shape) {
            let _share = share(scaled.memory(bytes));
            if let Some(picture) = scaled.decode(bytes) {
                return Ok(picture);
            }
        }
        let _share = share(header.decoding_bytes());
        decode_header(bytes, &header)
    }

    /// Decodes a picture in full size, as [`decode`](super::decode). Waits while other threads use too much memory.
    ///
    /// # Errors
    /// Those of [`decode`](super::decode).
    pub fn whole(&self, bytes: &[u8]) -> Result<Picture> {
        let header = Header::read(bytes)?;
        self.limits.check(&header)?;
        let memory = header.decoding_bytes();
        let _share = (memory > SMALL).then(|| self.budget.take(memory));
        decode_header(bytes, &header)
    }

    /// Decodes a picture and brings it to `shape` by [`Picture::fit`]. Returns `height * width * channels` bytes.
    ///
    /// # Errors
    /// Those of [`decode_for`].
    pub fn fitted(&self, bytes: &[u8], shape: InputShape) -> Result<Vec<u8>> {
        Ok(self.picture(bytes, shape)?.fit(shape))
    }
}

/// Decodes a picture for a network that takes `shape`. A JPEG is decoded at an eighth, a quarter or half of its sides, as long as it is then at
/// least a quarter larger than what the network takes. Other pictures are decoded in full size, as by [`decode`](super::decode).
///
/// # Errors
/// Those of [`decode`](super::decode).
pub fn decode_for(bytes: &[u8], limits: &Limits, shape: InputShape) -> Result<Picture> {
    let header = Header::read(bytes)?;
    limits.check(&header)?;
    match Scaled::choose(&header, shape).and_then(|scaled| scaled.decode(bytes)) {
        Some(picture) => Ok(picture),
        None => decode_header(bytes, &header),
    }
}

/// A JPEG that is scaled while it is decoded.
struct Scaled<'a> {
    header: &'a Header,
    layout: &'a Layout,
    /// The divisor of the sides.
    scale: u32,
}

impl<'a> Scaled<'a> {
    /// The smallest scale that is large enough for `shape`; `None` where none is, or where the picture is not a JPEG.
    fn choose(header: &'a Header, shape: InputShape) -> Option<Self> {
        let Format::Jpeg(layout) = &header.format else { return None };
        let mut all = SCALES.into_iter().map(|scale| Self { header, layout, scale });
        all.find(|scaled| scaled.is_enough(shape))
    }

    /// Columns and rows as stored.
    fn sides(&self) -> [usize; 2] {
        [self.header.width, self.header.height].map(|side| side.div_ceil(self.scale) as usize)
    }

    /// Whether the sides are at least a quarter larger than those of `shape`.
    fn is_enough(&self, shape: InputShape) -> bool {
        let [columns, rows] = self.sides();
        let turned = if self.header.is_turned() { [rows, columns] } else { [columns, rows] };
        let [width, height] = shape.seen(turned);
        let is_large = 4 * width >= 5 * shape.width && 4 * height >= 5 * shape.height;
        is_large && columns.max(rows) >= LEAST_SIDE
    }

    /// The most bytes that decoding takes at a time, including the picture.
    fn memory(&self, bytes: &[u8]) -> u64 {
        let pixels = self.sides().map(|side| side as u64).iter().product::<u64>();
        let copies = if self.header.is_turned() { 2 } else { 1 };
        self.layout.scaled_bytes(bytes.len() as u64, self.scale.into()) + 3 * copies * pixels
    }

    /// `None` where this kind of JPEG cannot be scaled while it is decoded, or the file is damaged.
    fn decode(&self, bytes: &[u8]) -> Option<Picture> {
        let mut scaled = jpeg::read_scaled(bytes, self.layout, self.scale as usize)?;
        self.header.convert_colours(bytes, scaled.width, &mut scaled.pixels);
        let rgb = RgbImage::from_raw(scaled.width as u32, scaled.height as u32, scaled.pixels)?;
        Some(oriented(DynamicImage::from(rgb), self.header))
    }
}
