//! A truncated picture is refused, and a complete one is accepted whatever follows it. The bug: half a JPEG passed as a picture with a grey
//! lower half, which was trained on, encoded and found.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::io::Cursor;

use dhih_model::image::{Limits, Picture, decode};
use image::{DynamicImage, ImageFormat, RgbImage};

fn photo(width: u32, height: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| [x * 9 + y * y % 40, y * 5 + x, x * y % 255].map(|c| c as u8);
    RgbImage::from_fn(width, height, |x, y| pixel(x, y).into()).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decoded(bytes: &[u8]) -> Option<Picture> {
    decode(bytes, &Limits::default()).ok()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let photo = photo(75, 41);
    vec![
        ("JPEG", encoded(&photo, ImageFormat::Jpeg)),
        ("JPEG, grey", encoded(&photo.to_luma8().into(), ImageFormat::Jpeg)),
        ("JPEG, progressive", include_bytes!("data/progressive.jpg").to_vec()),
        ("JPEG, CMYK", include_bytes!("data/cmyk.jpg").to_vec()),
        ("JPEG, CMYK, progressive", include_bytes!("data/cmyk-progressive.jpg").to_vec()),
        ("JPEG with restarts", include_bytes!("data/restarts.jpg").to_vec()),
        ("PNG", encoded(&photo, ImageFormat::Png)),
        ("WebP, lossless", encoded(&photo, ImageFormat::WebP)),
        ("WebP, lossy", include_bytes!("data/lossy.webp").to_vec()),
        ("WebP, lossy, alpha", include_bytes!("data/lossy-alpha.webp").to_vec()),
        ("WebP, animated", include_bytes!("data/animated.webp").to_vec()),
        ("GIF", encoded(&photo, ImageFormat::Gif)),
        ("BMP", encoded(&photo, ImageFormat::Bmp)),
        ("TIFF", encoded(&photo, ImageFormat::Tiff)),
    ]
}

#[test]
fn a_part_of_a_picture_is_refused_or_has_all_of_its_pixels() {
    for (what, bytes) in files() {
        let whole = decoded(&bytes).unwrap_or_else(|| panic!("{what} is good"));
        let taken: Vec<usize> = (0..bytes.len())
            .filter(|end| {
                let part = decoded(&bytes[..*end]);
                assert!(
                    part.is_none() || part.as_ref() == Some(&whole),
                    "{what}, cut off at {end}"
                );
                part.is_some()
            })
            .collect();
        // What may be missing at the end of a file without affecting the pixels is short, except for further frames.
        if what.contains("animated") {
            continue;
        }
        let first = taken.first().copied().unwrap_or(bytes.len());
        assert!(bytes.len() - first <= 64, "{what} of {} bytes was taken at {first}", bytes.len());
    }
}

#[test]
fn a_jpeg_without_its_last_marker_is_taken_and_so_is_what_lies_behind_it() {
    for (what, bytes) in files().into_iter().filter(|(what, _)| what.starts_with("JPEG")) {
        let whole = decoded(&bytes);
        let without_end = &bytes[..bytes.len() - 2];
        assert!(decoded(without_end) == whole, "{what} without its end");
        let zeros = [without_end, &[0; 5000]].concat();
        assert!(decoded(&zeros) == whole, "{what} with zeros in place of its end");
    }
    for (what, bytes) in files() {
        let whole = decoded(&bytes);
        for rubbish in [&b"maker's trailer"[..], &[0; 9000], &[0xff; 100], &bytes] {
            assert!(decoded(&[&bytes, rubbish].concat()) == whole, "{what} with bytes behind it");
        }
    }
}

#[test]
fn a_jpeg_whose_lost_data_became_zeros_is_refused() {
    for (what, bytes) in files().into_iter().filter(|(what, _)| what.starts_with("JPEG")) {
        let whole = decoded(&bytes);
        for part in 2..8 {
            let kept = bytes.len() * part / 8;
            let mut lost = bytes.clone();
            lost[kept..].fill(0);
            let taken = decoded(&lost);
            assert!(
                taken.is_none() || taken == whole,
                "{what}, of which {part} of 8 parts are there"
            );
        }
    }
    // The same with a last marker appended.
    let bytes = encoded(&photo(75, 41), ImageFormat::Jpeg);
    let half = [&bytes[..bytes.len() / 2], &[0xff, 0xd9]].concat();
    assert!(decoded(&half).is_none());
}
