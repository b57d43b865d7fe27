//! Scaled pictures are compared with slow references, progressive pictures with baseline ones, and truncated pictures are refused.

use std::f64::consts::PI;

use crate::image::header::{Format, Header};
use crate::image::{Limits, Picture, decode, jpeg};

const SCALES: [usize; 3] = [2, 4, 8];
const END: [u8; 2] = [0xff, 0xd9];

/// The same coefficients, baseline and progressive: 75 x 41 pixels of a photograph, written by Pillow.
const PAIRS: [(&str, [&[u8]; 2]); 5] = [
    (
        "4:2:0",
        [
            include_bytes!("../../../tests/data/jpeg/420.jpg"),
            include_bytes!("../../../tests/data/jpeg/420-progressive.jpg"),
        ],
    ),
    (
        "4:2:2",
        [
            include_bytes!("../../../tests/data/jpeg/422.jpg"),
            include_bytes!("../../../tests/data/jpeg/422-progressive.jpg"),
        ],
    ),
    (
        "4:4:4",
        [
            include_bytes!("../../../tests/data/jpeg/444.jpg"),
            include_bytes!("../../../tests/data/jpeg/444-progressive.jpg"),
        ],
    ),
    (
        "grey",
        [
            include_bytes!("../../../tests/data/jpeg/grey.jpg"),
            include_bytes!("../../../tests/data/jpeg/grey-progressive.jpg"),
        ],
    ),
    (
        "restarts",
        [
            include_bytes!("../../../tests/data/jpeg/restarts.jpg"),
            include_bytes!("../../../tests/data/jpeg/restarts-progressive.jpg"),
        ],
    ),
];

fn whole(bytes: &[u8]) -> Option<Picture> {
    decode(bytes, &Limits::default()).ok()
}

fn scaled(bytes: &[u8], scale: usize) -> Option<Picture> {
    let Format::Jpeg(layout) = Header::read(bytes).ok()?.format else { return None };
    let jpeg::Scaled { width, height, pixels } = jpeg::read_scaled(bytes, &layout, scale)?;
    Some(Picture { width, height, pixels })
}

/// The position of the first marker of a kind.
fn find(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap()
}

/// Makes 4:4:0 of 4:2:2: chroma has half of the rows in place of half of the columns. The content of the picture becomes meaningless.
fn upright(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let sampling = find(&bytes, 0xc0) + 11;
    assert_eq!(bytes[sampling], 0x21);
    bytes[sampling] = 0x12;
    bytes
}

/// A picture of three components in three scans, each with the data of a grey picture.
fn in_three_scans(grey: &[u8]) -> Vec<u8> {
    let [frame, scan] = [find(grey, 0xc0), find(grey, 0xda)];
    let frame_end = frame + 2 + usize::from(u16::from_be_bytes([grey[frame + 2], grey[frame + 3]]));
    let mut bytes = grey[..frame].to_vec();
    bytes.extend([0xff, 0xc0, 0, 17]);
    bytes.extend(&grey[frame + 4..frame + 9]);
    bytes.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    bytes.extend(&grey[frame_end..scan]);
    for component in 1..=3 {
        bytes.extend([0xff, 0xda, 0, 8, 1, component, 0, 0, 63, 0]);
        bytes.extend(&grey[scan + 10..grey.len() - 2]);
    }
    bytes.extend(END);
    bytes
}

/// Every kind of picture.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (what, [baseline, progressive]) in PAIRS {
        files.push((what.to_owned(), baseline.to_vec()));
        files.push((format!("{what}, progressive"), progressive.to_vec()));
    }
    files.push(("4:4:0".to_owned(), upright(PAIRS[1].1[0])));
    files.push(("in three scans".to_owned(), in_three_scans(PAIRS[3].1[0])));
    files
}

#[test]
fn progressive_pictures_have_the_pixels_of_baseline_ones() {
    for (what, pair) in PAIRS {
        for scale in SCALES {
            let [baseline, progressive] = pair.map(|bytes| scaled(bytes, scale).unwrap());
            assert_eq!(baseline.width, 75usize.div_ceil(scale));
            assert_eq!(baseline.height, 41usize.div_ceil(scale));
            assert!(baseline == progressive, "{what} at 1/{scale}");
        }
    }
}

/// The samples of a block whose coefficients beyond `n` are zero, averaged over boxes of `8 / n` rows and columns.
fn reference(block: &[[f64; 8]; 8], n: usize) -> Vec<Vec<f64>> {
    let wave = |u: usize, x: usize| {
        let constant = if u == 0 { f64::sqrt(0.125) } else { 0.5 };
        constant * ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos()
    };
    let all = || (0..8).flat_map(|y| (0..8).map(move |x| (y, x)));
    let coefficient =
        |v, u| -> f64 { all().map(|(y, x)| block[y][x] * wave(u, x) * wave(v, y)).sum() };
    let low = all().filter(|(v, u)| *v < n && *u < n);
    let low: Vec<_> = low.map(|(v, u)| (v, u, coefficient(v, u))).collect();
    let sample = |y, x| -> f64 { low.iter().map(|(v, u, c)| c * wave(*u, x) * wave(*v, y)).sum() };
    let side = 8 / n;
    let mean = |row: usize, column: usize| {
        let of_mean = |(y, x): &(usize, usize)| y / side == row && x / side == column;
        all().filter(of_mean).map(|(y, x)| sample(y, x)).sum::<f64>() / (side * side) as f64
    };
    (0..n).map(|row| (0..n).map(|column| mean(row, column)).collect()).collect()
}

