//! Pictures within a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::error::{Error, Result};

/// The address of a picture that is itself in the page: a PNG of `pixels`, `[height, width, channels]` of one or three channels.
pub(super) fn data_uri(pixels: &[u8], [height, width, channels]: [usize; 3]) -> Result<String> {
    let colour = if channels == 1 { ColorType::L8 } else { ColorType::Rgb8 };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, width as u32, height as u32, colour.into())
        .map_err(|error| Error::Chart { reason: error.to_string() })?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}
