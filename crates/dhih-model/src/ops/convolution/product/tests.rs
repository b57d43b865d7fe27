//! The kernel against the definition, and that it reads nothing outside.

use super::*;

fn pack(values: &[f32], rows: usize, columns: usize) -> Packed {
    Packed::new(rows, columns, |range, width, to| {
        for (to, from) in to.chunks_exact_mut(width).zip(values.chunks_exact(columns)) {
            to[..range.len()].copy_from_slice(&from[range.clone()]);
        }
    })
}

/// Products of patches of segments of these lengths, each one value behind the last, against sums in the order of the definition.
fn check(grid: Grid, lens: &[usize], wide: usize, activation: Activation) {
    let Grid { images, rows, columns } = grid;
    let (mut offset, mut segments) = (1, Vec::new());
    for &len in lens {
        segments.push(Segment { offset, len });
        offset += len + 1;
    }
    let depth: usize = lens.iter().sum();
    let value = |i: usize, salt: usize| ((i * 37 + salt) % 23) as f32 - 11.0;
    let from = Strides { image: rows * 40 + columns * 2 + offset, row: 40, column: 2 };
    let x: Vec<f32> = (0..images * from.image).map(|i| value(i, 1)).collect();
    let w: Vec<f32> = (0..depth * wide).map(|i| value(i, 5)).collect();
    let bias: Vec<f32> = (0..wide + 16).map(|i| value(i, 9)).collect();
    let matrix = pack(&w, depth, wide);
    let to = Strides { image: rows * columns * wide, row: columns * wide, column: wide };
    let epilogue = Epilogue { bias: Some(&bias), activation };
    let mut y = vec![0.0; images * to.image];
    let job = Product { grid, segments: &segments, matrix: &matrix, epilogue };
    job.run((&x, from), (&mut y, to));
    let places: Vec<usize> =
        segments.iter().flat_map(|segment| segment.offset..segment.offset + segment.len).collect();
    for (at, got) in y.iter().enumerate() {
        let (pixel, c) = (at / wide, at % wide);
        let (i, pixel) = (pixel / (rows * columns), pixel % (rows * columns));
        let start = i * from.image + pixel / columns * 40 + pixel % columns * 2;
        let products = places.iter().enumerate().map(|(k, at)| x[start + at] * w[k * wide + c]);
        // Sums of these integers are exact.
        let mut expected = [bias[c] + products.sum::<f32>()];
        activation.apply_in_place(&mut expected);
        assert_eq!([*got], expected, "{grid:?} {lens:?} {wide} {activation:?} {at}");
    }
}

#[test]
fn agrees_with_the_definition() {
    for (images, rows, columns, wide) in
        [(1, 1, 1, 1), (1, 3, 5, 17), (3, 2, 7, 64), (2, 4, 4, 83), (5, 1, 13, 32)]
    {
        for activation in [Activation::Identity, Activation::Relu6, Activation::Gelu] {
            check(Grid { images, rows, columns }, &[3, 5], wide, activation);
        }
    }
}

#[test]
fn agrees_where_rows_are_multiplied_in_several_passes() {
    for lens in [&[900][..], &[300, 250, 7, 500], &[384, 384], &[1; 800], &[385]] {
        for (columns, wide) in [(5, 40), (20, 70)] {
            let grid = Grid { images: 1, rows: 1, columns };
            check(grid, lens, wide, Activation::HardSwish);
        }
    }
}

#[test]
#[should_panic(expected = "beyond the image")]
fn reads_outside_are_refused() {
    let matrix = pack(&[0.0; 16], 4, 4);
    let segments = [Segment { offset: 0, len: 4 }];
    let strides = Strides { image: 0, row: 4, column: 4 };
    let grid = Grid { images: 1, rows: 1, columns: 2 };
    let job = Product { grid, segments: &segments, matrix: &matrix, epilogue: Epilogue::NONE };
    job.run((&[0.0; 7], strides), (&mut [0.0; 8], strides));
}
