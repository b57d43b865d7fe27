//! Decoding, compared with the decoders of the crate `image` in their usual use: the pixels are the same in all formats, also where bytes are
//! damaged. Those decoders inflate metadata and make copies, which this crate must not; `decoding_memory.rs` tests that.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::io::Cursor;

use dhih_model::image::{Limits, decode};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbaImage};
use proptest::prelude::*;

/// Files that no available encoder writes.
const FILES: [&[u8]; 9] = [
    include_bytes!("data/animated.webp"),
    include_bytes!("data/animated-lossless.webp"),
    include_bytes!("data/cmyk.jpg"),
    include_bytes!("data/cmyk-progressive.jpg"),
    include_bytes!("data/lossy.webp"),
    include_bytes!("data/lossy-alpha.webp"),
    include_bytes!("data/progressive.jpg"),
    include_bytes!("data/rotated.jpg"),
    include_bytes!("data/turned.webp"),
];

/// Width, height, pixels.
type Decoded = (u32, u32, Vec<u8>);

/// A picture decoded by the crate `image`, laid over white.
fn reference(bytes: &[u8]) -> Option<Decoded> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut decoder = reader.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    let mut image = DynamicImage::from_decoder(decoder).ok()?;
    image.apply_orientation(orientation);
    let has_alpha = image.color().has_alpha();
    let rgba = image.into_rgba8();
    let over_white = |c: u8, a: u8| {
        let (c, a) = (u32::from(c), u32::from(a));
        ((c * a + 255 * (255 - a) + 127) / 255) as u8
    };
    let over_white = |[r, g, b, a]: [u8; 4]| match has_alpha {
        true => [r, g, b].map(|c| over_white(c, a)),
        false => [r, g, b],
    };
    let pixels = rgba.pixels().flat_map(|pixel| over_white(pixel.0)).collect();
    Some((rgba.width(), rgba.height(), pixels))
}

fn ours(bytes: &[u8]) -> Option<Decoded> {
    let picture = decode(bytes, &Limits::default()).ok()?;
    Some((picture.width() as u32, picture.height() as u32, picture.into_pixels()))
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A picture of noise and ramps, in every kind of file.
fn files(width: u32, height: u32) -> Vec<Vec<u8>> {
    let noise = |x: u32, y: u32, k: u32| (x * 37 + y * 101 + k * 59 + x * y * 7 % 83) as u8;
    let rgba =
        RgbaImage::from_fn(width, height, |x, y| [0, 1, 2, 3].map(|k| noise(x, y, k)).into());
    let rgba = DynamicImage::from(rgba);
    let rgb = DynamicImage::from(rgba.to_rgb8());
    let grey = DynamicImage::from(rgba.to_luma8());
    let deep = image::ImageBuffer::from_fn(width, height, |x, y| {
        image::Rgba(
            [0, 1, 2, 3].map(|k| 256 * u16::from(noise(x, y, k)) + u16::from(noise(y, x, k))),
        )
    });
    let deep = DynamicImage::ImageRgba16(deep);
    let of_png = [
        rgba.to_luma_alpha8().into(),
        deep.to_luma16().into(),
        deep.to_luma_alpha16().into(),
        deep.to_rgb16().into(),
        deep,
        grey.clone(),
        rgb.clone(),
        rgba.clone(),
    ];
    let mut files: Vec<_> = of_png.iter().map(|image| encoded(image, ImageFormat::Png)).collect();
    files.extend([encoded(&rgb, ImageFormat::Jpeg), encoded(&grey, ImageFormat::Jpeg)]);
    files.extend([encoded(&rgb, ImageFormat::WebP), encoded(&rgba, ImageFormat::WebP)]);
    for format in [ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff] {
        files.extend([encoded(&rgb, format), encoded(&rgba, format)]);
    }
    files.extend([encoded(&grey, ImageFormat::Bmp), encoded(&grey, ImageFormat::Tiff)]);
    files.extend(
        [rgb.to_rgb16().into(), rgb.to_rgb32f().into()]
            .map(|deep| encoded(&deep, ImageFormat::Tiff)),
    );
    files.extend(few_bits(width, height));
    files.extend(FILES.map(<[u8]>::to_vec));
    files
}

/// PNGs of less than a byte for each pixel, with and without a palette, interlaced and not.
fn few_bits(width: u32, height: u32) -> Vec<Vec<u8>> {
    use png::{BitDepth, ColorType};
    let mut files = Vec::new();
    for (depth, bits) in
        [(BitDepth::One, 1), (BitDepth::Two, 2), (BitDepth::Four, 4), (BitDepth::Eight, 8)]
    {
        for color in [ColorType::Grayscale, ColorType::Indexed] {
            let row = (width * bits).div_ceil(8);
            let data: Vec<u8> = (0..row * height).map(|i| (i * 73 % 251) as u8).collect();
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, width, height);
            encoder.set_color(color);
            encoder.set_depth(depth);
            if color == ColorType::Indexed {
                encoder.set_palette((0..768).map(|i| (i * 5 % 256) as u8).collect::<Vec<u8>>());
                encoder.set_trns(vec![0, 100, 200]);
            }
            encoder.write_header().unwrap().write_image_data(&data).unwrap();
            files.push(bytes);
        }
    }
    // 3 bytes for each pixel, interlaced: one pass after the other.
    files.push(interlaced(width, height));
    files
}

