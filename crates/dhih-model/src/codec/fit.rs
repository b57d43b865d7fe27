//! Fits a codec to vectors: their mean and covariances in one pass over all of them, and a rotation on a sample. Vectors are read in chunks from
//! any source.

use std::ops::Range;

use rayon::prelude::*;

use super::itq::Fitted;
use super::linear_algebra::{Eigen, Square, eigen, random_orthogonal};
use super::rows::{Rows, prepare_rows};
use super::{Codec, CodecConfig, Map, Method};
use crate::error::{Error, Result};
use crate::init::named_rng;
use crate::ops::{Matrix, Size, product};

/// The settings of a fit.
#[derive(Debug, Clone)]
pub struct FitConfig {
    /// How the map is found.
    pub method: Method,
    /// Code length in bits.
    pub bits: usize,
    /// Whether vectors are normalised to length 1 first.
    pub normalize: bool,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// Iterations of [`Method::Itq`], each of which updates the signs and then the rotation.
    pub iterations: usize,
    /// Shorter code lengths whose first bits are codes of their own, see [`CodecConfig::nested`]. [`Method::Itq`] rotates the components of each
    /// length among themselves. The other methods need no change for it.
    pub nested: Vec<usize>,
}

impl Default for FitConfig {
    /// 256 bits by ITQ with 50 iterations, as published, of vectors normalised to length 1.
    fn default() -> Self {
        Self {
            method: Method::Itq,
            bits: 256,
            normalize: true,
            seed: 0,
            iterations: 50,
            nested: Vec::new(),
        }
    }
}

/// The number of values that are read and multiplied at once.
const CHUNK_VALUES: usize = 1 << 22;

/// Fits a codec. `told` is called from time to time with the number of vectors that have been read.
///
/// # Errors
/// [`Error::Config`] where the bits are out of range or the method is trained, [`Error::Vectors`] where there are too few vectors or they vary
/// in fewer directions than there are bits, and those of the source.
pub fn fit(rows: &dyn Rows, config: &FitConfig, told: &mut dyn FnMut(usize)) -> Result<Codec> {
    let FitConfig { method, bits, normalize, seed, .. } = *config;
    let dims = rows.dims();
    let of_codec = CodecConfig { method, dims, bits, normalize, nested: config.nested.clone() };
    of_codec.check()?;
    if method == Method::Sign {
        return Codec::new(of_codec, Map::FirstValues);
    }
    if rows.len() < bits.max(2) {
        let reason = format!("there are {}, and {bits} bits need at least as many", rows.len());
        return Err(Error::Vectors { reason });
    }
    if method.is_trained() {
        let (got, expected) = (method.name().to_owned(), "a method that is fitted".to_owned());
        return Err(Error::Config { name: "method", got, expected });
    }
    let Moments { mean, covariance } = moments(rows, &of_codec, told)?;
    let single = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let centre = single(&mean);
    let matrix = if method == Method::Rotation {
        let rotation = random_orthogonal(dims, &mut named_rng(seed, "codec rotation"));
        single(&rotation.values[..bits * dims])
    } else {
        let components = principal(covariance, bits)?;
        match method {
            Method::Itq => {
                let fitted = Fitted {
                    rows,
                    of_codec: &of_codec,
                    seed,
                    iterations: config.iterations,
                    centre: &centre,
                };
                fitted.turned(&components)?
            }
            _ => single(&components),
        }
    };
    Codec::new(of_codec, Map::Linear { matrix, centre })
}

struct Moments {
    mean: Vec<f64>,
    covariance: Square,
}

/// Calls `f` with all vectors, a chunk at a time, prepared as for the map but not centred.
fn for_each_chunk(
    rows: &dyn Rows,
    config: &CodecConfig,
    mut f: impl FnMut(Range<usize>, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let (dims, mut values) = (rows.dims(), Vec::new());
    let step = (CHUNK_VALUES / dims).max(1);
    for start in (0..rows.len()).step_by(step) {
        let chunk = start..rows.len().min(start + step);
        values.clear();
        rows.read(chunk.clone(), &mut values)?;
        prepare_rows(&mut values, config, |row| chunk.start + row)?;
        f(chunk, &mut values)?;
    }
    Ok(())
}

/// Mean and covariances. The covariances are computed around the mean of the first vectors, so that little is lost to rounding.
fn moments(rows: &dyn Rows, config: &CodecConfig, told: &mut dyn FnMut(usize)) -> Result<Moments> {
    let (dims, needs_covariance) = (rows.dims(), config.method != Method::Rotation);
    let mut origin: Option<Vec<f32>> = None;
    let mut sums = vec![0f64; dims];
    let mut products = Square::zeros(if needs_covariance { dims } else { 0 });
    for_each_chunk(rows, config, |chunk, values| {
        let origin = origin.get_or_insert_with(|| mean_of(values, dims));
        values.par_chunks_exact_mut(dims).for_each(|vector| {
            vector.iter_mut().zip(&*origin).for_each(|(x, origin)| *x -= origin);
        });
        add_rows(values, &mut sums);
        if needs_covariance {
            let x = Matrix::rows_of(values, dims);
            let size = Size { rows: dims, inner: chunk.len(), columns: dims };
            let squares = product(size, x.transposed(), x);
            let sums = products.values.par_iter_mut().zip(&squares);
            sums.for_each(|(sum, x)| *sum += f64::from(*x));
        }
        told(chunk.end);
        Ok(())
    })?;
    let n = rows.len() as f64;
    let origin = origin.unwrap_or_default();
    let off: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
    if needs_covariance {
        products.values.par_chunks_mut(dims).enumerate().for_each(|(i, row)| {
            row.iter_mut().zip(&off).for_each(|(x, other)| *x = *x / n - off[i] * other);
        });
    }
    let mean = origin.iter().zip(&off).map(|(origin, off)| f64::from(*origin) + off).collect();
    Ok(Moments { mean, covariance: products })
}

fn mean_of(values: &[f32], dims: usize) -> Vec<f32> {
    let mut sums = vec![0f64; dims];
    add_rows(values, &mut sums);
    let n = (values.len() / dims).max(1) as f64;
    sums.iter().map(|sum| (sum / n) as f32).collect()
}

fn add_rows(values: &[f32], sums: &mut [f64]) {
    for vector in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
    }
}

/// The eigenvectors of the largest eigenvalues as rows. The sign of an eigenvector is arbitrary, so the sign is chosen by which the number of
/// largest magnitude is positive.
fn principal(covariance: Square, bits: usize) -> Result<Vec<f64>> {
    let dims = covariance.side;
    let not_finite = || Error::Vectors { reason: "their covariances are not finite".to_owned() };
    let Eigen { values, vectors } = eigen(covariance).ok_or_else(not_finite)?;
    let least = values[0].max(0.0) * dims as f64 * f64::from(f32::EPSILON);
    let directions = values.iter().filter(|value| **value > least).count();
    if directions < bits {
        let reason = format!(
            "they vary in {directions} directions, and there are to be {bits} bits: take fewer"
        );
        return Err(Error::Vectors { reason });
    }
    let mut components = vectors.values[..bits * dims].to_vec();
    for component in components.chunks_exact_mut(dims) {
        let largest = component.iter().fold(0f64, |a, b| if b.abs() > a.abs() { *b } else { a });
        if largest < 0.0 {
            component.iter_mut().for_each(|x| *x = -*x);
        }
    }
    Ok(components)
}
