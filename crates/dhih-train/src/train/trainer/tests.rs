//! Every loss falls, and an interrupted training continues to the same weights.

use super::*;
use crate::dataset::DatasetName;
use crate::protocol::Protocol;
use crate::run::run_dir::NewRun;
use crate::settings::table::TrainOptions;
use dhih_model::Loss;

fn weights(trainer: &Trainer<'_>) -> Vec<(String, Vec<f32>)> {
    let weights = trainer.network.parameters().snapshot().unwrap().into_iter();
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    weights.map(|(name, tensor)| (name, flat(tensor))).collect()
}

/// The loss of all images as one batch. The loss of an epoch's steps cannot be compared, because HashNet's continuation changes the loss on the
/// way.
fn loss(trainer: &Trainer<'_>) -> f32 {
    let rows = &trainer.split.train[..];
    let images = trainer.dataset.gather(rows).unwrap();
    let targets = trainer.dataset.labels.multi_hot(rows, trainer.dataset.classes.len());
    let batch = Batch { rows, mirrored: vec![false; rows.len()], images, targets, mixed: 0.0 };
    let labels = batch.labels(&Device::Cpu).unwrap();
    let (v, _) = trainer.forward(&batch, 0..rows.len(), Mode::training_step(0, 0)).unwrap();
    let loss = trainer.network.objective().value(&v, &labels, 0.0).unwrap();
    loss.to_scalar().unwrap()
}

/// The settings of a training.
struct Case<'a> {
    dataset: &'a Dataset,
    split: &'a Split,
    run: &'a RunDir,
}

impl<'a> Case<'a> {
    /// Trains up to epoch `epochs`, from the beginning or from the state in a run.
    fn trained(
        &self,
        config: &'a TrainConfig,
        from: Option<&RunDir>,
        epochs: usize,
    ) -> Trainer<'a> {
        let data = (self.dataset, &self.split.train[..]);
        let network = network(config, data, None, &Device::Cpu).unwrap();
        let data = (self.dataset, self.split);
        let mut trainer = Trainer::new(config, network, data, Progress::Silent).unwrap();
        from.into_iter().for_each(|run| trainer.resume(run).unwrap());
        for number in trainer.records.len() + 1..=epochs {
            let record = trainer.epoch(number, self.run).unwrap();
            trainer.begun = None;
            trainer.records.push(record);
        }
        trainer
    }
}

#[test]
fn every_loss_falls_and_resumes_to_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let options = TrainOptions { demo_images: Some(50), ..TrainOptions::default() };
    let demo = options.resolve().unwrap().dataset_config();
    let dataset = Dataset::load(DatasetName::Demo, &demo).unwrap();
    let train: Vec<usize> = (0..dataset.len()).collect();
    let split = Split {
        protocol: Protocol::Demo,
        seed: 0,
        train,
        database: Vec::new(),
        queries: Vec::new(),
        validation: Vec::new(),
    };
    let plain = || TrainOptions {
        bits: Some(12),
        hash_hidden: Some(32),
        epochs: Some(6),
        batch_size: Some(16),
        learning_rate: Some(0.01),
        warmup_epochs: Some(0.0),
        flip: Some(false),
        shift: Some(0),
        ..TrainOptions::default()
    };
    let of_loss = |name: &str| TrainOptions { loss: Some(name.parse().unwrap()), ..plain() };
    let everything = TrainOptions {
        optimizer: Some("adamw".into()),
        schedule: Some("linear".into()),
        clip_norm: Some(1.0),
        label_smoothing: Some(0.1),
        accumulate: Some(2),
        ema_decay: Some(0.9),
        flip: Some(true),
        shift: Some(1),
        cutout: Some(4),
        color_jitter: Some(0.1),
        crop_scale: Some(0.9),
        cutmix: Some(0.5),
        ..plain()
    };
    let losses = Loss::ALL.into_iter().map(|(name, _)| (name, of_loss(name)));
    for (name, options) in losses.chain([("everything", everything)]) {
        let config = options.resolve().unwrap();
        let run = RunDir::create(&NewRun::At(dir.path().join(name)), name).unwrap();
        let case = Case { dataset: &dataset, split: &split, run: &run };
        let trained = |from: Option<&RunDir>, epochs: usize| case.trained(&config, from, epochs);
        let whole = trained(None, 6);
        trained(None, 2).save(&run).unwrap();
        let resumed = trained(Some(&run), 6);
        // The state is saved after every step, and the run is interrupted before the end of the third epoch.
        let hasty = TrainConfig { checkpoint_minutes: 1e-9, ..config.clone() };
        case.trained(&hasty, None, 3);
        let within = trained(Some(&run), 6);
        assert!(weights(&within) == weights(&whole), "{name} within an epoch");
        let losses = |trainer: &Trainer<'_>| -> Vec<_> {
            trainer.records[2..].iter().map(|record| (record.loss, record.accuracy)).collect()
        };
        assert_eq!(losses(&within), losses(&whole), "{name}");
        assert_eq!(resumed.records.len(), 6, "{name}");
        assert!(weights(&resumed) == weights(&whole), "{name}");
        let averages = |trainer: &Trainer<'_>| {
            trainer.average.iter().for_each(|average| average.exchange().unwrap());
            weights(trainer)
        };
        assert!(averages(&resumed) == averages(&whole), "{name}");
        let [before, after] = [loss(&trained(None, 0)), loss(&whole)];
        assert!(after < 0.95 * before, "{name}: {before} to {after}");
    }
}
