//! The loss of two views: its value by its definition in plain numbers, its gradients by finite differences, and its edges.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use candle_core::{DType, Device, Tensor, Var};
use dhih_model::loss::{CroVca, crovca};
use dhih_model::named_rng;
use rand::Rng;

/// Outputs of `n` samples, none of them near 0, where the bits of the other view change.
fn outputs(n: usize, bits: usize, seed: u64) -> Vec<f64> {
    let mut rng = named_rng(seed, "outputs");
    let mut draw = || loop {
        let x: f64 = rng.random_range(-2.0..2.0);
        if x.abs() > 0.05 {
            return x;
        }
    };
    (0..n * bits).map(|_| draw()).collect()
}

fn var(values: &[f64], bits: usize) -> Var {
    let shape = (values.len() / bits, bits);
    Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
}

fn value(v: &[f64], w: &[f64], bits: usize, config: &CroVca) -> f64 {
    let loss = crovca(var(v, bits).as_tensor(), var(w, bits).as_tensor(), config);
    loss.unwrap().to_scalar().unwrap()
}

/// The determinant by Gaussian elimination. The matrices here are positive definite and need no pivoting.
fn determinant(mut rows: Vec<Vec<f64>>) -> f64 {
    for i in 0..rows.len() {
        let pivot = rows[i].clone();
        for row in &mut rows[i + 1..] {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    (0..rows.len()).map(|i| rows[i][i]).product()
}

/// The coding rate by its definition, with the K x K matrix.
fn rate(v: &[f64], bits: usize, distortion: f64) -> f64 {
    let n = (v.len() / bits) as f64;
    let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let z: Vec<Vec<f64>> =
        v.chunks(bits).map(|row| row.iter().map(|x| x / length(row)).collect()).collect();
    let factor = bits as f64 / (n * distortion);
    let entry = |a: usize, b: usize| {
        let product: f64 = z.iter().map(|row| row[a] * row[b]).sum();
        factor * product + if a == b { 1.0 } else { 0.0 }
    };
    let matrix = (0..bits).map(|a| (0..bits).map(|b| entry(a, b)).collect()).collect();
    (n + bits as f64) / (2.0 * n * bits as f64) * determinant(matrix).ln()
}

fn expected(v: &[f64], w: &[f64], bits: usize, config: &CroVca) -> f64 {
    let cross_entropy = |v: &[f64], w: &[f64]| {
        let each = v.iter().zip(w).map(|(v, w)| {
            let p = 1.0 / (1.0 + (-v).exp());
            -(if *w >= 0.0 { p } else { 1.0 - p }).ln()
        });
        each.sum::<f64>() / v.len() as f64
    };
    let rates = rate(v, bits, config.distortion) + rate(w, bits, config.distortion);
    (cross_entropy(v, w) + cross_entropy(w, v) - config.rate * rates) / 2.0
}

/// Fewer samples than bits, as many, and more.
const SIZES: [(usize, usize); 3] = [(3, 7), (5, 5), (9, 4)];

#[test]
fn the_value_is_that_of_the_definition() {
    for (n, bits) in SIZES {
        let (v, w) = (outputs(n, bits, 1), outputs(n, bits, 2));
        for config in [CroVca::default(), CroVca { rate: 2.0, distortion: 0.7 }] {
            let (got, expected) = (value(&v, &w, bits, &config), expected(&v, &w, bits, &config));
            assert!((got - expected).abs() < 1e-12, "{n} {bits}: {got} {expected}");
            assert!((got - value(&w, &v, bits, &config)).abs() < 1e-12, "the views are equal");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let config = CroVca { rate: 1.5, distortion: 0.3 };
    for (n, bits) in SIZES {
        let views = [outputs(n, bits, 1), outputs(n, bits, 2)];
        let vars = [var(&views[0], bits), var(&views[1], bits)];
        let loss = crovca(vars[0].as_tensor(), vars[1].as_tensor(), &config).unwrap();
        let gradients = loss.backward().unwrap();
        for (view, var) in vars.iter().enumerate() {
            let gradient = gradients.get(var).unwrap().flatten_all().unwrap();
            for (at, got) in gradient.to_vec1::<f64>().unwrap().into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut views = views.clone();
                    views[view][at] += by;
                    value(&views[0], &views[1], bits, &config)
                };
                let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((numeric - got).abs() < 1e-8, "{n} {bits} {view} {at}: {numeric} {got}");
            }
        }
    }
}

#[test]
fn values_and_gradients_are_finite_at_the_edges() {
    let rows = [[0.0; 4], [60.0; 4], [-1e4; 4], [0.0; 4], [1.0, -1.0, 0.0, 0.0]].concat();
    for rows in [rows, vec![0.0; 20], vec![3.0; 20]] {
        for dtype in [DType::F64, DType::F32] {
            let v = var(&rows, 4).as_tensor().to_dtype(dtype).unwrap();
            let v = Var::from_tensor(&v).unwrap();
            let w = v.as_tensor().neg().unwrap();
            let loss = crovca(v.as_tensor(), &w, &CroVca::default()).unwrap();
            let gradients = loss.backward().unwrap();
            for tensor in [&loss, gradients.get(&v).unwrap()] {
                let values = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
                let values = values.to_vec1::<f64>().unwrap();
                assert!(values.iter().all(|x| x.is_finite()), "{dtype:?} {values:?}");
            }
        }
    }
}

/// Without the coding rate, one code for all samples is as good as any other on which the views agree.
#[test]
fn the_rate_is_less_where_all_samples_have_one_code() {
    let different = [[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]].concat();
    let equal = vec![3.0; 8];
    let of = |v: &[f64], rate: f64| value(v, v, 2, &CroVca { rate, ..CroVca::default() });
    assert!((of(&different, 0.0) - of(&equal, 0.0)).abs() < 1e-12);
    assert!(of(&different, 0.1) < of(&equal, 0.1));
}

#[test]
fn constants_out_of_range_are_refused() {
    for (config, part) in [
        (CroVca { rate: -0.1, ..CroVca::default() }, "rate is -0.1"),
        (CroVca { rate: f64::NAN, ..CroVca::default() }, "rate is NaN"),
        (CroVca { distortion: 0.0, ..CroVca::default() }, "distortion is 0"),
    ] {
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    CroVca::default().check().unwrap();
}
