//! What is measured of a network's values on images, so that it can be computed in integers: for each convolution a factor for every
//! input channel, and the range of the inputs behind the factors.
//!
//! The factors bring the channels to a like size, at the cost of the weights (SmoothQuant, Xiao et al., 2022): a few channels of a
//! transformer are tens of times as large as the others. The range is the one with the least squared error of the bytes on the images:
//! a value beyond it is cut off, which may cost less than coarser steps for all.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Inference;
use super::sites::{Site, SiteScale};
use crate::checkpoint::{self, Contents};
use crate::error::{Error, Result};
use crate::network::Network;

const KEY: &str = "dhih.calibration";
const VERSION: u32 = 1;

/// Scales for the inputs of a network's convolutions, measured on images.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    model_sha256: String,
    images: usize,
    pub(super) sites: Vec<SiteScale>,
}

/// What the file says besides its tensors.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    model_sha256: String,
    images: usize,
    /// The shape of the weights of each convolution.
    shapes: Vec<[usize; 4]>,
}

impl Calibration {
    /// Measures `images`, which should be like those that are encoded later, some hundreds of them, and none that codes are judged by.
    /// `model_sha256` is that of the network's checkpoint.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8, n at least 1.
    ///
    /// # Errors
    /// [`Error::Config`] where there are no images or bytes are missing, where values in the network are not finite, and where the network is not run by operators of ours on the CPU.
    pub fn measure(network: &Network, model_sha256: &str, images: &[u8]) -> Result<Self> {
        let count = network.config().input.count(images)?;
        if count == 0 {
            let (name, got) = ("images", "0".to_owned());
            return Err(Error::Config { name, got, expected: "at least 1".to_owned() });
        }
        let Some((inference, sites)) = Inference::observed(network)? else {
            return Err(Error::no_int8());
        };
        let mut largest: Vec<Vec<f32>> =
            sites.iter().map(|site| vec![0f32; site.shape[1]]).collect();
        let mut is_finite = true;
        inference.observe(images, &mut |site, x| {
            is_finite &= x.iter().all(|x| x.is_finite());
            for pixel in x.chunks_exact(largest[site].len()) {
                for (largest, x) in largest[site].iter_mut().zip(pixel) {
                    *largest = largest.max(x.abs());
                }
            }
        });
        // Integers would hide it: a value that is no number becomes one.
        if !is_finite {
            let (name, got) = ("network", "one whose values are not finite".to_owned());
            let expected = "one that gives numbers: train it again".to_owned();
            return Err(Error::Config { name, got, expected });
        }
        let factors: Vec<Vec<f32>> =
            sites.iter().zip(&largest).map(|(site, largest)| factors(site, largest)).collect();
        let mut histograms: Vec<Histogram> =
            largest.iter().zip(&factors).map(|(of, by)| Histogram::new(of, by)).collect();
        inference.observe(images, &mut |site, x| {
            if !sites[site].has_own_scales {
                histograms[site].add(x, &factors[site]);
            }
        });
        let scales =
            sites.iter().zip(factors).zip(histograms).map(|((site, factors), histogram)| {
                SiteScale { shape: site.shape, factors, range: histogram.range() }
            });
        let model_sha256 = model_sha256.to_owned();
        Ok(Self { model_sha256, images: count, sites: scales.collect() })
    }

    /// SHA-256 of the checkpoint that it was measured with, in hex.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// How many images were measured.
    pub fn images(&self) -> usize {
        self.images
    }

    /// How many convolutions are computed in integers.
    pub fn layers(&self) -> usize {
        self.sites.len()
    }

    /// Writes it under `path`, which appears only when it is complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let shapes = self.sites.iter().map(|site| site.shape).collect();
        let (model_sha256, images) = (self.model_sha256.clone(), self.images);
        let record = Record { version: VERSION, model_sha256, images, shapes };
        let record = serde_json::to_string(&record).map_err(|error| unusable(path, error))?;
        let mut tensors = BTreeMap::new();
        for (number, site) in self.sites.iter().enumerate() {
            let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
            tensors.insert(name(number, "factors"), tensor(&site.factors)?);
            tensors.insert(name(number, "range"), tensor(&site.range)?);
        }
        let metadata = BTreeMap::from([(KEY.to_owned(), record)]);
        checkpoint::write(&Contents { tensors, metadata }, path)?;
        Ok(())
    }

    /// Reads what [`Self::save`] wrote, verified.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Calibration`] where it is damaged or no calibration.
    pub fn load(path: &Path) -> Result<Self> {
        let contents = checkpoint::read(path).map_err(|error| match error {
            Error::Checkpoint { path, reason } => Error::Calibration { path, reason },
            other => other,
        });
        let (Contents { mut tensors, metadata }, _) = contents?;
        let record = metadata.get(KEY).ok_or_else(|| unusable(path, "it holds no calibration"))?;
        let record: Record = serde_json::from_str(record).map_err(|e| unusable(path, e))?;
        if record.version != VERSION {
            let reason = format!("its version is {}, this program reads {VERSION}", record.version);
            return Err(unusable(path, reason));
        }
        let mut take = |number, part, len: usize| {
            let values = tensors.remove(&name(number, part));
            let values = values.map(|tensor| tensor.flatten_all()?.to_vec1::<f32>()).transpose()?;
            match values {
                Some(values) if values.len() == len && values.iter().all(|x| x.is_finite()) => {
                    Ok(values)
                }
                _ => {
                    let reason = "missing, of another length or not finite";
                    Err(unusable(path, format!("the {part} of layer {number}: {reason}")))
                }
            }
        };
        let mut sites = Vec::with_capacity(record.shapes.len());
        for (number, shape) in record.shapes.into_iter().enumerate() {
            let factors = take(number, "factors", shape[1])?;
            if factors.iter().any(|factor| *factor <= 0.0) {
                return Err(unusable(path, format!("a factor of layer {number} is not positive")));
            }
            let range = take(number, "range", 2)?;
            sites.push(SiteScale { shape, factors, range: [range[0], range[1]] });
        }
        Ok(Self { model_sha256: record.model_sha256, images: record.images, sites })
    }

    /// Whether the convolutions are those of a network.
    pub(super) fn fits(&self, sites: &[Site]) -> bool {
        let shapes = self.sites.iter().map(|site| site.shape);
        shapes.eq(sites.iter().map(|site| site.shape))
    }
}

