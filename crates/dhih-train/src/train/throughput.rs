//! Measures how fast a network trains and encodes on this machine, on random images. Reading and augmenting images is not included.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use dhih_model::ops::Recording;
use dhih_model::{
    Backbone, Calibration, Encoder, HashLayerConfig, InputShape, Loss, Mode, Network,
    NetworkConfig, Precision, named_rng,
};
use rand::RngCore;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::train::optim::{LossPart, Optimizer, OptimizerConfig, Step};

/// The kind of work that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Steps of forward, backward and update, from normalised images.
    Training,
    /// Codes, from pixels.
    Inference,
}

/// The settings of a measurement.
#[derive(Debug, Clone)]
pub struct ThroughputConfig {
    /// The backbone. It takes square RGB images, and a hash layer of 48 bits for 10 classes follows.
    pub backbone: Backbone,
    /// The side of the images, in pixels.
    pub side: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// What inference computes layers in.
    pub precision: Precision,
    /// The loss of the training step.
    pub loss: Loss,
    /// How many of the backbone's last blocks are trained; all of it where there is no number.
    pub train_last: Option<usize>,
    /// The duration of the measurement, after two steps of warm-up. At least three steps are measured.
    pub duration: Duration,
}

/// The result of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// The kind of work.
    pub work: Work,
    /// The size of the batch divided by the median time of a step.
    pub images_per_second: f64,
    /// The median time of a step, in seconds.
    pub step_seconds: f64,
    /// The number of measured steps.
    pub steps: usize,
}

/// A training step, simulated on more cores. Its tasks are run one after the other and timed, and each is assigned to the core that is free
/// first. This assumes that a core is as fast with the others busy as alone; in reality shared caches and memory make it slower.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulated {
    /// The number of cores.
    pub cores: usize,
    /// The time of a step, in seconds; the median of the recorded steps.
    pub step_seconds: f64,
    /// The part of it that does not run in parallel, in seconds.
    pub serial_seconds: f64,
}

/// The most images of a step, whose pixels are in memory.
const MOST_IMAGES: usize = 65_536;
const CLASSES: usize = 10;
const BITS: usize = 48;

impl ThroughputConfig {
    /// Runs a measurement.
    ///
    /// # Errors
    /// When the batch is empty, or the side too small for the backbone; those of the device.
    pub fn measure(&self, work: Work, device: &Device) -> Result<Throughput> {
        let (network, images) = self.network(device)?;
        match work {
            Work::Inference => {
                let mut codes = vec![0.0; self.batch_size * BITS];
                let encoder = match self.precision {
                    Precision::F32 => Encoder::new(network, String::new(), DType::F32)?,
                    Precision::Int8 => {
                        let few = &images[..network.config().input.len()];
                        let calibration = Calibration::measure(&network, "", few)?;
                        Encoder::int8(&network, String::new(), &calibration)?
                    }
                };
                self.times(work, |_| Ok(encoder.encode_into(&images, &mut codes)?))
            }
            Work::Training => {
                let training = Training::new(network, &images, device)?;
                self.times(work, |number| training.step(number))
            }
        }
    }

