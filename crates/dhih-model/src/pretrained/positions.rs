//! Interpolates the position embeddings of a transformer for images of another size than those it was trained on.

use candle_core::{Result, Tensor};

/// The patches of the images that a network takes, and how a table of position embeddings is brought to their number.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatchGrid {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) filter: Filter,
}

/// A bicubic interpolation of PyTorch's `interpolate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// `antialias=False`: four neighbours, `a = -0.75`.
    Plain,
    /// `antialias=True`: `a = -0.5`, and the filter is stretched where the table shrinks, so that all of its values count.
    Antialiased,
}

/// The embeddings `[.., tokens, channels]` for images of another size. The table is one of a square, as published tables are, with or without a
/// class token before it. Any other table is returned unchanged.
pub(super) fn resized(table: &Tensor, shape: &[usize], grid: PatchGrid) -> Result<Tensor> {
    let PatchGrid { rows, columns, filter } = grid;
    let (&[.., tokens, channels], &[.., wanted, _]) = (table.dims(), shape) else {
        return Ok(table.clone());
    };
    let classes = wanted.saturating_sub(rows * columns);
    let side = tokens.saturating_sub(classes).isqrt();
    let is_square = side > 0 && side * side + classes == tokens;
    let is_wanted = classes <= 1 && rows * columns + classes == wanted;
    let is_plain = table.rank() == shape.len() && table.elem_count() == tokens * channels;
    if !(is_square && is_wanted && is_plain) || [side, side] == [rows, columns] {
        return Ok(table.clone());
    }
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    let (class, patches) = values.split_at(classes * channels);
    let with_rows = interpolated(patches, [side, side, channels], rows, filter);
    let mut all = class.to_vec();
    all.extend(columns_interpolated(&with_rows, [rows, side, channels], columns, filter));
    let mut dims = table.dims().to_vec();
    let last = dims.len() - 2;
    dims[last] = wanted;
    Tensor::from_vec(all, dims, table.device())
}

/// A position that a new one is interpolated from, and its weight.
struct Tap {
    position: usize,
    weight: f64,
}

/// Keys' cubic convolution of width 4, with the slope `a` at a distance of 1.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

impl Filter {
    /// The taps of the position `at` of `to` positions that are made of `from` positions.
    fn taps(self, at: usize, from: usize, to: usize) -> Vec<Tap> {
        let scale = from as f64 / to as f64;
        let centre = (at as f64 + 0.5) * scale;
        match self {
            Self::Plain => {
                let first = (centre - 0.5).floor() as i64 - 1;
                let positions = first..first + 4;
                let tap = |position: i64| Tap {
                    position: position.clamp(0, from as i64 - 1) as usize,
                    weight: cubic(position as f64 + 0.5 - centre, -0.75),
                };
                positions.map(tap).collect()
            }
            Self::Antialiased => {
                let stretch = scale.max(1.0);
                let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
                let end = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
                let weight =
                    |position: usize| cubic((position as f64 + 0.5 - centre) / stretch, -0.5);
                let total: f64 = (first..end).map(weight).sum();
                (first..end)
                    .map(|position| Tap { position, weight: weight(position) / total })
                    .collect()
            }
        }
    }
}

/// `[height, width, channels]` with another number of rows.
fn interpolated(
    x: &[f32],
    [height, width, channels]: [usize; 3],
    to: usize,
    filter: Filter,
) -> Vec<f32> {
    let row = width * channels;
    let mut y = Vec::with_capacity(to * row);
    for at in 0..to {
        let taps = filter.taps(at, height, to);
        y.extend((0..row).map(|i| {
            let value = |tap: &Tap| tap.weight * f64::from(x[tap.position * row + i]);
            taps.iter().map(value).sum::<f64>() as f32
        }));
    }
    y
}

