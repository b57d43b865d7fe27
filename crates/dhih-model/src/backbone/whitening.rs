//! Weights that whiten the 2 x 2 patches of training images, for the first convolution of [`super::cifarnet`].

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::image::InputShape;
use crate::preprocess::Normalization;

/// The most images that are used. They are spread evenly over the given ones.
const IMAGES: usize = 5000;
/// Added to the variances of the patches, so that directions without variance are not amplified.
const EPS: f64 = 5e-4;

/// Computes whitening weights: the eigenvectors of the second moments of all patches, each divided by the square root of its eigenvalue, in
/// descending order of the eigenvalues, then the same vectors with the opposite sign.
///
/// # Shapes
/// `images`: `[n, height, width, channels]` u8; returns `[8 channels, channels, 2, 2]` on the CPU.
///
/// # Errors
/// When the number of bytes is not a multiple of an image's.
pub(crate) fn whitening(
    images: &[u8],
    input: InputShape,
    normalization: &Normalization,
) -> Result<Tensor> {
    let count = images.len() / input.len().max(1);
    let step = count.div_ceil(IMAGES).max(1);
    let size = 4 * input.channels;
    let mut moments = vec![vec![0f64; size]; size];
    let mut patches = 0;
    for image in images.chunks(input.len().max(1)).step_by(step) {
        let pixels = normalization.apply(image, input, &Device::Cpu)?;
        patches += add_moments(&pixels.flatten_all()?.to_vec1()?, input, &mut moments);
    }
    moments.iter_mut().flatten().for_each(|moment| *moment /= patches.max(1) as f64);
    let mut directions = eigenvectors(moments);
    directions.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let scaled = |sign: f64| {
        directions.iter().flat_map(move |(value, vector)| {
            let scale = sign / (value.max(0.0) + EPS).sqrt();
            vector.iter().map(move |x| (x * scale) as f32)
        })
    };
    let weights: Vec<f32> = scaled(1.0).chain(scaled(-1.0)).collect();
    Ok(Tensor::from_vec(weights, (2 * size, input.channels, 2, 2), &Device::Cpu)?)
}

/// Adds the outer product of each patch with itself, in the order of weights (channel, row, column), and returns the number of patches.
fn add_moments(image: &[f32], input: InputShape, moments: &mut [Vec<f64>]) -> usize {
    let InputShape { height, width, channels, .. } = input;
    let mut patch = vec![0f64; moments.len()];
    for y in 0..height - 1 {
        for x in 0..width - 1 {
            for (i, value) in patch.iter_mut().enumerate() {
                let (channel, row, column) = (i / 4, i / 2 % 2, i % 2);
                let pixel = (y + row) * width + x + column;
                *value = f64::from(image[pixel * channels + channel]);
            }
            for (row, &a) in moments.iter_mut().zip(&patch) {
                row.iter_mut().zip(&patch).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }
    (height - 1) * (width - 1)
}

/// The eigenvalues and eigenvectors of a symmetric matrix, by Jacobi rotations in a fixed order.
fn eigenvectors(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // Convergence is quadratic: a dozen sweeps suffice for matrices of this size.
    for _ in 0..12 {
        for p in 0..size {
            for q in p + 1..size {
                if matrix[p][q] == 0.0 {
                    continue;
                }
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cos = 1.0 / t.hypot(1.0);
                let sin = t * cos;
                let rotate = |a: f64, b: f64| (cos * a - sin * b, sin * a + cos * b);
                for row in &mut matrix {
                    (row[p], row[q]) = rotate(row[p], row[q]);
                }
                for k in 0..size {
                    (matrix[p][k], matrix[q][k]) = rotate(matrix[p][k], matrix[q][k]);
                    (vectors[p][k], vectors[q][k]) = rotate(vectors[p][k], vectors[q][k]);
                }
            }
        }
    }
    vectors.into_iter().enumerate().map(|(i, vector)| (matrix[i][i], vector)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Conv2dConfig, conv2d};

    #[test]
    fn whitened_patches_are_uncorrelated_with_variance_1() {
        let input = InputShape::new(9, 7, 3);
        let byte = |i: usize| ((i * i * 31 + i * 7) % 251 / 2 + i / 3 % 120) as u8;
        let images: Vec<u8> = (0..20 * input.len()).map(byte).collect();
        let normalization = Normalization::measure(&images, 3);
        let weights = whitening(&images, input, &normalization).unwrap();
        let x = normalization.apply(&images, input, &Device::Cpu).unwrap();
        let config = Conv2dConfig::default();
        let y = conv2d(&x, &weights, None, config, Activation::Identity).unwrap();
        let y = y.reshape(((), 24)).unwrap();
        let count = y.dim(0).unwrap() as f64;
        let moments = (y.t().unwrap().matmul(&y).unwrap() / count).unwrap();
        let moments = moments.to_vec2::<f32>().unwrap();
        for (i, row) in moments.iter().enumerate() {
            for (j, moment) in row.iter().enumerate() {
                let expected = match j as isize - i as isize {
                    0 => 1.0,
                    12 | -12 => -1.0,
                    _ => 0.0,
                };
                assert!((moment - expected).abs() < 0.02, "{i} {j}: {moment}");
            }
        }
    }

    #[test]
    fn images_without_contrast_give_finite_weights() {
        let input = InputShape::new(4, 4, 1);
        let normalization = Normalization { mean: vec![0.0], std: vec![1.0] };
        let weights = whitening(&[0; 32], input, &normalization).unwrap();
        let weights = weights.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(weights.len() == 32 && weights.iter().all(|w| w.is_finite()));
        assert!(whitening(&[0; 33], input, &normalization).is_err());
    }
}
