//! A network compiled for inference on the CPU: batch norm folded away, weights in the order in which they are used, buffers
//! kept from call to call. Images go through it a few at a time, so that their values stay in cache from layer to layer.
//!
//! [`lower`] turns layers into steps, [`compile`] gives their values places in stages, [`step`] is the arithmetic of each, [`stage`] runs
//! a sequence of them. Convolutions are computed in integers where a [`calibration`] is given; [`sites`] numbers them.

mod calibration;
mod compile;
mod linear;
mod lower;
mod sites;
mod stage;
mod step;

use std::sync::{Mutex, PoisonError};

use candle_core::DType;

use crate::config::{InputShape, NetworkConfig};
use crate::error::{Error, Result};
use crate::layer::Sequential;
use crate::network::Network;
use crate::ops::Buffer;
use crate::preprocess::NormalizationTable;

pub use self::calibration::Calibration;
use self::sites::{Site, Sites};
use self::stage::{Images, Stage};

/// A compiled network.
pub(crate) struct Inference {
    input: InputShape,
    /// The normalisation of pixels; `None` for a network that takes vectors.
    table: Option<NormalizationTable>,
    stages: Vec<Stage>,
    outputs: usize,
    /// What ran before left these: the values between two stages.
    between: Mutex<Vec<[Buffer; 2]>>,
}

impl Inference {
    /// The network's codes; nothing where it is not made of layers, or not to be run by operators of ours.
    ///
    /// # Errors
    /// When the layers do not fit each other.
    pub(crate) fn of_codes(network: &Network) -> Result<Option<Self>> {
        let new = |layers| Self::new(network, &layers, &mut Sites::in_f32());
        network.layers().map_or(Ok(None), new)
    }

    /// As [`Self::of_codes`], with convolutions in integers.
    ///
    /// # Errors
    /// As [`Self::of_codes`], and [`Error::Config`] where the calibration is that of another network.
    pub(crate) fn of_codes_in_int8(
        network: &Network,
        calibration: &Calibration,
    ) -> Result<Option<Self>> {
        let new = |layers| Self::calibrated(network, &layers, calibration);
        network.layers().map_or(Ok(None), new)
    }

