//! Vectors that a codec is fitted to: where they come from, and their preparation, which is the same for fitting and encoding.

use std::ops::Range;

use rayon::prelude::*;

use super::CodecConfig;
use crate::error::{Error, Result};

/// A source of vectors.
pub trait Rows {
    /// The number of vectors.
    fn len(&self) -> usize;

    /// Whether there are no vectors.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of a vector.
    fn dims(&self) -> usize;

    /// Appends the given rows to `to`, row by row.
    ///
    /// # Errors
    /// Those of the source; use [`Error::Vectors`] for what is wrong with its content.
    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()>;
}

/// Prepares vectors for the map of a codec: checks them and, where the configuration says so, normalises them to length 1.
///
/// # Shapes
/// `values`: `[n, dims]`, row-major.
///
/// # Errors
/// [`Error::Vectors`] where a vector has a number that is not finite, or must be normalised and is all zeros. The message names the vector by
/// what `number` returns for its row.
pub fn prepare_rows(
    values: &mut [f32],
    config: &CodecConfig,
    number: impl Fn(usize) -> usize + Sync,
) -> Result<()> {
    let CodecConfig { dims, normalize, .. } = *config;
    let wrong = values.par_chunks_exact_mut(dims).enumerate().find_map_first(|(row, vector)| {
        prepare(vector, normalize).err().map(|reason| (number(row), reason))
    });
    match wrong {
        None => Ok(()),
        Some((row, reason)) => Err(Error::Vectors { reason: format!("vector {row} {reason}") }),
    }
}

/// Checks a vector and normalises it to length 1 where wanted. The error says why the vector cannot be used.
fn prepare(vector: &mut [f32], normalize: bool) -> std::result::Result<(), &'static str> {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if !square.is_finite() {
        return Err("has a number that is not finite");
    }
    if normalize {
        if square == 0.0 {
            return Err("has only zeros, and so no direction");
        }
        let scale = 1.0 / square.sqrt();
        match scale as f32 {
            narrow if narrow.is_normal() => vector.iter_mut().for_each(|x| *x *= narrow),
            // The factor of a vector of denormal or of huge numbers has no f32.
            _ => vector.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_least_and_of_the_greatest_numbers_have_length_1() {
        for size in [f32::from_bits(1), 1e-40, f32::MIN_POSITIVE, 1.0, 1e30, f32::MAX] {
            let mut vector = [size, -size, 0.0, size, size];
            prepare(&mut vector, true).unwrap();
            assert_eq!(vector, [0.5, -0.5, 0.0, 0.5, 0.5], "{size:e}");
        }
        assert!(prepare(&mut [0.0, 0.0], true).unwrap_err().contains("only zeros"));
    }
}
