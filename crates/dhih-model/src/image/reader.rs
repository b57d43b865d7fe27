//! Pictures on their way to a network: decoded for the size that it takes, by many threads, within a bound of memory. Training, encoding and
//! serving all come through here, so that a picture has the same code for each of them.

use image::{DynamicImage, RgbImage};

use super::budget::DecodingBudget;
use super::header::{Format, Header};
use super::limits::Limits;
use super::picture::{Picture, crop};
use super::{decode_header, jpeg, oriented};
use crate::config::InputShape;
use crate::error::Result;

/// A decoder that threads share.
#[derive(Debug)]
pub struct PictureReader {
    limits: Limits,
    budget: DecodingBudget,
}

/// Memory that the large pictures of all threads take together, unless one alone takes more.
const BUDGET: u64 = 1 << 30;
/// Pictures that take less are decoded without a share of the budget.
const SMALL: u64 = 16 << 20;
/// The shortest longest side of a picture that was scaled while it was decoded: thumbnails are made of it, too.
const LEAST_SIDE: usize = 256;
/// What the sides of a picture may be divided by while it is decoded, the smallest picture first.
const SCALES: [usize; 3] = [8, 4, 2];

impl PictureReader {
    /// A reader of pictures within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, budget: DecodingBudget::new(BUDGET) }
    }

    /// What a picture may measure.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The picture for a network that takes `shape`, as [`decode_for`]. Waits while other threads have too much memory in use.
    ///
    /// # Errors
    /// Those of [`decode_for`].
    pub fn picture(&self, bytes: &[u8], shape: InputShape) -> Result<Picture> {
        let header = Header::read(bytes)?;
        self.limits.check(&header)?;
        if let Some(picture) = scaled(bytes, &header, shape) {
            return Ok(picture);
        }
        let memory = header.decoding_bytes();
        let _share = (memory > SMALL).then(|| self.budget.take(memory));
        decode_header(bytes, &header)
    }

    /// The picture as [`Picture::fit`] brings it to `shape`: `height * width * channels` bytes.
    ///
    /// # Errors
    /// Those of [`decode_for`].
    pub fn fitted(&self, bytes: &[u8], shape: InputShape) -> Result<Vec<u8>> {
        Ok(self.picture(bytes, shape)?.fit(shape))
    }
}

/// Decodes a picture for a network that takes `shape`. A JPEG is decoded at an eighth, a quarter or half of its sides, where it is
/// then still a quarter larger than what the network takes; other pictures are decoded whole, as by [`decode`](super::decode).
///
/// # Errors
/// Those of [`decode`](super::decode).
pub fn decode_for(bytes: &[u8], limits: &Limits, shape: InputShape) -> Result<Picture> {
    let header = Header::read(bytes)?;
    limits.check(&header)?;
    match scaled(bytes, &header, shape) {
        Some(picture) => Ok(picture),
        None => decode_header(bytes, &header),
    }
}

/// The picture at an eighth, a quarter or half of its sides, the smallest that is large enough for `shape`; `None` where none is, or where the
/// picture cannot be decoded so.
fn scaled(bytes: &[u8], header: &Header, shape: InputShape) -> Option<Picture> {
    let Format::Jpeg(layout) = &header.format else { return None };
    let scale = SCALES.into_iter().find(|scale| is_enough(header, *scale, shape))?;
    let mut scaled = jpeg::read_scaled(bytes, layout, scale)?;
    header.convert_colours(bytes, scaled.width, &mut scaled.pixels);
    let rgb = RgbImage::from_raw(scaled.width as u32, scaled.height as u32, scaled.pixels)?;
    Some(oriented(DynamicImage::from(rgb), header))
}

/// Whether `1 / scale` of the sides is a quarter more than `shape`.
fn is_enough(header: &Header, scale: usize, shape: InputShape) -> bool {
    let sides = [header.width, header.height].map(|side| (side as usize).div_ceil(scale));
    let turned = if header.is_turned() { [sides[1], sides[0]] } else { sides };
    let [width, height] = crop(turned, shape);
    let is_large = 4 * width >= 5 * shape.width && 4 * height >= 5 * shape.height;
    is_large && sides[0].max(sides[1]) >= LEAST_SIDE
}