    /// The network's features; nothing as above.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn of_features(network: &Network) -> Result<Option<Self>> {
        let new = |layers| Self::new(network, layers, &mut Sites::in_f32());
        network.backbone().layers().map_or(Ok(None), new)
    }

    /// As [`Self::of_features`], with convolutions in integers.
    ///
    /// # Errors
    /// As [`Self::of_codes_in_int8`].
    pub(crate) fn of_features_in_int8(
        network: &Network,
        calibration: &Calibration,
    ) -> Result<Option<Self>> {
        let new = |layers| Self::calibrated(network, layers, calibration);
        network.backbone().layers().map_or(Ok(None), new)
    }

    /// The network's features in f32, with its convolutions that can be computed in integers; nothing as above.
    ///
    /// # Errors
    /// As above.
    fn observed(network: &Network) -> Result<Option<(Self, Vec<Site>)>> {
        let Some(layers) = network.backbone().layers() else { return Ok(None) };
        let mut sites = Sites::in_f32();
        let inference = Self::new(network, layers, &mut sites)?;
        Ok(inference.map(|inference| (inference, sites.seen)))
    }

    /// The hash layer's outputs for the network's features, by [`Self::run_values`]; nothing as above.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn of_head(network: &Network) -> Result<Option<Self>> {
        if !is_run_by_ours(network) {
            return Ok(None);
        }
        let layers = network.hash_layer().layers().folded()?;
        Self::of_vectors(&layers, network.backbone().features()).map(Some)
    }

    /// Folded layers on vectors, by [`Self::run_values`].
    ///
    /// # Errors
    /// As above.
    pub(crate) fn of_vectors(layers: &Sequential, dims: usize) -> Result<Self> {
        Self::compiled(layers, InputShape::new(1, 1, dims), None, &mut Sites::in_f32())
    }

    /// The outputs of layers of the network that come first, for images that are normalised already, by [`Self::run_values`]; nothing as
    /// above.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn of_images(network: &Network, layers: &Sequential) -> Result<Option<Self>> {
        match is_run_by_ours(network) {
            true => {
                let (layers, input) = (layers.folded()?, network.config().input);
                Self::compiled(&layers, input, None, &mut Sites::in_f32()).map(Some)
            }
            false => Ok(None),
        }
    }

    /// The shape of one image.
    pub(crate) fn input(&self) -> InputShape {
        self.input
    }

    fn calibrated(
        network: &Network,
        layers: &Sequential,
        calibration: &Calibration,
    ) -> Result<Option<Self>> {
        let mut sites = Sites::calibrated(&calibration.sites);
        let inference = Self::new(network, layers, &mut sites)?;
        if inference.is_some() && !calibration.fits(&sites.seen) {
            let got = format!("that of a network with {} such layers", calibration.layers());
            let expected = format!("that of this network, with {}", sites.seen.len());
            return Err(Error::Config { name: "calibration", got, expected });
        }
        Ok(inference)
    }

    fn new(network: &Network, layers: &Sequential, sites: &mut Sites<'_>) -> Result<Option<Self>> {
        let NetworkConfig { input, normalization, .. } = network.config();
        if !is_run_by_ours(network) {
            return Ok(None);
        }
        let table = NormalizationTable::new(normalization);
        Self::compiled(&layers.folded()?, *input, Some(table), sites).map(Some)
    }

    fn compiled(
        layers: &Sequential,
        input: InputShape,
        table: Option<NormalizationTable>,
        sites: &mut Sites<'_>,
    ) -> Result<Self> {
        let outputs = layers.output(input)?.len();
        let stages = compile::compile(layers, input, sites)?;
        Ok(Self { input, table, stages, outputs, between: Mutex::default() })
    }

    /// The outputs of images. Each depends on its image alone, to the last bit, however many there are.
    ///
    /// # Shapes
    /// `images`: `[n, height, width, channels]` u8, `outputs`: `[n, outputs]`.
    pub(crate) fn run(&self, images: &[u8], outputs: &mut [f32]) {
        let Some(table) = &self.table else { return };
        let batches = images.chunks(self.input.inference_batch() * self.input.len());
        self.in_batches(batches.map(|pixels| Images::Pixels(pixels, table)), outputs);
    }

    /// As [`Self::run`], of images that are not to be normalised, or of vectors.
    ///
    /// # Shapes
    /// `values`: `[n, height, width, channels]`, `outputs`: `[n, outputs]`.
    pub(crate) fn run_values(&self, values: &[f32], outputs: &mut [f32]) {
        let batches = values.chunks(self.input.inference_batch() * self.input.len());
        self.in_batches(batches.map(Images::Values), outputs);
    }

    /// As [`Self::run`], showing the inputs of each site to `watch`, in place of outputs.
    fn observe(&self, images: &[u8], watch: &mut dyn FnMut(usize, &[f32])) {
        let Some(table) = &self.table else { return };
        let mut between = <[Buffer; 2]>::default();
        for pixels in images.chunks(self.input.inference_batch() * self.input.len()) {
            let n = pixels.len() / self.input.len();
            for (number, stage) in self.stages.iter().enumerate() {
                let [from, to] = &mut between;
                let images = match number {
                    0 => Images::Pixels(pixels, table),
                    _ => Images::Values(&from[..]),
                };
                stage.observe(images, to.resize(n * stage.outputs()), watch);
                between.swap(0, 1);
            }
        }
    }

    fn in_batches<'a>(
        &self,
        batches: impl Iterator<Item = Images<'a>> + Send,
        outputs: &mut [f32],
    ) {
        let take = || self.between.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut between = take().unwrap_or_default();
        let outputs = outputs.chunks_mut(self.input.inference_batch() * self.outputs);
        // On one of the pool's threads: from outside, each parallel loop would have to wake it up.
        rayon::scope(|_| {
            batches.zip(outputs).for_each(|(images, outputs)| {
                self.one_batch(images, outputs, &mut between);
            });
        });
        self.between.lock().unwrap_or_else(PoisonError::into_inner).push(between);
    }

    fn one_batch(&self, images: Images<'_>, outputs: &mut [f32], between: &mut [Buffer; 2]) {
        let n = outputs.len() / self.outputs;
        let [from, to] = between;
        let last = self.stages.len() - 1;
        for (number, stage) in self.stages.iter().enumerate() {
            let images = match number {
                0 => images,
                _ => Images::Values(&from[..]),
            };
            if number == last {
                return stage.run(images, n, outputs);
            }
            stage.run(images, n, to.resize(n * stage.outputs()));
            std::mem::swap(from, to);
        }
    }
}

/// Whether operators of ours run the network.
fn is_run_by_ours(network: &Network) -> bool {
    crate::ops::is_chosen(network.device(), DType::F32)
}

#[cfg(test)]
mod tests;