fn name(site: usize, part: &str) -> String {
    format!("{site:04}.{part}")
}

fn unusable(path: &Path, reason: impl ToString) -> Error {
    Error::Calibration { path: path.to_owned(), reason: reason.to_string() }
}

/// Factors by which inputs are multiplied and weights divided: inputs and weights of a channel are then as large as each other, up to
/// a factor that is common to all channels.
fn factors(site: &Site, largest: &[f32]) -> Vec<f32> {
    // A channel that no image has used keeps what the others have on average.
    let smoothed = |(input, weight): (&f32, &f32)| {
        let factor = (weight / input).sqrt();
        (factor.is_normal()).then_some(factor)
    };
    let found: Vec<Option<f32>> = largest.iter().zip(&site.largest_weights).map(smoothed).collect();
    let logs: Vec<f32> = found.iter().flatten().map(|factor| factor.ln()).collect();
    let mean = (logs.iter().sum::<f32>() / logs.len().max(1) as f32).exp();
    found.into_iter().map(|factor| factor.unwrap_or(mean) / mean).collect()
}

/// How often values occur, between bounds that none exceeds.
#[derive(Debug)]
struct Histogram {
    bound: f32,
    counts: Vec<u64>,
}

impl Histogram {
    const BINS: usize = 4096;

    /// For inputs whose channels have these largest values, and these factors.
    fn new(largest: &[f32], factors: &[f32]) -> Self {
        let bound = largest.iter().zip(factors).map(|(x, factor)| x * factor).fold(0.0, f32::max);
        Self { bound, counts: vec![0; Self::BINS] }
    }

    fn add(&mut self, x: &[f32], factors: &[f32]) {
        let per_value = Self::BINS as f32 / (2.0 * self.bound).max(f32::MIN_POSITIVE);
        for pixel in x.chunks_exact(factors.len()) {
            for (x, factor) in pixel.iter().zip(factors) {
                let bin = ((x * factor + self.bound) * per_value) as usize;
                self.counts[bin.min(Self::BINS - 1)] += 1;
            }
        }
    }

    /// The middle of a bin.
    fn value(&self, bin: usize) -> f32 {
        ((bin as f32 + 0.5) / Self::BINS as f32 * 2.0 - 1.0) * self.bound
    }

    /// The range whose 256 steps have the least squared error.
    fn range(&self) -> [f32; 2] {
        let used: Vec<(f32, f64)> = (0..Self::BINS)
            .filter(|bin| self.counts[*bin] > 0)
            .map(|bin| (self.value(bin), self.counts[bin] as f64))
            .collect();
        let low = used.first().map_or(-self.bound, |(value, _)| value.min(0.0));
        let high = used.last().map_or(self.bound, |(value, _)| value.max(0.0));
        let error = |share: f32| -> f64 {
            let (low, high) = (low * share, high * share);
            let rounding = f64::from((high - low) / 255.0).powi(2) / 12.0;
            let errors = used.iter().map(|(value, count)| {
                let cut = f64::from(value - value.clamp(low, high));
                count * (cut * cut + if cut == 0.0 { rounding } else { 0.0 })
            });
            errors.sum()
        };
        let shares = (20..=100).map(|percent| percent as f32 / 100.0);
        let best = shares.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(1.0);
        [low * best, high * best]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cut_off_what_is_rare_and_far() {
        let mut histogram = Histogram::new(&[100.0], &[1.0]);
        let near: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 / 100.0).collect();
        histogram.add(&near, &[1.0]);
        let [low, high] = histogram.range();
        assert!(low.abs() < 0.05 && (9.9..10.1).contains(&high), "{low} {high}");
        // One value in two million.
        (0..19).for_each(|_| histogram.add(&near, &[1.0]));
        histogram.add(&[100.0], &[1.0]);
        let high_with_one = histogram.range()[1];
        assert!(high_with_one < 60.0, "{high_with_one}");
    }

    #[test]
    fn factors_even_out_channels() {
        let largest_weights = vec![1.0, 1.0, 4.0, 1.0];
        let site = Site { shape: [1, 4, 1, 1], largest_weights, has_own_scales: true };
        let factors = factors(&site, &[1.0, 100.0, 4.0, 0.0]);
        assert!((factors[0] / factors[1] - 10.0).abs() < 1e-4);
        assert!((factors[0] - factors[2]).abs() < 1e-6);
        assert!((factors[3] - 1.0).abs() < 1e-6);
    }
}
