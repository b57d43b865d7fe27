//! Codecs of every method on vectors with few strong directions, compared with a plain implementation in f64; saving and loading; vectors that
//! cannot be used. `trained.rs` tests codecs of hash layers.

mod trained;

use std::ops::Range;

use rand::Rng;
use rand_distr::StandardNormal;

use candle_core::{Device, Tensor};

use super::linear_algebra::{Square, nearest_orthogonal, random_orthogonal};
use super::*;
use crate::init::named_rng;

/// Vectors in memory.
struct Drawn {
    dims: usize,
    values: Vec<f32>,
}

impl Drawn {
    /// Draws vectors around a point that is not the origin, with a variance that falls from direction to direction.
    fn new(n: usize, dims: usize) -> Self {
        let mut rng = named_rng(1, "vectors");
        let rotation = random_orthogonal(dims, &mut rng);
        let mut values = Vec::new();
        for _ in 0..n {
            let own: Vec<f64> = (0..dims)
                .map(|i| rng.sample::<f64, _>(StandardNormal) * 0.8f64.powi(i as i32) + 0.3)
                .collect();
            let turned =
                (0..dims).map(|j| (0..dims).map(|i| own[i] * rotation.row(i)[j]).sum::<f64>());
            values.extend(turned.map(|x| x as f32));
        }
        Self { dims, values }
    }
}

impl Rows for Drawn {
    fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    fn dims(&self) -> usize {
        self.dims
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        to.extend_from_slice(&self.values[rows.start * self.dims..rows.end * self.dims]);
        Ok(())
    }
}

fn fitted(rows: &Drawn, method: Method, bits: usize) -> Codec {
    let config = FitConfig { method, bits, ..FitConfig::default() };
    fit(rows, &config, &mut |_| ()).unwrap()
}

/// The methods that need no labels.
fn fitted_methods() -> impl Iterator<Item = Method> {
    Method::ALL.into_iter().map(|(_, method, _)| method).filter(|method| !method.is_trained())
}

fn matrix_of(codec: &Codec) -> Vec<f32> {
    match &codec.map {
        Map::Linear { matrix, .. } => matrix.clone(),
        other => panic!("{other:?}"),
    }
}

/// The vectors, normalised to length 1 and centred, in f64.
fn centred(rows: &Drawn) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = rows
        .values
        .chunks(rows.dims)
        .map(|v| {
            let v: Vec<f64> = v.iter().map(|x| f64::from(*x)).collect();
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter().map(|x| x / length).collect()
        })
        .collect();
    let n = all.len() as f64;
    let mean: Vec<f64> =
        (0..rows.dims).map(|i| all.iter().map(|v| v[i]).sum::<f64>() / n).collect();
    all.iter_mut().for_each(|v| v.iter_mut().zip(&mean).for_each(|(x, m)| *x -= m));
    all
}

fn assert_near(got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < tolerance, "{i}: {got}, {expected}");
    }
}

#[test]
fn components_are_those_of_the_power_method_in_f64() {
    let rows = Drawn::new(3000, 12);
    let all = centred(&rows);
    let codec = fitted(&rows, Method::PcaSign, 4);
    let matrix = matrix_of(&codec);
    let mut before: Vec<Vec<f64>> = Vec::new();
    for component in matrix.chunks(12) {
        let mut v: Vec<f64> = (0..12).map(|i| 1.0 / (1.0 + f64::from(i))).collect();
        for _ in 0..3000 {
            let mut next = [0f64; 12];
            for x in &all {
                let along: f64 = x.iter().zip(&v).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(x).for_each(|(n, x)| *n += along * x);
            }
            for other in &before {
                let along: f64 = next.iter().zip(other).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(other).for_each(|(n, o)| *n -= along * o);
            }
            let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            v = next.iter().map(|x| x / length).collect();
        }
        let largest = v.iter().fold(0f64, |a, b| if b.abs() > a.abs() { *b } else { a });
        v.iter_mut().for_each(|x| *x *= largest.signum());
        assert_near(component, &v, 1e-4);
        before.push(v);
    }
    // The values are the components of the centred vectors.
    let values = codec.encode(&rows.values[..24]).unwrap();
    let expected = all[..2].iter().flat_map(|x| {
        before.iter().map(|v| x.iter().zip(v).map(|(a, b)| a * b).sum::<f64>()).collect::<Vec<_>>()
    });
    assert_near(&values, &expected.collect::<Vec<_>>(), 1e-4);
}

