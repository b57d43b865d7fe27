//! The training of a hash layer on vectors: its steps, and its evaluation on held-out vectors.

use candle_core::{DType, Device, Tensor};
use dhih_index::{CodeSet, Codes, Labels};
use dhih_model::codec::{CodecConfig, Method, prepare_rows};
use dhih_model::loss::{Objective, ObjectiveConfig};
use dhih_model::{HashLayer, Mode, Parameters};

use super::targets::Targets;
use super::{HeadConfig, Labelled, Validation};
use crate::error::{Error, Result};
use crate::evaluation::{accuracy, leave_one_out_map};
use crate::progress::Progress;
use crate::train::batches::Order;
use crate::train::optim::{LossPart, Optimizer, OptimizerConfig, Step};
use crate::train::schedule::{Schedule, ScheduleName};

/// The loss of the first bits of codes, for one code length.
struct LossOfLength {
    bits: usize,
    objective: Objective,
}

/// A hash layer in training.
pub(super) struct Training<'a> {
    data: Labelled<'a>,
    config: &'a HeadConfig,
    targets: &'a Targets<'a>,
    pub(super) codec: CodecConfig,
    pub(super) layer: HashLayer,
    /// The losses of all lengths; the last one is that of whole codes.
    losses: Vec<LossOfLength>,
    optimizer: Optimizer,
}

impl<'a> Training<'a> {
    pub(super) fn new(
        data: Labelled<'a>,
        config: &'a HeadConfig,
        targets: &'a Targets<'a>,
    ) -> Result<Self> {
        let HeadConfig { bits, nested, normalize, .. } = config.clone();
        let dims = data.rows.dims();
        let codec = CodecConfig { method: Method::Head, dims, bits, normalize, nested };
        codec.check()?;
        let parameters = Parameters::seeded(config.seed);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let loss = config.loss_of(bits)?;
        let layer = HashLayer::new(dims, bits, config.layer(&loss), vb.pp("hash_layer"))?;
        let classes = targets.classes.len();
        let of_length = |(length, vb)| -> Result<LossOfLength> {
            let loss = &config.loss_of(length)?;
            let objective = Objective::new(ObjectiveConfig { loss, classes, bits: length }, &vb)?;
            Ok(LossOfLength { bits: length, objective })
        };
        let nested = codec.nested.iter().map(|length| (*length, vb.pp(format!("first_{length}"))));
        let losses = nested.chain([(bits, vb.clone())]).map(of_length).collect::<Result<_>>()?;
        let optimizer = OptimizerConfig { weight_decay: config.weight_decay, ..Default::default() };
        let optimizer = Optimizer::new(&parameters, optimizer)?;
        Ok(Self { data, config, targets, codec, layer, losses, optimizer })
    }

    /// Trains one epoch on the vectors `rows`, and returns the mean loss.
    pub(super) fn epoch(&self, number: usize, rows: &[usize], progress: Progress) -> Result<f64> {
        let HeadConfig { seed, batch_size, epochs, learning_rate, .. } = *self.config;
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
            let loss = self.step(rows, at, step as f64 / steps)?;
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

    /// Takes one step on the vectors `rows`, when the share `done` of training is done, and returns the loss.
    fn step(&self, rows: &[usize], at: Step, done: f64) -> Result<f32> {
        let HeadConfig { seed, label_smoothing, .. } = *self.config;
        let v = self.layer.forward(&self.vectors(rows)?, Mode::training_step(seed, at.number))?;
        let shape = (rows.len(), self.targets.classes.len());
        let labels = Tensor::from_vec(self.targets.multi_hot(rows), shape, &Device::Cpu)?;
        let labels = labels.to_dtype(DType::F32)?;
        let part = |LossOfLength { bits, objective }: &LossOfLength| {
            let v = v.narrow(1, 0, *bits)?.contiguous()?;
            let loss = match label_smoothing {
                0.0 => objective.value(&v, &labels, done)?,
                smoothing => objective.smoothed(&v, &labels, done, smoothing)?,
            };
            Ok(loss)
        };
        let mut losses = self.losses.iter().map(part).collect::<Result<Vec<Tensor>>>()?;
        let loss = match losses.len() {
            1 => losses.remove(0),
            _ => Tensor::stack(&losses, 0)?.mean(0)?,
        };
        self.optimizer.descend(LossPart { loss, weight: 1.0, trace: None }, at)
    }

    /// The vectors `rows`, `[n, dims]`, prepared for the hash layer.
    fn vectors(&self, rows: &[usize]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(rows.len() * self.codec.dims);
        for row in rows {
            self.data.rows.read(*row..row + 1, &mut values)?;
        }
        prepare_rows(&mut values, &self.codec, |at| rows[at])?;
        Ok(Tensor::from_vec(values, (rows.len(), self.codec.dims), &Device::Cpu)?)
    }

    /// Evaluates the held-out vectors `rows`; `None` where there are none.
    pub(super) fn validate(&self, rows: &[usize]) -> Result<Option<Validation>> {
        let Some(LossOfLength { bits, objective }) = self.losses.last() else { return Ok(None) };
        if rows.is_empty() {
            return Ok(None);
        }
        let (mut values, mut predicted) = (Vec::new(), Vec::new());
        for rows in rows.chunks(self.config.batch_size) {
            let v = self.layer.forward(&self.vectors(rows)?, Mode::Evaluation)?;
            values.extend(v.flatten_all()?.to_vec1::<f32>()?);
            if let Some(classes) = objective.classify(&v)? {
                predicted.extend(classes.to_vec1::<u32>()?);
            }
        }
        let (classes, multi_hot) = (self.targets.classes.len(), self.targets.multi_hot(rows));
        let labels = Labels::MultiHot { classes, values: multi_hot };
        let is_classified = !predicted.is_empty();
        let accuracy = is_classified.then(|| accuracy(&labels, &predicted)).flatten();
        let mut set = CodeSet::new(Codes::from_real(*bits as u32, &values)?);
        set.labels = Some(labels);
        Ok(Some(Validation { map: leave_one_out_map(&set)?, accuracy }))
    }
}
