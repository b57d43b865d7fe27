//! Decoding takes no more memory than the header of a picture says, and refusing a picture takes next to none. The bugs: a colour profile of
//! half a megabyte was inflated to half a gigabyte, and deep pictures took 15 bytes for each pixel where 11 were counted.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::io::Cursor;

use dhih_model::InputShape;
use dhih_model::image::{Header, Limits, decode, decode_for};
use image::{DynamicImage, ImageFormat};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The allowance for messages, and for examining a picture that is refused, in bytes.
const SMALL: usize = 64 << 10;

/// The most bytes that `work` had allocated at a time.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let done = work();
    (MEMORY.peak_usage() - before, done)
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name[..], data].concat();
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    let crc = !named.iter().fold(!0, step);
    [&(data.len() as u32).to_be_bytes()[..], &named, &crc.to_be_bytes()].concat()
}

/// A PNG with a chunk before its pixels.
fn with_chunk(png: &[u8], name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&png[..33], &chunk(name, data), &png[33..]].concat()
}

/// A zlib stream of 64 MiB of zeros.
fn zeros() -> Vec<u8> {
    let image = DynamicImage::new_luma8(8191, 8192);
    let png = encoded(&image, ImageFormat::Png);
    // The data of the PNG, chunk by chunk.
    let (mut rest, mut data) = (&png[8..], Vec::new());
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        if &rest[4..8] == b"IDAT" {
            data.extend_from_slice(&rest[8..8 + length]);
        }
        rest = &rest[12 + length..];
    }
    data
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let (width, height) = (1500, 1100);
    let rgb = DynamicImage::from(image::RgbImage::from_fn(width, height, |x, y| {
        [x * 7 + y, x + y * 3, x * y].map(|c| c as u8).into()
    }));
    let small = encoded(&DynamicImage::new_rgb8(32, 32), ImageFormat::Png);
    let profile = [&b"profile\0\0"[..], &zeros()].concat();
    let text = [&b"Raw profile type iptc\0\0"[..], &zeros()].concat();
    vec![
        ("PNG, 8 bits", encoded(&rgb, ImageFormat::Png)),
        ("PNG, grey", encoded(&rgb.to_luma8().into(), ImageFormat::Png)),
        ("PNG, 16 bits and alpha", encoded(&rgb.to_rgba16().into(), ImageFormat::Png)),
        ("PNG, wide", encoded(&DynamicImage::new_rgba16(8192, 3), ImageFormat::Png)),
        ("PNG, high", encoded(&DynamicImage::new_luma_a16(3, 8192), ImageFormat::Png)),
        ("PNG with a profile that unpacks to 64 MiB", with_chunk(&small, b"iCCP", &profile)),
        ("PNG with a text that unpacks to 64 MiB", with_chunk(&small, b"zTXt", &text)),
        ("PNG with 1 MiB of EXIF", with_chunk(&small, b"eXIf", &vec![0; 1 << 20])),
        ("GIF", encoded(&rgb, ImageFormat::Gif)),
        ("BMP", encoded(&rgb, ImageFormat::Bmp)),
        ("BMP, alpha", encoded(&rgb.to_rgba8().into(), ImageFormat::Bmp)),
        ("TIFF", encoded(&rgb, ImageFormat::Tiff)),
        ("TIFF, grey", encoded(&rgb.to_luma8().into(), ImageFormat::Tiff)),
        ("TIFF, 16 bits and alpha", encoded(&rgb.to_rgba16().into(), ImageFormat::Tiff)),
        ("TIFF, floating point", encoded(&rgb.to_rgba32f().into(), ImageFormat::Tiff)),
        ("JPEG", encoded(&rgb, ImageFormat::Jpeg)),
        ("JPEG, grey", encoded(&rgb.to_luma8().into(), ImageFormat::Jpeg)),
        ("JPEG, progressive", include_bytes!("data/progressive.jpg").to_vec()),
        ("JPEG, CMYK, progressive", include_bytes!("data/cmyk-progressive.jpg").to_vec()),
        ("JPEG, turned", include_bytes!("data/rotated.jpg").to_vec()),
        ("WebP, lossless", encoded(&rgb, ImageFormat::WebP)),
        ("WebP, lossless, alpha", encoded(&rgb.to_rgba8().into(), ImageFormat::WebP)),
        ("WebP, lossy", include_bytes!("data/lossy.webp").to_vec()),
        ("WebP, lossy, alpha", include_bytes!("data/lossy-alpha.webp").to_vec()),
        ("WebP, animated", include_bytes!("data/animated.webp").to_vec()),
        ("WebP, animated, lossless", include_bytes!("data/animated-lossless.webp").to_vec()),
    ]
}

/// Checks that decoding within limits, and reading the header, stay within their memory.
fn check(what: &str, bytes: &[u8], limits: &Limits) -> bool {
    let (looked, header) = peak(|| Header::read(bytes));
    assert!(looked < SMALL, "{what}: {looked} bytes for the header");
    let (took, decoded) = peak(|| decode(bytes, limits).map(drop));
    let most = header.map_or(0, |header| header.decoding_bytes().min(limits.max_bytes)) as usize;
    assert!(took <= most + SMALL, "{what}: {took} bytes, and {most} were said");
    decoded.is_ok()
}

/// Checks that decoding a JPEG at a half, a quarter and an eighth stays within the memory for decoding it in full size.
fn check_scaled(what: &str, bytes: &[u8], limits: &Limits) {
    let most = Header::read(bytes).unwrap().decoding_bytes() as usize;
    for side in [400, 200, 50] {
        let shape = InputShape::new(side, side, 3);
        let (took, decoded) = peak(|| decode_for(bytes, limits, shape));
        let decoded = decoded.unwrap();
        assert!(decoded.width() < 1100, "{what} was not scaled to {side}");
        assert!(took <= most + SMALL, "{what}: {took} bytes, and {most} were said");
    }
}

#[test]
fn decoding_takes_what_the_header_says() {
    let limits = Limits { max_bytes: 128 << 20, ..Limits::default() };
    // The picture has 2100 x 1000 pixels.
    let large = include_bytes!("data/jpeg/large-progressive.jpg");
    check_scaled("JPEG, progressive", large, &limits);
    for (what, bytes) in
        files().into_iter().filter(|(what, _)| ["JPEG", "JPEG, grey"].contains(what))
    {
        check_scaled(what, &bytes, &limits);
    }
    for (what, bytes) in files() {
        assert!(check(what, &bytes, &limits), "{what} is good");
        // A picture far beyond the limits is refused before any work is done.
        let few = Limits { max_bytes: 1000, ..limits.clone() };
        assert!(!check(what, &bytes, &few), "{what} is refused");
        // Every byte of the first ones, which contain the sizes, is changed.
        for at in 0..bytes.len().min(160) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes[..bytes.len().min(100_000)].to_vec();
                changed[at] = value;
                check(&format!("{what} with {value} at {at}"), &changed, &limits);
            }
        }
    }
}
