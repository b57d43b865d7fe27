//! Every kernel against a naive sum of integers, and the convolution against its f32 form.

use super::*;
use crate::ops::{Conv2dConfig, Padding};

/// Values of a fixed sequence, -1 to 1.
fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + 1) * 7919 + salt * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// Sums below 2^24 are exact in f32: with scales of 1, a kernel's result is its i32 sum.
fn check_sums(kernel: Kernel, patches: usize, lens: &[usize], columns: usize, extreme: bool) {
    let mut offset = 0;
    let segments: Vec<Segment> = lens
        .iter()
        .map(|len| {
            let segment = Segment { offset, len: *len };
            offset += len + 3;
            segment
        })
        .collect();
    let depth: usize = lens.iter().sum();
    let byte = |i: usize| if extreme { 255 } else { (i * 151 % 256) as u8 };
    let weight = |i: usize, column: usize| match extreme {
        true => {
            if column.is_multiple_of(2) {
                127.0
            } else {
                -127.0
            }
        }
        // The largest of a column is 127, so that its scale is 1.
        false => {
            if i == 0 {
                127.0
            } else {
                ((i * 89 + column * 31) % 255) as f32 - 127.0
            }
        }
    };
    let stride = offset + 5;
    let x: Vec<u8> = (0..patches * stride + 8).map(byte).collect();
    let weights: Vec<Vec<f32>> =
        (0..columns).map(|column| (0..depth).map(|i| weight(i, column)).collect()).collect();
    let matrix = Matrix::new(kernel, &segments, &weights);
    assert!(matrix.scales[..columns].iter().all(|scale| *scale == 1.0));
    let mut y = vec![f32::NAN; patches * columns];
    Product {
        grid: Grid { images: 1, rows: 1, columns: patches },
        segments: &segments,
        matrix: &matrix,
        scales: Scales::One(Scale { step: 1.0, zero: 0.0 }),
        epilogue: Epilogue::NONE,
    }
    .run(
        (&x, Strides { image: 0, row: 0, column: stride }),
        (&mut y, Strides { image: 0, row: 0, column: columns }),
    );
    for (at, got) in y.iter().enumerate() {
        let (patch, column) = (at / columns, at % columns);
        let mut places = segments.iter().flat_map(|s| s.offset..s.offset + s.len);
        let sum: i32 = (0..depth)
            .map(|i| {
                let byte = x[patch * stride + places.next().unwrap()];
                i32::from(byte) * weights[column][i] as i32
            })
            .sum();
        assert_eq!(*got as i32, sum, "{kernel:?}: {patches} x {lens:?} x {columns} at {at}");
    }
}

#[test]
fn all_kernels_give_the_sums_of_the_definition() {
    for kernel in Kernel::all() {
        for (patches, lens, columns) in [
            (1, &[1][..], 1),
            (5, &[3, 3, 3], 7),
            (6, &[4], 16),
            (7, &[30, 2], 17),
            (13, &[64], 65),
            (12, &[9, 9, 9], 48),
            (31, &[128], 130),
        ] {
            check_sums(kernel, patches, lens, columns, false);
        }
        // The largest products, whose pairs do not fit 16 bits.
        check_sums(kernel, 8, &[512], 33, true);
    }
}

/// The largest difference from the f32 convolution, over the largest value.
fn error(kernel: Kernel, input: [usize; 3], filters: [usize; 3], config: Conv2dConfig) -> f32 {
    let [height, width, channels] = input;
    let [out, kh, kw] = filters;
    let (n, dims) = (3, [3, height, width, channels]);
    let (geometry, _) = Geometry::new(&dims, &[out, channels, kh, kw], config).unwrap();
    let x = values(n * height * width * channels, 1);
    let (weight, bias) = (values(out * channels * kh * kw, 2), values(out, 3));
    let activation = Activation::Relu;
    let mut expected = vec![0.0; n * geometry.output()];
    let f32_form = super::super::Convolution::new(geometry, &weight, Some(&bias), activation);
    f32_form.run(&x, 0..geometry.out.0, &mut expected);
    let filters = Filters { weight: &weight, bias: Some(&bias), activation };
    let factors: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32 / channels as f32).collect();
    let input = InputScale { factors: &factors, scale: Scale::of_range(-1.5, 1.5) };
    let quantized = QuantizedConvolution::for_kernel(kernel, geometry, filters, input);
    let mut got = vec![f32::NAN; expected.len()];
    quantized.run(&x, 0..geometry.out.0, &mut got);
    // Alone, in rows, and on all threads: the same bits.
    let mut alone = vec![f32::NAN; geometry.output()];
    quantized.run(&x[geometry.image()..2 * geometry.image()], 0..geometry.out.0, &mut alone);
    assert_eq!(alone, got[geometry.output()..2 * geometry.output()]);
    if geometry.out.0 > 4 {
        let mut rows = vec![f32::NAN; geometry.output() - 4 * geometry.out_row()];
        quantized.run(&x[..geometry.image()], 4..geometry.out.0, &mut rows);
        assert_eq!(rows, got[4 * geometry.out_row()..geometry.output()]);
    }
    let mut together = vec![f32::NAN; expected.len()];
    quantized.run_batch(&x, n, &mut together);
    assert_eq!(together, got);
    let largest = expected.iter().fold(0f32, |most, y| most.max(y.abs()));
    got.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn quantised_convolutions_are_close_to_those_in_f32() {
    let padded = |stride, dilation| Conv2dConfig {
        stride,
        padding: Padding::Each(1),
        dilation,
        ..Conv2dConfig::default()
    };
    for kernel in Kernel::all() {
        for (input, filters, config) in [
            ([5, 7, 30], [17, 1, 1], Conv2dConfig::default()),
            ([1, 70, 64], [65, 1, 1], Conv2dConfig::default()),
            ([9, 8, 13], [33, 3, 3], padded(1, 1)),
            ([11, 9, 16], [20, 3, 3], padded(2, 1)),
            ([12, 13, 5], [8, 3, 3], padded(1, 2)),
            ([8, 9, 24], [16, 1, 1], Conv2dConfig { stride: 2, ..Conv2dConfig::default() }),
            ([6, 6, 3], [10, 5, 2], Conv2dConfig { padding: Padding::Same, ..padded(3, 1) }),
        ] {
            let error = error(kernel, input, filters, config);
            assert!(error < 0.03, "{kernel:?} {input:?} {filters:?} {config:?}: {error}");
        }
    }
}

#[test]
fn bytes_are_the_nearest_and_0_is_exact() {
    let scale = Scale::of_range(-1.0, 3.0);
    assert_eq!(scale.zero, 64.0);
    let x = [-9.0, -1.0, 0.0, 0.5, 3.0, 99.0, f32::NAN, scale.step * 0.6];
    let mut bytes = [0; 8];
    pixels_to_bytes(&x, &[1.0 / scale.step; 8], scale.zero, &mut bytes);
    assert_eq!(bytes[..6], [0, 0, 64, 96, 255, 255]);
    assert_eq!(bytes[7], 65);
    let none = Scale::of_range(0.0, 0.0);
    assert_eq!((none.step, none.zero), (1.0, 0.0));
    // A pixel of zeros, and one that reaches the ends of its own range.
    let (mut own, mut scales) = ([7; 8], [none; 2]);
    pixels_to_own_bytes(&[0.0, 0.0, 0.0, -2.0, 1.0, 8.0], &[1.0; 3], 4, &mut own, &mut scales);
    assert_eq!(own, [0, 0, 0, 0, 0, 76, 255, 0]);
    assert_eq!(scales[1], Scale::of_range(-2.0, 8.0));
}
