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
        if let Some(picture) = eighth(bytes, &header, shape) {
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

/// Decodes a picture for a network that takes `shape`. A JPEG of several times that size is decoded at an eighth of its sides, where it is
/// then still a quarter larger than what the network takes; other pictures are decoded whole, as by [`decode`](super::decode).
///
/// # Errors
/// Those of [`decode`](super::decode).
pub fn decode_for(bytes: &[u8], limits: &Limits, shape: InputShape) -> Result<Picture> {
    let header = Header::read(bytes)?;
    limits.check(&header)?;
    match eighth(bytes, &header, shape) {
        Some(picture) => Ok(picture),
        None => decode_header(bytes, &header),
    }
}

/// The picture at an eighth of its sides; `None` where that is too small for `shape`, or the picture cannot be decoded so.
fn eighth(bytes: &[u8], header: &Header, shape: InputShape) -> Option<Picture> {
    let Format::Jpeg(layout) = &header.format else { return None };
    let sides = [header.width, header.height].map(|side| (side as usize).div_ceil(8));
    let turned = if header.is_turned() { [sides[1], sides[0]] } else { sides };
    let [width, height] = crop(turned, shape);
    let is_large = 4 * width >= 5 * shape.width && 4 * height >= 5 * shape.height;
    if !is_large || sides[0].max(sides[1]) < LEAST_SIDE {
        return None;
    }
    let mut eighth = jpeg::read_eighth(bytes, layout)?;
    header.convert_colours(bytes, eighth.width, &mut eighth.pixels);
    let rgb = RgbImage::from_raw(eighth.width as u32, eighth.height as u32, eighth.pixels)?;
    Some(oriented(DynamicImage::from(rgb), header))
}
