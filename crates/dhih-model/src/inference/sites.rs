//! The convolutions that can be computed in integers, by number: sites. Compiling asks here for each of them; so does what measures
//! a calibration, which needs to know what they are.

use crate::ops::{ByteScale, Filters, Geometry, InputScale, QuantizedConvolution};

/// What becomes of convolutions, and how many there have been.
#[derive(Debug)]
pub(super) struct Sites<'a> {
    scales: Option<&'a [SiteScale]>,
    pub(super) seen: Vec<Site>,
}

/// One convolution.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Site {
    /// The shape of the weights, `[out, in, kh, kw]`.
    pub(super) shape: [usize; 4],
    /// The largest absolute weight of each input channel.
    pub(super) largest_weights: Vec<f32>,
    /// Whether each pixel has a scale of its own.
    pub(super) has_own_scales: bool,
}

/// How the inputs of one convolution become bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SiteScale {
    /// The shape of the weights, `[out, in, kh, kw]`.
    pub(super) shape: [usize; 4],
    /// The factor that each input channel is multiplied by.
    pub(super) factors: Vec<f32>,
    /// The lowest and the highest input after the multiplication by the factors.
    pub(super) range: [f32; 2],
}

impl<'a> Sites<'a> {
    /// All convolutions are computed in f32.
    pub(super) fn in_f32() -> Self {
        Self { scales: None, seen: Vec::new() }
    }

    /// The convolutions that `scales` has are computed in integers.
    pub(super) fn calibrated(scales: &'a [SiteScale]) -> Self {
        Self { scales: Some(scales), seen: Vec::new() }
    }

    /// The number of a convolution that can be computed in integers. Those of a single pixel are left as they are: few operations, and
    /// the last ones before the code or a gate of channels among them.
    pub(super) fn number(&mut self, geometry: &Geometry, weight: &[f32]) -> Option<usize> {
        if !QuantizedConvolution::is_for(geometry) || geometry.out.0 * geometry.out.1 == 1 {
            return None;
        }
        let shape = geometry.weight_shape();
        let [_, channels, height, width] = shape;
        let mut largest_weights = vec![0f32; channels];
        for filter in weight.chunks_exact(channels * height * width) {
            for (largest, taps) in largest_weights.iter_mut().zip(filter.chunks(height * width)) {
                *largest = taps.iter().fold(*largest, |most, x| most.max(x.abs()));
            }
        }
        let has_own_scales = QuantizedConvolution::has_own_scales(geometry);
        self.seen.push(Site { shape, largest_weights, has_own_scales });
        Some(self.seen.len() - 1)
    }

    /// The convolution in integers where there is a calibration that knows it.
    pub(super) fn quantized(
        &self,
        site: usize,
        geometry: Geometry,
        filters: Filters<'_>,
    ) -> Option<QuantizedConvolution> {
        let SiteScale { shape, factors, range } = self.scales?.get(site)?;
        if *shape != self.seen[site].shape {
            return None;
        }
        let scale = ByteScale::of_range(range[0], range[1]);
        let input = InputScale { factors, scale };
        Some(QuantizedConvolution::new(geometry, filters, input))
    }
}
