//! The training of a hash layer on labelled vectors: its loss, and its evaluation on held-out vectors.

use candle_core::{DType, Device, Tensor};
use dhih_index::{CodeSet, Codes, Labels};
use dhih_model::codec::{CodecConfig, Method};
use dhih_model::loss::{Objective, ObjectiveConfig};
use dhih_model::{HashLayer, Mode, Parameters};

use super::targets::Targets;
use super::{HeadConfig, Labelled, Validation};
use crate::error::Result;
use crate::evaluation::{accuracy, leave_one_out_map};
use crate::progress::Progress;
use crate::train::optim::{Optimizer, OptimizerConfig};
use crate::vectors::steps::{Batch, Steps, mean, prepared};

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
    steps: Steps,
}

impl<'a> Training<'a> {
    pub(super) fn new(
        data: Labelled<'a>,
        config: &'a HeadConfig,
        targets: &'a Targets<'a>,
        progress: Progress,
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
        let HeadConfig { epochs, batch_size, learning_rate, seed, .. } = *config;
        let steps = Steps { epochs, batch_size, learning_rate, seed, optimizer, progress };
        Ok(Self { data, config, targets, codec, layer, losses, steps })
    }

    /// Trains epoch `number`, counted from 1, on the vectors `rows`, and returns the mean loss.
    pub(super) fn epoch(&self, number: usize, rows: &[usize]) -> Result<f64> {
        self.steps.epoch(number, rows, |batch| self.loss(batch))
    }

    fn loss(&self, Batch { rows, step, done }: Batch<'_>) -> Result<Tensor> {
        let HeadConfig { seed, label_smoothing, .. } = *self.config;
        let v = self.layer.forward(&self.vectors(rows)?, Mode::training_step(seed, step))?;
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
        mean(self.losses.iter().map(part).collect::<Result<_>>()?)
    }

    /// The vectors `rows`, `[n, dims]`, prepared for the hash layer.
    fn vectors(&self, rows: &[usize]) -> Result<Tensor> {
        Ok(prepared(self.data.rows, rows, &self.codec)?)
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