    /// Simulates training on the CPU for each number of cores.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn simulate(&self, cores: &[usize]) -> Result<Vec<Simulated>> {
        const RECORDED: usize = 3;
        if cores.is_empty() {
            return Ok(Vec::new());
        }
        let (network, images) = self.network(&Device::Cpu)?;
        let training = Training::new(network, &images, &Device::Cpu)?;
        (0..2).try_for_each(|number| training.step(number))?;
        let start = Recording::time_to_start();
        let simulate = |&cores: &usize| {
            let mut steps = Vec::with_capacity(RECORDED);
            for number in 0..RECORDED {
                let (done, recording) = Recording::of(cores, || Ok(training.step(2 + number)))?;
                done?;
                steps.push((recording.on(cores, start), recording.serial()));
            }
            steps.sort();
            let (step, serial) = steps[RECORDED / 2];
            let (step_seconds, serial_seconds) = (step.as_secs_f64(), serial.as_secs_f64());
            Ok(Simulated { cores, step_seconds, serial_seconds })
        };
        cores.iter().map(simulate).collect()
    }

    /// The network, and the pixels of a batch.
    fn network(&self, device: &Device) -> Result<(Network, Vec<u8>)> {
        let Self { backbone, side, batch_size, loss, .. } = *self;
        if !(1..=MOST_IMAGES).contains(&batch_size) {
            let (name, expected) = ("batch_size", format!("1 to {MOST_IMAGES}"));
            return Err(Error::Config { name, got: batch_size.to_string(), expected });
        }
        let input = InputShape::new(side, side, 3);
        let config = NetworkConfig {
            backbone,
            input,
            normalization: backbone.pretrained_normalization(),
            bits: BITS,
            hash_layer: HashLayerConfig { norm: loss.hash_norm(), ..Default::default() },
            loss,
            views: Default::default(),
            classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        };
        let mut network = Network::new(config, 0, device)?;
        if let Some(blocks) = self.train_last {
            network.train_last(blocks)?;
        }
        let mut images = vec![0; batch_size * input.len()];
        named_rng(0, "images").fill_bytes(&mut images);
        Ok((network, images))
    }

    fn times(&self, work: Work, mut step: impl FnMut(usize) -> Result<()>) -> Result<Throughput> {
        const WARM_UP: usize = 2;
        let mut seconds = Vec::new();
        (0..WARM_UP).try_for_each(&mut step)?;
        let began = Instant::now();
        while seconds.len() < 3 || began.elapsed() < self.duration {
            let started = Instant::now();
            step(WARM_UP + seconds.len())?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let (steps, step_seconds) = (seconds.len(), seconds[seconds.len() / 2]);
        let images_per_second = self.batch_size as f64 / step_seconds;
        Ok(Throughput { work, images_per_second, step_seconds, steps })
    }
}

/// A network in training, with a batch.
struct Training {
    network: Network,
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
}

impl Training {
    fn new(network: Network, images: &[u8], device: &Device) -> Result<Self> {
        let NetworkConfig { normalization, input, .. } = network.config();
        let x = normalization.apply(images, *input, device)?;
        let count = x.dim(0)?;
        let class = |i: usize| f32::from(i / CLASSES % CLASSES == i % CLASSES);
        let labels = (0..count * CLASSES).map(class).collect();
        let labels = Tensor::from_vec(labels, (count, CLASSES), device)?;
        let config = OptimizerConfig { weight_decay: 5e-4, ..OptimizerConfig::default() };
        let optimizer = Optimizer::new(network.parameters(), config)?;
        Ok(Self { network, optimizer, x, labels })
    }

    fn step(&self, number: usize) -> Result<()> {
        let Self { network, optimizer, x, labels } = self;
        let mode = Mode::training_step(0, number);
        let trace = network.trace(x, mode)?;
        let v = network.head(trace.features(), mode)?;
        let loss = network.objective().value(&v, labels, 0.0)?;
        let loss = LossPart { loss, weight: 1.0, trace: Some(trace) };
        optimizer.descend(loss, Step { number, learning_rate: 1e-3 })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(side: usize, batch_size: usize) -> ThroughputConfig {
        let (backbone, loss, duration) = (Backbone::SMALL, Loss::default(), Duration::ZERO);
        let precision = Precision::F32;
        let train_last = None;
        ThroughputConfig { backbone, side, batch_size, precision, loss, train_last, duration }
    }

    #[test]
    fn measures_both_kinds_of_work() {
        for work in [Work::Training, Work::Inference] {
            let throughput = config(8, 2).measure(work, &Device::Cpu).unwrap();
            assert!(throughput.steps == 3 && throughput.images_per_second > 0.0, "{throughput:?}");
            let images = throughput.images_per_second * throughput.step_seconds;
            assert!((images - 2.0).abs() < 1e-9);
        }
    }

    #[test]
    fn more_cores_take_less_time_in_the_simulation() {
        let simulated = config(32, 64).simulate(&[1, 4]).unwrap();
        let [one, four] = &simulated[..] else { panic!("{simulated:?}") };
        assert!(four.step_seconds < one.step_seconds, "{simulated:?}");
        assert!(simulated.iter().all(|it| it.serial_seconds <= it.step_seconds));
        assert!(config(32, 0).simulate(&[2]).is_err());
    }

    #[test]
    fn empty_batches_and_small_sides_are_refused() {
        for config in [config(8, 0), config(4, 2)] {
            assert!(config.measure(Work::Inference, &Device::Cpu).is_err(), "{config:?}");
        }
    }
}