/// An interlaced RGB PNG made by hand: seven passes, each with rows without a filter.
fn interlaced(width: u32, height: u32) -> Vec<u8> {
    let passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];
    let mut data = Vec::new();
    for (left, top, across, down) in passes {
        let columns: Vec<u32> = (left..width).step_by(across).collect();
        for y in (top..height).step_by(down).filter(|_| !columns.is_empty()) {
            data.push(0);
            data.extend(
                columns.iter().flat_map(|x| [x * 9 + y, x + y * 7, x * y].map(|c| c as u8)),
            );
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    drop(encoder.write_header().unwrap());
    // The header with interlacing, which the encoder does not write, and the data in an uncompressed block.
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 1]].concat();
    let length = u16::try_from(data.len()).unwrap();
    let sum = data.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (a + b) % 65521)
    });
    let zlib = [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &data,
        &(sum.1 << 16 | sum.0).to_be_bytes(),
    ];
    bytes.truncate(8);
    for (name, data) in [(b"IHDR", head), (b"IDAT", zlib.concat()), (b"IEND", Vec::new())] {
        let named = [&name[..], &data].concat();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&named);
        bytes.extend(crc32(&named).to_be_bytes());
    }
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn every_kind_of_file_has_the_same_pixels() {
    for (width, height) in [(1, 1), (7, 5), (8, 8), (33, 17), (5, 40)] {
        for (number, bytes) in files(width, height).iter().enumerate() {
            let expected = reference(bytes);
            assert!(expected.is_some(), "file {number} of {width} x {height} is good");
            assert!(ours(bytes) == expected, "file {number} of {width} x {height} differs");
        }
    }
}

/// A damaged file may have any bits as floating-point numbers. NaN once became black here, and white in the other decoder.
#[test]
fn numbers_that_are_no_brightness_have_the_same_pixels() {
    let odd =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, -7.5, 1.5, 1e30, 0.4999];
    let pixels = image::ImageBuffer::from_fn(9, 1, |x, _| {
        image::Rgb([0, 1, 2].map(|k| odd[(x as usize + k) % odd.len()]))
    });
    let bytes = encoded(&DynamicImage::ImageRgb32F(pixels), ImageFormat::Tiff);
    assert_eq!(ours(&bytes).unwrap(), reference(&bytes).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Damage does not panic, and where both decoders accept a file the pixels are the same.
    #[test]
    fn damaged_files_are_refused_or_have_the_same_pixels(
        number in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        thread_local! {
            static ALL: Vec<Vec<u8>> = files(9, 6);
        }
        let mut bytes = ALL.with(|all| number.get(all).clone());
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        // Every other file is complete.
        let half = bytes.len();
        bytes.truncate(half.min(1 + end.index(2 * half)));
        // The other decoder may panic where this crate refuses.
        if let Some(ours) = ours(&bytes)
            && let Some(expected) = reference(&bytes)
        {
            prop_assert!(ours == expected);
        }
    }
}
