//! From u8 pixels to the network's input tensor: scaling to 0..=1 and per-channel normalisation. Resizing is in
//! [`crate::image`].

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::image::InputShape;
use crate::ops::is_chosen;

/// Per-channel normalisation of pixels scaled to 0..=1: `(x - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalization {
    /// The normalisation of ImageNet, which the pretrained networks of torchvision and timm's `tv_in1k` expect.
    pub fn imagenet() -> Self {
        Self { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }

    /// Measures mean and standard deviation of each channel over the given images.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]`, n at least 1.
    pub fn measure(images: &[u8], channels: usize) -> Self {
        let mut measure = NormalizationMeasure::new(channels);
        measure.add(images);
        measure.finish()
    }

    /// Normalises images into the input tensor of a network.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8; returns the same shape in f32.
    ///
    /// # Errors
    /// When the number of bytes is not a multiple of an image's.
    pub fn apply(&self, images: &[u8], shape: InputShape, device: &Device) -> Result<Tensor> {
        let InputShape { height, width, channels, .. } = shape;
        let count = shape.count(images)?;
        if !is_chosen(device, DType::F32) {
            let dims = (count, height, width, channels);
            return self.apply_to(&Tensor::from_slice(images, dims, device)?);
        }
        let table = NormalizationTable::new(self);
        let mut values = vec![0f32; images.len()];
        let pairs = values.par_chunks_mut(shape.len()).zip(images.par_chunks(shape.len()));
        pairs.for_each(|(to, from)| table.apply(from, to));
        Ok(Tensor::from_vec(values, (count, height, width, channels), device)?)
    }

    /// As [`Self::apply`], for pixels that are already on the device: bytes take a quarter of the transfer.
    fn apply_to(&self, pixels: &Tensor) -> Result<Tensor> {
        let channel = |values: Vec<f32>| Tensor::from_vec(values, self.mean.len(), pixels.device());
        let scale = channel(self.std.iter().map(|std| 1.0 / (255.0 * std)).collect())?;
        let shift = self.mean.iter().zip(&self.std).map(|(mean, std)| -mean / std);
        let shift = channel(shift.collect())?;
        Ok(pixels.to_dtype(DType::F32)?.broadcast_mul(&scale)?.broadcast_add(&shift)?)
    }
}

/// Measures mean and standard deviation of each channel over images that come in several parts.
#[derive(Debug)]
pub struct NormalizationMeasure {
    /// How often each value occurs in each channel.
    histograms: Vec<[u64; 256]>,
}

impl NormalizationMeasure {
    /// Starts a measurement of images with so many channels.
    pub fn new(channels: usize) -> Self {
        Self { histograms: vec![[0; 256]; channels] }
    }

    /// Adds images.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]`; n may be 0.
    pub fn add(&mut self, images: &[u8]) {
        for pixel in images.chunks_exact(self.histograms.len().max(1)) {
            for (histogram, &value) in self.histograms.iter_mut().zip(pixel) {
                histogram[usize::from(value)] += 1;
            }
        }
    }

    /// Mean and standard deviation of the added images, on a scale of 0 to 1. The deviation of a constant channel is given as 1.
    pub fn finish(&self) -> Normalization {
        let moments = self.histograms.iter().map(|histogram| {
            let count = histogram.iter().sum::<u64>().max(1) as f64;
            let expect = |f: &dyn Fn(f64) -> f64| {
                let weigh = |(v, &n): (usize, &u64)| f(v as f64 / 255.0) * n as f64;
                histogram.iter().enumerate().map(weigh).sum::<f64>() / count
            };
            let mean = expect(&|x| x);
            let std = expect(&|x| (x - mean) * (x - mean)).sqrt();
            // A constant channel has a deviation of 0, which must not become a divisor.
            (mean as f32, if std > 1e-6 { std as f32 } else { 1.0 })
        });
        let (mean, std) = moments.unzip();
        Normalization { mean, std }
    }
}

/// A table with the normalised value of each byte in each channel.
#[derive(Debug)]
pub(crate) struct NormalizationTable(Vec<[f32; 256]>);

impl NormalizationTable {
    pub(crate) fn new(normalization: &Normalization) -> Self {
        let channels = normalization.mean.iter().zip(&normalization.std);
        let table = |(mean, std): (&f32, &f32)| {
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
        };
        Self(channels.map(table).collect())
    }

    /// Values of a pixel.
    pub(crate) fn channels(&self) -> usize {
        self.0.len()
    }

    /// Normalises whole pixels.
    pub(crate) fn apply(&self, from: &[u8], to: &mut [f32]) {
        let channels = self.0.len();
        for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(channels)) {
            for ((to, &from), table) in to.iter_mut().zip(from).zip(&self.0) {
                *to = table[usize::from(from)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_on_the_device_become_the_same_values() {
        let normalization = Normalization::imagenet();
        let shape = InputShape::new(16, 16, 3);
        let pixels: Vec<u8> = (0..shape.len()).map(|i| (i * 7 % 256) as u8).collect();
        let expected = normalization.apply(&pixels, shape, &Device::Cpu).unwrap();
        let pixels = Tensor::from_slice(&pixels, (1, 16, 16, 3), &Device::Cpu).unwrap();
        let got = normalization.apply_to(&pixels).unwrap();
        let most = (got - expected).unwrap().abs().unwrap().max_all().unwrap();
        assert!(most.to_scalar::<f32>().unwrap() < 1e-6);
    }

    #[test]
    fn normalised_images_have_mean_0_and_deviation_1() {
        let images: Vec<u8> = (0..2 * 4 * 4 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let shape = InputShape::new(4, 4, 3);
        let normalization = Normalization::measure(&images, 3);
        let x = normalization.apply(&images, shape, &Device::Cpu).unwrap();
        assert_eq!(x.dims(), [2, 4, 4, 3]);
        let x = x.reshape((32, 3)).unwrap();
        for moment in [x.mean(0).unwrap(), (x.sqr().unwrap().mean(0).unwrap() - 1.0).unwrap()] {
            assert!(moment.to_vec1::<f32>().unwrap().iter().all(|m| m.abs() < 1e-5), "{moment}");
        }
    }

    #[test]
    fn a_constant_channel_stays_finite() {
        let normalization = Normalization::measure(&[5; 12], 1);
        assert_eq!(normalization.std, [1.0]);
    }

    #[test]
    fn a_broken_image_is_refused() {
        let normalization = Normalization { mean: vec![0.5], std: vec![1.0] };
        let shape = InputShape::new(4, 4, 1);
        assert!(normalization.apply(&[0; 15], shape, &Device::Cpu).is_err());
    }
}
