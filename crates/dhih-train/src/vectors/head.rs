//! Trains a hash layer on labelled vectors, such as embeddings, into a codec. The losses, the optimiser and the schedule are those of networks.
//! `train/trainer` trains a network with a frozen backbone in the same way, on features that it computes itself.

use std::collections::BTreeSet;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use dhih_index::{CodeSet, Codes, Labels};
use dhih_model::codec::{Codec, CodecConfig, Method, Rows, prepare_rows};
use dhih_model::loss::{Objective, ObjectiveConfig};
use dhih_model::{HashLayer, HashLayerConfig, Loss, Mode, Parameters};
use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::evaluation::{accuracy, leave_one_out_map};
use crate::progress::Progress;
use crate::settings::loss_options::LossOptions;
use crate::settings::options::Frozen;
use crate::train::batches::Order;
use crate::train::optim::{LossPart, Optimizer, OptimizerConfig, Step};
use crate::train::schedule::{Schedule, ScheduleName};

/// The fewest vectors of a step. Batch norm needs the statistics of several, and the sizes of batches differ by at most one.
const LEAST_BATCH: usize = 3;

/// The settings of the training.
#[derive(Debug, Clone)]
pub struct HeadConfig {
    /// Code length in bits.
    pub bits: usize,
    /// Shorter code lengths, ascending, whose first bits are codes of their own. Each length has its own loss, and the mean of all losses is
    /// trained.
    pub nested: Vec<usize>,
    /// Whether vectors are normalised to length 1 first.
    pub normalize: bool,
    /// The loss, and those of its constants that differ from its defaults.
    pub loss: LossOptions,
    /// Units of a hidden layer; 0 means none.
    pub hidden: usize,
    /// Passes over the vectors.
    pub epochs: usize,
    /// Vectors of a step.
    pub batch_size: usize,
    /// The highest learning rate, after the first epoch.
    pub learning_rate: f64,
    /// L2 penalty of weights.
    pub weight_decay: f64,
    /// The share of the labels' weight that is spread over all classes.
    pub label_smoothing: f64,
    /// The share of the labelled vectors that is held out for validation.
    pub validation: f64,
    /// The seed of weights and order.
    pub seed: u64,
}

impl Default for HeadConfig {
    /// 64 bits of normalised vectors by the HI loss, trained like a hash layer on a frozen backbone.
    fn default() -> Self {
        Self {
            bits: 64,
            nested: Vec::new(),
            normalize: true,
            loss: LossOptions::default(),
            hidden: Frozen::HASH_HIDDEN,
            epochs: Frozen::EPOCHS,
            batch_size: Frozen::BATCH_SIZE,
            learning_rate: Frozen::LEARNING_RATE,
            weight_decay: Frozen::WEIGHT_DECAY,
            label_smoothing: 0.0,
            validation: 0.0,
            seed: 0,
        }
    }
}

/// Vectors with their labels.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The vectors.
    pub rows: &'a dyn Rows,
    /// The labels of each vector. Vectors without a label are not trained on.
    pub labels: &'a Labels,
}

/// The result of training.
pub struct TrainedHead {
    /// The codec.
    pub codec: Codec,
    /// The number of vectors that were trained on.
    pub trained: usize,
    /// The results on the held-out vectors, where there are some.
    pub validation: Option<Validation>,
}

/// The results of a hash layer on held-out vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The mAP of their codes among themselves, each compared with all others except itself.
    pub map: f64,
    /// The share of vectors that the classifier of the loss classifies correctly; absent where the loss is pairwise and knows no classes.
    pub accuracy: Option<f64>,
}