#[test]
fn iterative_quantisation_is_that_of_its_formula_in_f64() {
    let rows = Drawn::new(2000, 10);
    let (bits, all) = (6, centred(&rows));
    let matrix = matrix_of(&fitted(&rows, Method::PcaSign, bits));
    let v: Vec<Vec<f64>> = all
        .iter()
        .map(|x| {
            let along = |c: &[f32]| x.iter().zip(c).map(|(a, b)| a * f64::from(*b)).sum();
            matrix.chunks(10).map(along).collect()
        })
        .collect();
    let mut rotation = random_orthogonal(bits, &mut named_rng(0, "codec rotation"));
    let turned = |rotation: &Square, v: &[f64]| -> Vec<f64> {
        (0..bits).map(|j| (0..bits).map(|i| v[i] * rotation.row(i)[j]).sum()).collect()
    };
    // The quantisation loss, which every iteration makes smaller.
    let loss = |rotation: &Square| -> f64 {
        let each = v.iter().flat_map(|v| turned(rotation, v));
        each.map(|x| (x - if x >= 0.0 { 1.0 } else { -1.0 }).powi(2)).sum()
    };
    let mut last = loss(&rotation);
    for _ in 0..50 {
        let mut both = Square::zeros(bits);
        for v in &v {
            for (j, x) in turned(&rotation, v).iter().enumerate() {
                (0..bits).for_each(|i| both.values[i * bits + j] += v[i] * x.signum());
            }
        }
        rotation = nearest_orthogonal(&both).unwrap();
        let now = loss(&rotation);
        assert!(now <= last + 1e-9, "{now} after {last}");
        last = now;
    }
    let expected: Vec<f64> = v[..50].iter().flat_map(|v| turned(&rotation, v)).collect();
    let codec = fitted(&rows, Method::Itq, bits);
    assert_near(&codec.encode(&rows.values[..500]).unwrap(), &expected, 1e-3);
}

#[test]
fn every_method_gives_the_same_bytes_again_and_comes_back_from_its_file() {
    let rows = Drawn::new(500, 16);
    let dir = tempfile::tempdir().unwrap();
    for method in fitted_methods() {
        let name = method.name();
        let (a, b) = (fitted(&rows, method, 8), fitted(&rows, method, 8));
        assert_eq!((a.sha256(), a.config()), (b.sha256(), b.config()), "{name}");
        assert_eq!(Method::named(name), Some(method));
        let path = dir.path().join(format!("{name}.safetensors"));
        a.save(&path).unwrap();
        let loaded = Codec::load(&path).unwrap();
        assert_eq!(loaded.sha256(), a.sha256());
        let whole = a.encode(&rows.values).unwrap();
        assert_eq!(loaded.encode(&rows.values).unwrap(), whole);
        // A vector encoded on its own has the same values to the last bit.
        for row in [0, 7, 499] {
            let own = a.encode(&rows.values[row * 16..][..16]).unwrap();
            assert_eq!(own, whole[row * 8..][..8], "{name} {row}");
        }
    }
    let other = FitConfig { method: Method::Itq, bits: 8, seed: 1, ..FitConfig::default() };
    let other = fit(&rows, &other, &mut |_| ()).unwrap();
    assert_ne!(other.sha256(), fitted(&rows, Method::Itq, 8).sha256());
}

#[test]
fn the_first_bits_are_codes_of_their_own_at_nested_lengths() {
    let rows = Drawn::new(800, 12);
    for method in fitted_methods() {
        let name = method.name();
        let config = FitConfig { method, bits: 9, nested: vec![3, 5], ..FitConfig::default() };
        let codec = fit(&rows, &config, &mut |_| ()).unwrap();
        let whole = codec.encode(&rows.values).unwrap();
        for length in [3, 5] {
            let short = codec.shortened(length).unwrap();
            let first = whole.chunks(9).flat_map(|values| &values[..length]);
            assert!(short.encode(&rows.values).unwrap().iter().eq(first), "{name} {length}");
            assert_ne!(short.sha256(), codec.sha256(), "{name} {length}");
        }
        let within = codec.shortened(5).unwrap();
        assert_eq!(within.config().nested, [3], "{name}");
        let direct = codec.shortened(3).unwrap();
        assert_eq!(within.shortened(3).unwrap().sha256(), direct.sha256(), "{name}");
        let error = codec.shortened(4).err().unwrap().to_string();
        assert!(error.contains("bits is 4, expected 3, 5, 9"), "{error}");
    }
    for nested in [vec![5, 3], vec![0, 3], vec![3, 9], vec![3, 3]] {
        let config = FitConfig { bits: 9, nested, ..FitConfig::default() };
        let error = fit(&rows, &config, &mut |_| ()).err().unwrap().to_string();
        assert!(error.contains("lengths of 1 to 8 bits, ascending"), "{error}");
    }
}

