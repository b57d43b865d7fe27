//! Trains a codec on two views of each vector, without labels. A second view is the embedding of another crop of a picture, of another sentence
//! with the same meaning, and the like. Training starts from a codec that is fitted to the vectors, and brings the codes of the views together.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use dhih_model::codec::{Codec, CodecConfig, FitConfig, Method, Rows, fit};
use dhih_model::loss::{CroVca, crovca};
use dhih_model::ops::dropout;
use dhih_model::{HashLayer, HashLayerConfig, HashNorm, Mode, Parameters};
use rand::RngCore;

use super::steps::{Batch, LEAST_BATCH, Steps, mean, prepared};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::options::Frozen;
use crate::train::optim::{Optimizer, OptimizerConfig, OptimizerName};

/// The settings of the training.
#[derive(Debug, Clone)]
pub struct ViewsConfig {
    /// The fit that training starts from. It says the lengths of codes, too, and the seed.
    pub start: FitConfig,
    /// The constants of the loss.
    pub loss: CroVca,
    /// Passes over the vectors.
    pub epochs: usize,
    /// Vectors of a step, each with its other view.
    pub batch_size: usize,
    /// The highest learning rate, after the first epoch, relative to the size of the weights.
    pub learning_rate: f64,
    /// The share of numbers that is left out of each vector in each step, where there are no other views. The others are scaled up.
    pub dropout: f64,
}

impl Default for ViewsConfig {
    /// 256 bits that start from ITQ.
    fn default() -> Self {
        Self {
            start: FitConfig::default(),
            loss: CroVca::default(),
            epochs: Frozen::EPOCHS,
            batch_size: Frozen::BATCH_SIZE,
            learning_rate: 0.05,
            dropout: 0.3,
        }
    }
}

/// Vectors with another view of each.
#[derive(Clone, Copy)]
pub struct TwoViews<'a> {
    /// The vectors. The fit that training starts from sees these alone.
    pub rows: &'a dyn Rows,
    /// Row i is another view of row i of the vectors. Where there are no others, each vector is its own other view, and a part of the numbers
    /// of both is left out ([`ViewsConfig::dropout`]).
    pub others: Option<&'a dyn Rows>,
}

/// Trains a codec on two views of each vector.
///
/// # Errors
/// [`Error::Config`] where a setting is out of range, or the views differ in their number or length; [`Error::Diverged`] where the loss is no
/// longer finite; those of the fit and of the vectors.
pub fn train_views(data: TwoViews<'_>, config: &ViewsConfig, progress: Progress) -> Result<Codec> {
    config.check()?;
    data.check()?;
    let (started, rows) = (Instant::now(), (0..data.rows.len()).collect::<Vec<_>>());
    let start = fit(data.rows, &config.start, &mut |_| ())?;
    let training = Training::new(data, config, &start, progress)?;
    for epoch in 1..=config.epochs {
        let loss = training.steps.epoch(epoch, &rows, |batch| training.loss(batch))?;
        progress.line(format!("epoch {epoch}/{}  loss {loss:.4}", config.epochs));
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.line(format!("trained on two views of {} vectors in {seconds:.1} s", rows.len()));
    Ok(Codec::of_hash_layer(training.codec, &training.layer)?)
}

impl ViewsConfig {
    fn check(&self) -> Result<()> {
        let Self { epochs, batch_size, learning_rate, dropout, .. } = *self;
        let wrong = |name, got, expected: &str| {
            Err(Error::Config { name, got, expected: expected.to_owned() })
        };
        if epochs == 0 {
            return wrong("epochs", epochs.to_string(), "at least 1");
        }
        if batch_size < LEAST_BATCH {
            return wrong("batch_size", batch_size.to_string(), &format!("at least {LEAST_BATCH}"));
        }
        if !(learning_rate.is_finite() && learning_rate > 0.0) {
            return wrong("learning_rate", learning_rate.to_string(), "a positive number");
        }
        if !(0.0..1.0).contains(&dropout) {
            return wrong("dropout", dropout.to_string(), "0 to below 1");
        }
        Ok(self.loss.check()?)
    }
}

impl TwoViews<'_> {
    fn check(&self) -> Result<()> {
        let Self { rows, others: Some(others) } = self else { return Ok(()) };
        if others.len() != rows.len() {
            let expected = format!("{}, one for each vector", rows.len());
            let (name, got) = ("the number of other views", others.len().to_string());
            return Err(Error::Config { name, got, expected });
        }
        if others.dims() != rows.dims() {
            let expected = format!("{}, as the vectors have", rows.dims());
            let (name, got) = ("the length of other views", others.dims().to_string());
            return Err(Error::Config { name, got, expected });
        }
        Ok(())
    }
}