/// Trains a hash layer and returns it as a codec.
///
/// # Errors
/// [`Error::Config`] where a setting is out of range, the number of labels is not that of vectors, there are fewer than two classes, or fewer
/// labelled vectors than a step needs; [`Error::Diverged`] where the loss is no longer finite; those of the vectors.
pub fn train_head(
    data: Labelled<'_>,
    config: &HeadConfig,
    progress: Progress,
) -> Result<TrainedHead> {
    config.check()?;
    let targets = Targets::new(data)?;
    let mut rows: Vec<usize> = (0..data.rows.len()).filter(|row| targets.has_label(*row)).collect();
    rows.shuffle(&mut dhih_model::named_rng(config.seed, "held out"));
    let held_out = rows.split_off(rows.len() - (rows.len() as f64 * config.validation) as usize);
    rows.sort_unstable();
    if rows.len() < LEAST_BATCH {
        let (name, got) = ("the number of labelled vectors to train on", rows.len().to_string());
        return Err(Error::Config { name, got, expected: format!("at least {LEAST_BATCH}") });
    }
    let training = Training::new(data, config, &targets)?;
    let started = Instant::now();
    let mut validation = None;
    for epoch in 1..=config.epochs {
        let loss = training.epoch(epoch, &rows, progress)?;
        validation = training.validate(&held_out)?;
        let mut line = format!("epoch {epoch}/{}  loss {loss:.4}", config.epochs);
        if let Some(Validation { map, accuracy }) = validation {
            line += &format!("  validation mAP {map:.4}");
            let accuracy = accuracy.map(|share| format!("  validation accuracy {share:.4}"));
            line += &accuracy.unwrap_or_default();
        }
        progress.line(line);
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.line(format!("trained on {} vectors in {seconds:.1} s", rows.len()));
    let codec = Codec::of_hash_layer(training.codec, &training.layer)?;
    Ok(TrainedHead { codec, trained: rows.len(), validation })
}

impl HeadConfig {
    fn check(&self) -> Result<()> {
        let rate = |x: f64| x.is_finite() && x > 0.0;
        let part = |x: f64| (0.0..1.0).contains(&x);
        let checks = [
            ("epochs", self.epochs.to_string(), self.epochs > 0, "at least 1".to_owned()),
            (
                "batch_size",
                self.batch_size.to_string(),
                self.batch_size >= LEAST_BATCH,
                format!("at least {LEAST_BATCH}"),
            ),
            (
                "learning_rate",
                self.learning_rate.to_string(),
                rate(self.learning_rate),
                "a positive number".to_owned(),
            ),
            (
                "weight_decay",
                self.weight_decay.to_string(),
                part(self.weight_decay),
                "0 to below 1".to_owned(),
            ),
            (
                "validation",
                self.validation.to_string(),
                (0.0..=0.9).contains(&self.validation),
                "0 (nothing is held out) to 0.9".to_owned(),
            ),
            (
                "label_smoothing",
                self.label_smoothing.to_string(),
                self.label_smoothing == 0.0
                    || part(self.label_smoothing) && !self.loss_of(self.bits)?.is_pairwise(),
                "0 to below 1, and 0 with a pairwise loss, which knows no classes".to_owned(),
            ),
            (
                "hidden",
                self.hidden.to_string(),
                self.hidden <= 65_536,
                "0 (none) to 65536".to_owned(),
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, got, _, expected)) => Err(Error::Config { name, got, expected }),
            None => Ok(()),
        }
    }

    /// The loss for codes of `bits`, checked.
    fn loss_of(&self, bits: usize) -> Result<Loss> {
        let loss = self.loss.clone().resolve(bits)?;
        loss.check()?;
        Ok(loss)
    }

    fn layer(&self, loss: &Loss) -> HashLayerConfig {
        let hidden = (self.hidden > 0).then_some(self.hidden);
        // Vectors from elsewhere may have any mean and scale.
        HashLayerConfig { feature_norm: true, hidden, norm: loss.hash_norm() }
    }
}

/// The classes of vectors, numbered among those that occur.
struct Targets<'a> {
    labels: &'a Labels,
    /// The labels that occur, in ascending order. Of labels in columns, these are all columns.
    classes: Vec<i64>,
}

impl<'a> Targets<'a> {
    fn new(data: Labelled<'a>) -> Result<Self> {
        let wrong = |name, got: String, expected: &str| {
            Err(Error::Config { name, got, expected: expected.to_owned() })
        };
        let Labelled { rows, labels } = data;
        if labels.len() != rows.len() {
            let expected = format!("{}, one for each vector", rows.len());
            return wrong("the number of labels", labels.len().to_string(), &expected);
        }
        let classes: Vec<i64> = match labels {
            Labels::Single(labels) => {
                let occurring: BTreeSet<i64> = labels.iter().copied().collect();
                if let Some(label) = occurring.iter().find(|label| **label < Labels::NONE) {
                    return wrong("label", label.to_string(), "a class from 0 on, or -1 for none");
                }
                occurring.into_iter().filter(|label| *label != Labels::NONE).collect()
            }
            Labels::MultiHot { classes, .. } => (0..*classes as i64).collect(),
            _ => Vec::new(),
        };
        if classes.len() < 2 {
            return wrong("the number of classes", classes.len().to_string(), "at least 2");
        }
        Ok(Self { labels, classes })
    }

    /// The numbers of the classes of a vector.
    fn of(&self, row: usize) -> Vec<usize> {
        match self.labels {
            Labels::Single(labels) => {
                self.classes.binary_search(&labels[row]).into_iter().collect()
            }
            Labels::MultiHot { classes, values } => {
                let columns = values[row * classes..(row + 1) * classes].iter().enumerate();
                columns.filter(|(_, value)| **value != 0).map(|(class, _)| class).collect()
            }
            _ => Vec::new(),
        }
    }

    fn has_label(&self, row: usize) -> bool {
        !self.of(row).is_empty()
    }

    /// The classes of rows as `[n, classes]` of 0 and 1.
    fn multi_hot(&self, rows: &[usize]) -> Vec<u8> {
        let mut values = vec![0; rows.len() * self.classes.len()];
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(self.classes.len())) {
            self.of(*row).into_iter().for_each(|class| values[class] = 1);
        }
        values
    }
}

/// The loss of the first bits of codes, for one code length.
struct LossOfLength {
    bits: usize,
    objective: Objective,
}

/// A hash layer in training.
struct Training<'a> {
    data: Labelled<'a>,
    config: &'a HeadConfig,
    targets: &'a Targets<'a>,
    codec: CodecConfig,
    layer: HashLayer,
    /// The losses of all lengths; the last one is that of whole codes.
    losses: Vec<LossOfLength>,
    optimizer: Optimizer,
}

impl<'a> Training<'a> {
    fn new(data: Labelled<'a>, config: &'a HeadConfig, targets: &'a Targets<'a>) -> Result<Self> {
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
    fn epoch(&self, number: usize, rows: &[usize], progress: Progress) -> Result<f64> {
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
    fn validate(&self, rows: &[usize]) -> Result<Option<Validation>> {
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

#[cfg(test)]
mod tests;