/// The bits of a shorter length depend on the principal components of that length alone, and lose as little by their signs as bits that were
/// fitted to that length.
#[test]
fn nested_quantisation_turns_the_components_of_a_length_among_themselves() {
    let rows = Drawn::new(2000, 12);
    let config = FitConfig { bits: 8, nested: vec![4], ..FitConfig::default() };
    let nested = fit(&rows, &config, &mut |_| ()).unwrap();
    let components = matrix_of(&fitted(&rows, Method::PcaSign, 4));
    for row in matrix_of(&nested)[..4 * 12].chunks(12) {
        let along = |c: &[f32]| c.iter().zip(row).map(|(a, b)| a * b).sum::<f32>().powi(2);
        let within: f32 = components.chunks(12).map(along).sum();
        assert!((within - 1.0).abs() < 1e-4, "{within}");
    }
    let loss = |codec: &Codec| -> f32 {
        let values = codec.encode(&rows.values).unwrap();
        values.iter().map(|x| (x - x.signum()).powi(2)).sum()
    };
    let (short, alone) = (nested.shortened(4).unwrap(), fitted(&rows, Method::Itq, 4));
    assert!((loss(&short) / loss(&alone) - 1.0).abs() < 1e-3);
}

#[test]
fn signs_are_those_of_the_first_values() {
    let rows = Drawn { dims: 3, values: vec![3.0, -4.0, 0.0, 0.0, 0.0, 2.0] };
    let codec = fitted(&rows, Method::Sign, 2);
    assert_eq!(codec.encode(&rows.values).unwrap(), [0.6, -0.8, 0.0, 0.0]);
    assert_eq!((codec.bits(), codec.dims()), (2, 3));
}

#[test]
fn vectors_that_cannot_be_used_are_named() {
    let rows = Drawn::new(300, 8);
    let refused = |values: &[(usize, f32)], method, bits, part: &str| {
        let mut drawn = Drawn { dims: 8, values: rows.values.clone() };
        values.iter().for_each(|(at, value)| drawn.values[*at] = *value);
        let config = FitConfig { method, bits, ..FitConfig::default() };
        let error = fit(&drawn, &config, &mut |_| ()).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&[(83, f32::NAN)], Method::Itq, 4, "vector 10 has a number that is not finite");
    refused(&[(5, f32::INFINITY)], Method::Rotation, 4, "vector 0 has");
    let zeros: Vec<(usize, f32)> = (16..24).map(|at| (at, 0.0)).collect();
    refused(&zeros, Method::PcaSign, 4, "vector 2 has only zeros");
    refused(&[], Method::Itq, 9, "1 to 8, for vectors of 8");
    refused(&[], Method::Itq, 0, "bits is 0");
    refused(&[], Method::Head, 4, "method is head, expected a method that is fitted");
    let few = Drawn { dims: 8, values: rows.values[..24].to_vec() };
    let config = FitConfig { bits: 4, ..FitConfig::default() };
    let error = fit(&few, &config, &mut |_| ()).err().unwrap().to_string();
    assert!(error.contains("there are 3, and 4 bits"), "{error}");
    let flat = Drawn { dims: 8, values: (0..8000).map(|i| [1.0, 2.0][i / 8 % 2]).collect() };
    let config = FitConfig { bits: 2, normalize: false, ..FitConfig::default() };
    let error = fit(&flat, &config, &mut |_| ()).err().unwrap().to_string();
    assert!(error.contains("vary in 1 directions"), "{error}");
    let codec = fitted(&rows, Method::Itq, 4);
    let error = codec.encode(&rows.values[..12]).unwrap_err().to_string();
    assert!(error.contains("12 numbers are no vectors of 8"), "{error}");
    assert!(codec.encode(&[0.0; 8]).unwrap_err().to_string().contains("vector 0 has only zeros"));
}

#[test]
fn files_that_are_no_codec_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codec.safetensors");
    let rows = Drawn::new(100, 6);
    let codec = fitted(&rows, Method::Itq, 4);
    let refused = |change: &dyn Fn(&mut Contents), part: &str| {
        let mut contents = codec.contents().unwrap();
        change(&mut contents);
        checkpoint::write(&contents, &path).unwrap();
        let error = Codec::load(&path).err().unwrap();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&|contents| contents.metadata.clear(), "it is no codec");
    refused(&|contents| drop(contents.tensors.remove("matrix")), "it has no matrix");
    refused(&|contents| drop(contents.tensors.remove("centre")), "it has no centre");
    refused(
        &|contents| {
            let text = contents.metadata.get_mut(CONFIG_KEY).unwrap();
            *text = text.replace("\"bits\":4", "\"bits\":5");
        },
        "24 numbers",
    );
    refused(
        &|contents| {
            let text = contents.metadata.get_mut(CONFIG_KEY).unwrap();
            *text = text.replace("itq", "guess");
        },
        "guess",
    );
    refused(
        &|contents| {
            let nan = Tensor::full(f32::NAN, 6, &Device::Cpu).unwrap();
            contents.tensors.insert("centre".to_owned(), nan);
        },
        "finite numbers",
    );
    std::fs::write(&path, b"{}").unwrap();
    assert!(Codec::load(&path).is_err());
}
