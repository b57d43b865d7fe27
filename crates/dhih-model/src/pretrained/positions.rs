//! Interpolates the position embeddings of a transformer for images of another size than those it was trained on.

use candle_core::{Result, Tensor};

/// The embeddings `[.., places, channels]` for a square of another size, by bicubic interpolation as in PyTorch (`a = -0.75`, no antialiasing).
/// The table is returned unchanged where it is not one of a square, with or without a class token before it.
pub(super) fn resized(table: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let (&[.., places, channels], &[.., wanted, _]) = (table.dims(), shape) else {
        return Ok(table.clone());
    };
    let grid = |places: usize| [0, 1].into_iter().find_map(|classes| square(places, classes));
    let (Some((classes, from)), Some((other, to))) = (grid(places), grid(wanted)) else {
        return Ok(table.clone());
    };
    let same_kind = classes == other && table.rank() == shape.len();
    if !same_kind || from == to || table.elem_count() != places * channels {
        return Ok(table.clone());
    }
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    let (class, pixels) = values.split_at(classes * channels);
    let rows = interpolated(pixels, [from, from, channels], to);
    let mut all = class.to_vec();
    all.extend(columns_interpolated(&rows, [to, from, channels], to));
    let mut dims = table.dims().to_vec();
    let last = dims.len() - 2;
    dims[last] = wanted;
    Tensor::from_vec(all, dims, table.device())
}

/// The number of class tokens before a square, and the side of the square.
fn square(places: usize, classes: usize) -> Option<(usize, usize)> {
    let pixels = places.checked_sub(classes)?;
    let side = pixels.isqrt();
    (side > 0 && side * side == pixels).then_some((classes, side))
}

/// The four positions that a new one is interpolated from, with their weights.
fn taps(at: usize, from: usize, to: usize) -> [(usize, f64); 4] {
    const A: f64 = -0.75;
    let place = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let (first, t) = (place.floor(), place - place.floor());
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let mut taps = [(0, 0.0); 4];
    for (number, (tap, weight)) in taps.iter_mut().zip(weights).enumerate() {
        let place = first as i64 - 1 + number as i64;
        *tap = (place.clamp(0, from as i64 - 1) as usize, weight);
    }
    taps
}

/// `[height, width, channels]` with another number of rows.
fn interpolated(x: &[f32], [height, width, channels]: [usize; 3], to: usize) -> Vec<f32> {
    let row = width * channels;
    let mut y = Vec::with_capacity(to * row);
    for at in 0..to {
        let taps = taps(at, height, to);
        y.extend((0..row).map(|i| {
            let sum: f64 = taps.iter().map(|(r, w)| w * f64::from(x[r * row + i])).sum();
            sum as f32
        }));
    }
    y
}

/// `[height, width, channels]` with another number of columns.
fn columns_interpolated(x: &[f32], [height, width, channels]: [usize; 3], to: usize) -> Vec<f32> {
    let rows = x.chunks_exact(width * channels).take(height);
    rows.flat_map(|row| interpolated(row, [width, 1, channels], to)).collect()
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

    /// The expected values are those of `torch.nn.functional.interpolate(x, size=3, mode="bicubic")` for `[[0, 1], [4, 9]]`.
    #[test]
    fn values_are_those_of_pytorch() {
        let values = [7.0, 0.0, 1.0, 4.0, 9.0];
        let got = resized(&table(&values, &[1, 5, 1]), &[1, 10, 1]).unwrap();
        assert_eq!(got.dims(), [1, 10, 1]);
        let got = flat(&got);
        assert_eq!(got[0], 7.0, "the class token's stays");
        for (got, expected) in got[1..].iter().zip(EXPECTED) {
            assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
        }
        // Without a class token; channels are independent of each other.
        let pairs: Vec<f32> = values[1..].iter().flat_map(|x| [*x, 10.0 * x]).collect();
        let got = flat(&resized(&table(&pairs, &[4, 2]), &[9, 2]).unwrap());
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

    #[test]
    fn what_is_no_table_of_a_square_stays() {
        for (dims, shape) in
            [([1usize, 6, 1], [1usize, 10, 1]), ([1, 5, 1], [1, 9, 1]), ([1, 5, 1], [1, 5, 1])]
        {
            let x = table(&vec![1.0; dims[1]], &dims);
            assert_eq!(resized(&x, &shape).unwrap().dims(), x.dims());
        }
    }
}
