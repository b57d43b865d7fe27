//! Thumbnails of added pictures: small pictures are stored unchanged as PNG, larger ones are scaled down to JPEG.

use dhih_model::image::Picture;
use image::{
    ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder, imageops,
};

/// The longest side of a thumbnail, in pixels.
const SIDE: usize = 256;
/// Pictures up to this side are stored exactly, because JPEG artefacts would be visible in the small images of datasets.
const EXACT: usize = 64;
const QUALITY: u8 = 85;

/// The thumbnail of a picture, as a PNG or JPEG file.
pub(crate) fn thumbnail(picture: &Picture) -> image::ImageResult<Vec<u8>> {
    let (width, height, pixels) = (picture.width(), picture.height(), picture.pixels());
    let longest = width.max(height);
    let mut file = Vec::new();
    if longest <= EXACT {
        let (width, height) = (width as u32, height as u32);
        PngEncoder::new(&mut file).write_image(pixels, width, height, ExtendedColorType::Rgb8)?;
        return Ok(file);
    }
    let side = |side: usize| ((side * SIDE).div_ceil(longest)).clamp(1, side.max(1)) as u32;
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    match longest > SIDE {
        true => {
            let small = imageops::thumbnail(&picture.view(), side(width), side(height));
            encoder.write_image(&small, small.width(), small.height(), ExtendedColorType::Rgb8)?;
        }
        false => {
            let (width, height) = (width as u32, height as u32);
            encoder.write_image(pixels, width, height, ExtendedColorType::Rgb8)?;
        }
    }
    Ok(file)
}

/// The media type of a thumbnail.
pub(crate) fn media_type(file: &[u8]) -> &'static str {
    if file.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(width: usize, height: usize) -> (Vec<u8>, image::DynamicImage) {
        let pixels = (0..width * height * 3).map(|i| (i % 200) as u8).collect();
        let file = thumbnail(&Picture::new(width, height, pixels).unwrap()).unwrap();
        let image = image::load_from_memory(&file).unwrap();
        (file, image)
    }

    #[test]
    fn small_pictures_stay_as_they_are_and_large_ones_shrink() {
        let (file, image) = of(32, 40);
        assert_eq!(media_type(&file), "image/png");
        assert!(
            image.into_rgb8().into_raw().iter().enumerate().all(|(i, &p)| p == (i % 200) as u8)
        );
        let (file, image) = of(200, 100);
        assert_eq!((media_type(&file), image.width(), image.height()), ("image/jpeg", 200, 100));
        let (_, image) = of(1000, 400);
        assert_eq!((image.width(), image.height()), (256, 103));
        let (_, image) = of(3000, 1);
        assert_eq!((image.width(), image.height()), (256, 1));
    }
}