/// A hash layer in training.
struct Training<'a> {
    data: TwoViews<'a>,
    config: &'a ViewsConfig,
    codec: CodecConfig,
    layer: HashLayer,
    steps: Steps,
}

impl<'a> Training<'a> {
    fn new(
        data: TwoViews<'a>,
        config: &'a ViewsConfig,
        start: &Codec,
        progress: Progress,
    ) -> Result<Self> {
        let codec = CodecConfig { method: Method::Head, ..start.config().clone() };
        let ViewsConfig { epochs, batch_size, learning_rate, .. } = *config;
        let seed = config.start.seed;
        let parameters = Parameters::seeded(seed);
        let vb = parameters.builder(DType::F32, &Device::Cpu).pp(LAYER);
        let layer = HashLayerConfig { feature_norm: false, hidden: None, norm: HashNorm::Batch };
        let layer = HashLayer::new(codec.dims, codec.bits, layer, vb)?;
        start_from(start, &parameters)?;
        let optimizer = OptimizerConfig { method: OptimizerName::AdamW, ..Default::default() };
        // The shifts of batch norm stay 0, so that each bit is set for about half of the vectors. If they were trained, all vectors could get
        // one code, on which all views agree. Batch norm cancels the bias of the linear layer.
        let is_trained = |name: &str| !name.ends_with(".bias");
        let optimizer = Optimizer::of_some(&parameters, optimizer, is_trained)?;
        let steps = Steps { epochs, batch_size, learning_rate, seed, optimizer, progress };
        Ok(Self { data, config, codec, layer, steps })
    }

    fn loss(&self, Batch { rows, step, .. }: Batch<'_>) -> Result<Tensor> {
        let CodecConfig { bits, nested, .. } = &self.codec;
        let mode = Mode::training_step(self.config.start.seed, step);
        // Batch norm takes both views together, because an encoder does not know which view a vector is.
        let v = self.layer.forward(&self.both_views(rows, step)?, mode)?;
        let of_length = |length: &usize| {
            let view =
                |first: usize| v.narrow(0, first, rows.len())?.narrow(1, 0, *length)?.contiguous();
            Ok(crovca(&view(0)?, &view(rows.len())?, &self.config.loss)?)
        };
        mean(nested.iter().chain([bits]).map(of_length).collect::<Result<_>>()?)
    }

    /// `[2 n, dims]`: the vectors `rows`, and behind them their other views.
    fn both_views(&self, rows: &[usize], step: usize) -> Result<Tensor> {
        let first = prepared(self.data.rows, rows, &self.codec)?;
        let Some(others) = self.data.others else {
            let mut draws = dhih_model::named_rng(self.config.start.seed, &format!("views {step}"));
            let twice = Tensor::cat(&[&first, &first], 0)?;
            return Ok(dropout(&twice, self.config.dropout, draws.next_u64())?);
        };
        let second = prepared(others, rows, &self.codec).map_err(of_other_views)?;
        Ok(Tensor::cat(&[first, second], 0)?)
    }
}

/// The name of the layer among the parameters.
const LAYER: &str = "hash_layer";

/// Sets the weights and biases of the layer to those of a fitted codec. Weights of 1 on the average make the learning rate relative; batch norm
/// cancels the factor.
fn start_from(codec: &Codec, parameters: &Parameters) -> Result<()> {
    let (bits, dims) = (codec.bits(), codec.dims());
    let Some((weight, bias)) = codec.affine() else {
        let (got, expected) = ("one with a hidden layer".to_owned(), "a linear map".to_owned());
        return Err(Error::Config { name: "start", got, expected });
    };
    let scale = (dims as f64).sqrt();
    let weight = (Tensor::from_vec(weight, (bits, dims), &Device::Cpu)? * scale)?;
    let bias = (Tensor::from_vec(bias, bits, &Device::Cpu)? * scale)?;
    let mut tensors = parameters.snapshot()?;
    tensors.insert(format!("{LAYER}.weight"), weight);
    tensors.insert(format!("{LAYER}.bias"), bias);
    Ok(parameters.load(&tensors)?)
}

fn of_other_views(error: dhih_model::Error) -> dhih_model::Error {
    match error {
        dhih_model::Error::Vectors { reason } => {
            dhih_model::Error::Vectors { reason: format!("of the other views, {reason}") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
