//! The steps of training a hash layer on vectors: their order, learning rates and optimiser. `head.rs` and `views.rs` have the
//! losses.

use candle_core::{Device, Tensor};
use dhih_model::codec::{CodecConfig, Rows, prepare_rows};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::train::batches::Order;
use crate::train::optim::{LossPart, Optimizer, Step};
use crate::train::schedule::{Schedule, ScheduleName};

/// The fewest vectors of a step. Batch norm needs the statistics of several, and the sizes of batches differ by at most one.
pub(super) const LEAST_BATCH: usize = 3;

/// All steps of training.
pub(super) struct Steps {
    pub(super) epochs: usize,
    /// The most vectors of a step.
    pub(super) batch_size: usize,
    /// The highest learning rate, after the first epoch.
    pub(super) learning_rate: f64,
    /// The seed of the order.
    pub(super) seed: u64,
    pub(super) optimizer: Optimizer,
    pub(super) progress: Progress,
}

/// The vectors of a step.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) rows: &'a [usize],
    /// The number of the step, from 0.
    pub(super) step: usize,
    /// The share of training that is done.
    pub(super) done: f64,
}

impl Steps {
    /// Trains epoch `number`, counted from 1, on the vectors `rows`, and returns the mean loss.
    pub(super) fn epoch(
        &self,
        number: usize,
        rows: &[usize],
        loss_of: impl Fn(Batch<'_>) -> Result<Tensor>,
    ) -> Result<f64> {
        let Self { epochs, batch_size, learning_rate, seed, ref optimizer, progress } = *self;
        let order = Order::new(rows, batch_size, (seed, number));
        let per_epoch = order.len() as f64;
        let (warmup, steps) =
            (per_epoch.min(0.5 * per_epoch * epochs as f64), epochs as f64 * per_epoch);
        let schedule = Schedule { peak: learning_rate, warmup, steps, shape: ScheduleName::Cosine };
        let bar = progress.bar(&format!("epoch {number}/{epochs}"), rows.len());
        let mut sum = 0.0;
        for batch in 0..order.len() {
            let rows = order.batch(batch);
            let step = (number - 1) * order.len() + batch;
            let at = Step { number: step, learning_rate: schedule.rate(step) };
            let loss = loss_of(Batch { rows, step, done: step as f64 / steps })?;
            let loss = optimizer.descend(LossPart { loss, weight: 1.0, trace: None }, at)?;
            if !loss.is_finite() {
                let (batch, step, learning_rate) = (batch + 1, step + 1, at.learning_rate);
                return Err(Error::Diverged { loss, epoch: number, batch, step, learning_rate });
            }
            sum += f64::from(loss) * rows.len() as f64;
            bar.inc(rows.len() as u64);
        }
        bar.finish_and_clear();
        Ok(sum / rows.len() as f64)
    }
}

/// The vectors `rows`, `[n, dims]`, prepared for the hash layer.
pub(super) fn prepared(
    source: &dyn Rows,
    rows: &[usize],
    codec: &CodecConfig,
) -> dhih_model::Result<Tensor> {
    let mut values = Vec::with_capacity(rows.len() * codec.dims);
    for row in rows {
        source.read(*row..row + 1, &mut values)?;
    }
    prepare_rows(&mut values, codec, |at| rows[at])?;
    Ok(Tensor::from_vec(values, (rows.len(), codec.dims), &Device::Cpu)?)
}

/// The mean of the losses of all code lengths.
pub(super) fn mean(mut losses: Vec<Tensor>) -> Result<Tensor> {
    match losses.len() {
        1 => Ok(losses.remove(0)),
        _ => Ok(Tensor::stack(&losses, 0)?.mean(0)?),
    }
}