/// `[height, width, channels]` with another number of columns.
fn columns_interpolated(
    x: &[f32],
    [height, width, channels]: [usize; 3],
    to: usize,
    filter: Filter,
) -> Vec<f32> {
    let rows = x.chunks_exact(width * channels).take(height);
    rows.flat_map(|row| interpolated(row, [width, 1, channels], to, filter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn table(values: &[f32], dims: &[usize]) -> Tensor {
        Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn grid(rows: usize, columns: usize, filter: Filter) -> PatchGrid {
        PatchGrid { rows, columns, filter }
    }

    /// The expected values are those of `torch.nn.functional.interpolate(x, size=3, mode="bicubic")` for `[[0, 1], [4, 9]]`.
    #[test]
    fn values_are_those_of_pytorch() {
        let values = [7.0, 0.0, 1.0, 4.0, 9.0];
        let three = grid(3, 3, Filter::Plain);
        let got = resized(&table(&values, &[1, 5, 1]), &[1, 10, 1], three).unwrap();
        assert_eq!(got.dims(), [1, 10, 1]);
        let got = flat(&got);
        assert_eq!(got[0], 7.0, "the class token's stays");
        for (got, expected) in got[1..].iter().zip(EXPECTED) {
            assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
        }
        // Without a class token; channels are independent of each other.
        let pairs: Vec<f32> = values[1..].iter().flat_map(|x| [*x, 10.0 * x]).collect();
        let got = flat(&resized(&table(&pairs, &[4, 2]), &[9, 2], three).unwrap());
        for (got, expected) in got.chunks(2).zip(EXPECTED) {
            assert!((got[1] - 10.0 * expected).abs() < 1e-4 && (got[0] - expected).abs() < 1e-5);
        }
    }

    const EXPECTED: [f32; 9] = [
        -0.403_887_2,
        -0.020_833_37,
        0.362_220_05,
        1.739_583_8,
        3.5,
        5.260_417,
        3.883_054_3,
        7.020_833,
        10.158_613,
    ];

    /// The expected values are those of `interpolate(x, size=(2, 3), mode="bicubic", antialias=...)` for `x = arange(36).reshape(6, 6) ** 2`.
    /// A rectangle of 2 x 18 patches has as many as the square, and is another grid all the same.
    #[test]
    fn tables_shrink_to_rectangles_with_and_without_antialiasing() {
        let squares: Vec<f32> = (0..36u16).map(|i| f32::from(i * i)).collect();
        let squares = table(&squares, &[36, 1]);
        for (filter, expected) in
            [(Filter::Plain, SHRUNK), (Filter::Antialiased, SHRUNK_AND_ANTIALIASED)]
        {
            let got = resized(&squares, &[6, 1], grid(2, 3, filter)).unwrap();
            for (got, expected) in flat(&got).into_iter().zip(expected) {
                assert!((got - expected).abs() < 1e-3, "{filter:?}: {got} for {expected}");
            }
            let same_count = resized(&squares, &[36, 1], grid(2, 18, filter)).unwrap();
            assert_ne!(flat(&same_count), flat(&squares));
        }
    }

    const SHRUNK: [f32; 6] = [41.093_75, 72.125, 112.281_25, 595.718_75, 702.125, 817.656_25];
    const SHRUNK_AND_ANTIALIASED: [f32; 6] =
        [75.059_2, 107.741_02, 147.742_54, 585.554_75, 682.477_97, 786.720_8];

    #[test]
    fn other_tables_are_left_as_they_are() {
        for (dims, shape, rows) in [
            ([1usize, 6, 1], [1usize, 10, 1], 3),
            ([1, 5, 1], [1, 9, 1], 3),
            ([1, 5, 1], [1, 5, 1], 2),
            ([1, 5, 1], [1, 10, 1], 2),
        ] {
            let x = table(&vec![1.0; dims[1]], &dims);
            let grid = grid(rows, rows, Filter::Plain);
            assert_eq!(resized(&x, &shape, grid).unwrap().dims(), x.dims());
        }
    }
}