#[test]
fn samples_are_the_means_of_the_low_waves() {
    // The reference is made of rounded pixels, with an error of half a step, and the result is rounded, too. The transform of the whole picture
    // and its colour conversion round colours once more each; one step of chroma is up to 1.8 steps of a channel. Pixels at the ends of the
    // range, which may have been clamped, are left out.
    let mut compared = 0;
    for (bytes, tolerance) in [(PAIRS[3].1[0], 1.25), (PAIRS[2].1[0], 3.0)] {
        let picture = whole(bytes).unwrap();
        for scale in SCALES {
            let (ours, n) = (scaled(bytes, scale).unwrap(), 8 / scale);
            for (top, left, channel) in (0..5)
                .flat_map(|y| (0..9).map(move |x| (y, x)))
                .flat_map(|(y, x)| (0..3).map(move |channel| (y, x, channel)))
            {
                let pixel = |y: usize, x: usize| {
                    picture.pixels[3 * ((8 * top + y) * picture.width + 8 * left + x) + channel]
                };
                let all = (0..64).map(|k| pixel(k / 8, k % 8));
                if all.clone().any(|pixel| !(6..=249).contains(&pixel)) {
                    continue;
                }
                let block = std::array::from_fn(|y| std::array::from_fn(|x| pixel(y, x).into()));
                for (y, row) in reference(&block, n).iter().enumerate() {
                    for (x, expected) in row.iter().enumerate() {
                        let at = 3 * ((n * top + y) * ours.width + n * left + x) + channel;
                        let got = f64::from(ours.pixels[at]);
                        let is_near = (got - expected).abs() < tolerance;
                        assert!(is_near, "{got} for {expected} at 1/{scale}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn scaled_pictures_are_near_the_means_of_pixels() {
    // The difference comes from the high coefficients and from the upsampling of chroma in the whole picture. Three times the same component
    // gives colours that are clamped at the ends of the range, for which the mean of pixels is no reference.
    for (what, bytes) in files().into_iter().filter(|(what, _)| !what.contains("scans")) {
        let picture = whole(&bytes).unwrap_or_else(|| panic!("{what}"));
        for scale in SCALES {
            let ours = scaled(&bytes, scale).unwrap_or_else(|| panic!("{what}"));
            let mut differences = Vec::new();
            for (y, x) in (0..ours.height).flat_map(|y| (0..ours.width).map(move |x| (y, x))) {
                let rows = scale * y..picture.height.min(scale * (y + 1));
                let columns = scale * x..picture.width.min(scale * (x + 1));
                let pixels: Vec<usize> = rows
                    .flat_map(|y| columns.clone().map(move |x| (y, x)))
                    .map(|(y, x)| y * picture.width + x)
                    .collect();
                differences.extend([0, 1, 2].map(|channel| {
                    let sum = pixels.iter().map(|at| f64::from(picture.pixels[3 * at + channel]));
                    let mean = sum.sum::<f64>() / pixels.len() as f64;
                    (mean - f64::from(ours.pixels[3 * (y * ours.width + x) + channel])).abs()
                }));
            }
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            // The left-out coefficients have the most influence at a half, and none on luma at an eighth.
            let most = [4.0, 3.5, 1.5][scale.ilog2() as usize - 1];
            assert!(mean < most, "{what} at 1/{scale}: {mean} on the average");
        }
    }
}

#[test]
fn pictures_of_several_scans_are_of_all_components() {
    let grey = PAIRS[3].1[0];
    for scale in SCALES {
        let [luma, ours] = [grey, &in_three_scans(grey)].map(|bytes| scaled(bytes, scale).unwrap());
        for (luma, got) in luma.pixels.chunks(3).zip(ours.pixels.chunks(3)) {
            let y = f64::from(luma[0]);
            // Luma was rounded; the weights of chroma and the rounding of the result increase this error to up to 2.
            for (weight, got) in [1.402, -0.344_136 - 0.714_136, 1.772].into_iter().zip(got) {
                let expected = (y + weight * (y - 128.0)).clamp(0.0, 255.0);
                assert!((expected - f64::from(*got)).abs() < 2.0, "{got} for {expected}");
            }
        }
    }
}

#[test]
fn a_part_of_a_picture_has_all_of_its_pixels_or_is_refused() {
    for (what, bytes) in files() {
        let expected = whole(&bytes).unwrap_or_else(|| panic!("{what}"));
        let smaller = SCALES.map(|scale| (scale, scaled(&bytes, scale).unwrap()));
        let mut refused = 0;
        for cut in 2..bytes.len() - 2 {
            for part in [bytes[..cut].to_vec(), [&bytes[..cut], &END].concat()] {
                let taken = whole(&part);
                refused += usize::from(taken.is_none());
                assert!(taken.is_none_or(|taken| taken == expected), "{what}, cut off at {cut}");
                for (scale, expected) in &smaller {
                    let taken = scaled(&part, *scale);
                    let is_good = taken.is_none_or(|taken| taken == *expected);
                    assert!(is_good, "{what} at 1/{scale}, cut off at {cut}");
                }
            }
        }
        assert!(refused >= 2 * (bytes.len() - 4) - 2, "{what}: {refused} of {} bytes", bytes.len());
    }
}

#[test]
fn damage_does_not_panic() {
    let limits = Limits { max_pixels: 1 << 20, ..Limits::default() };
    let mut taken = 0;
    for (_, bytes) in files() {
        for at in 2..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] = [0, 0xff, 0x11, damaged[at] ^ 1][at % 4];
            let header = Header::read(&damaged);
            if header.is_ok_and(|header| limits.check(&header).is_ok()) {
                taken += usize::from(scaled(&damaged, SCALES[at % 3]).is_some());
            }
        }
    }
    assert!(taken > 100, "{taken}");
}
