//! Runs every combination of some settings with several seeds each, one after the other, and makes one table of them. A sweep that was
//! interrupted continues where it was. `table.rs` writes the table.

mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use crate::dataset::DatasetName;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;
use crate::run::epoch_record::EpochRecord;
use crate::run::run_dir::RunDir;
use crate::run::{self, Evaluation};
use crate::settings::gallery::GalleryChoice;
use crate::settings::table::{TrainConfig, TrainOptions};

use table::csv;
pub use table::markdown;

/// The settings of a sweep.
#[derive(Debug, Clone, Default)]
pub struct SweepConfig {
    /// Settings of all runs. Those that the loss of a run cannot use, such as label smoothing, are left out of this run with a message.
    pub base: TrainOptions,
    /// Settings that vary, by their names in a `--config` file, and their values. Every combination is run.
    pub axes: Vec<(String, Vec<Value>)>,
    /// The seeds of each combination, without repetition.
    pub seeds: Vec<u64>,
}

/// A combination of settings, and the results of its runs so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The settings that vary, in the order of the axes.
    pub settings: Vec<(String, String)>,
    /// The seeds of the runs.
    pub seeds: Vec<u64>,
    /// The mAP for each seed; absent where training diverged.
    pub map: Vec<Option<f64>>,
    /// The mAP of the held-out images for each seed, where images are held out to choose constants. It is that of the epoch whose weights the
    /// run keeps: with patience the best one, else the last.
    pub validation_map: Vec<Option<f64>>,
    /// The mAP of class codes for each seed, where the loss has a classifier.
    pub class_code_map: Vec<Option<f64>>,
    /// The mAP by the scores of the classifier for each seed, where the loss has a classifier.
    pub posterior_map: Vec<Option<f64>>,
    /// The accuracy of the classifier on the queries for each seed, where the loss has a classifier.
    pub accuracy: Vec<Option<f64>>,
    /// The training time for each seed that did not diverge, in seconds.
    pub seconds: Vec<f64>,
}

/// How a run ended.
enum Outcome {
    Evaluated(Box<Evaluation>),
    Diverged,
}

/// The options of one combination, and the settings of the base that were left out of it.
struct Combination {
    options: TrainOptions,
    left_out: Vec<&'static str>,
}

/// Runs what is missing under `dir`, and writes `table.md`, `table.csv` and `table.json` there after each run.
///
/// # Errors
/// Those of a run, except divergence, which the table shows; and where `dir` has runs with other settings.
pub fn sweep(config: &SweepConfig, dir: &Path, progress: Progress) -> Result<Vec<Point>> {
    config.check()?;
    let combinations = config.combinations();
    // Everything is checked before the first run.
    let mut notes = BTreeSet::new();
    for settings in &combinations {
        for seed in &config.seeds {
            let Combination { options, left_out } = config.combination(settings, *seed)?;
            let loss = options.loss_name().to_owned();
            notes.extend(left_out.into_iter().map(|setting| (loss.clone(), setting)));
            options.resolve()?;
        }
    }
    for (loss, setting) in notes {
        progress.line(format!(
            "NOTE: {setting} is left out of the runs of {loss}, which cannot use it"
        ));
    }
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let (mut points, total) = (Vec::new(), combinations.len() * config.seeds.len());
    let mut number = 0;
    for settings in combinations {
        points.push(Point::new(&settings));
        for seed in &config.seeds {
            number += 1;
            let Some(point) = points.last_mut() else { continue };
            let path = dir.join(point.name(*seed));
            progress.line(format!("run {number} of {total}: {}", path.display()));
            let options = config.combination(&settings, *seed)?.options;
            point.seeds.push(*seed);
            match one(options, &path, progress)? {
                Outcome::Evaluated(evaluation) => {
                    point.map.push(Some(evaluation.metrics.map));
                    let run = RunDir::open(&path)?;
                    let patience = run.read_config()?.train.patience;
                    let kept = kept(run.read_metrics()?, patience);
                    point.validation_map.push(kept.and_then(|record| record.validation_map));
                    point.class_code_map.push(evaluation.class_code_map);
                    point.posterior_map.push(evaluation.posterior_map);
                    point.accuracy.push(evaluation.accuracy);
                    point.seconds.push(evaluation.seconds);
                }
                Outcome::Diverged => {
                    progress.line("training diverged");
                    point.map.push(None);
                    point.validation_map.push(None);
                    point.class_code_map.push(None);
                    point.posterior_map.push(None);
                    point.accuracy.push(None);
                }
            }
            let json = serde_json::to_string_pretty(&points)
                .map_err(|error| Error::Codes { reason: error.to_string() })?;
            for (name, text) in [
                ("table.md", markdown(&points)),
                ("table.csv", csv(&points)?),
                ("table.json", json),
            ] {
                files::write(&dir.join(name), text.as_bytes())?;
            }
        }
    }
    Ok(points)
}

/// The epoch whose weights a run keeps: with patience the first of the best ones, else the last.
fn kept(records: Vec<EpochRecord>, patience: usize) -> Option<EpochRecord> {
    if patience == 0 {
        return records.into_iter().next_back();
    }
    let scores = |record: &EpochRecord| record.validation_map.unwrap_or(f64::NEG_INFINITY);
    records.into_iter().reduce(|best, next| if scores(&next) > scores(&best) { next } else { best })
}

/// Makes one run: takes it from disk where it is complete, else finishes or starts it. A run that diverged is not trained again.
fn one(options: TrainOptions, path: &Path, progress: Progress) -> Result<Outcome> {
    let mut config = options.resolve()?;
    let done = match RunDir::open(path) {
        Err(_) => run::start(&without_gallery(config), Some(path), progress),
        Ok(run) => {
            let own = run.read_config()?.train;
            // A run that was begun keeps the thumbnails that it was to have.
            config.gallery = config.gallery.or(own.gallery);
            let mut differences = config.differences(&own)?;
            // The digest of the data is compared only when a run goes on.
            if run.is_complete() && is_elsewhere(&own, &config) {
                let [was, is] = [&own, &config].map(|config| config.data_dir.display());
                differences.push(format!("data_dir: {is}, {was}"));
            }
            if !differences.is_empty() {
                return Err(Error::Config {
                    name: "sweep",
                    got: format!(
                        "{} with other settings ({})",
                        path.display(),
                        differences.join("; ")
                    ),
                    expected: "another --dir, or the settings that the sweep began with".to_owned(),
                });
            }
            if run.is_complete() {
                return Ok(Outcome::Evaluated(run.read_json(RunDir::EVALUATION)?));
            }
            if run.file(RunDir::DIVERGED).exists() {
                return Ok(Outcome::Diverged);
            }
            run::resume_with_data(path, &config.data_dir, progress)
        }
    };
    match done {
        Ok((_, evaluation)) => Ok(Outcome::Evaluated(Box::new(evaluation))),
        Err(error @ Error::Diverged { .. }) => {
            let text = format!("{error}\n");
            RunDir::open(path)?.write(RunDir::DIVERGED, text.as_bytes())?;
            Ok(Outcome::Diverged)
        }
        Err(error) => Err(error),
    }
}

/// Thumbnails of the images are most of a run's bytes, and the table needs none: runs of a sweep have them where a setting asks for them.
fn without_gallery(config: TrainConfig) -> TrainConfig {
    TrainConfig { gallery: config.gallery.or(Some(GalleryChoice::None)), ..config }
}

/// Whether the data of `own` is still where it was, and that of `config` is somewhere else.
fn is_elsewhere(own: &TrainConfig, config: &TrainConfig) -> bool {
    let [was, is] = [own, config].map(|config| config.data_dir.canonicalize().ok());
    own.dataset != DatasetName::Demo && was.is_some() && was != is
}

impl SweepConfig {
    /// Refuses a sweep whose table would have a setting or a combination twice.
    ///
    /// # Errors
    /// Two axes of one name, a value that an axis has twice, or two combinations whose runs would have the same directory.
    fn check(&self) -> Result<()> {
        let wrong = |got: String, expected: &str| {
            Err(Error::Config { name: "sweep", got, expected: expected.to_owned() })
        };
        let mut names = BTreeSet::new();
        for (name, values) in &self.axes {
            if !names.insert(name) {
                return wrong(format!("over {name} twice"), "all values of a setting in one list");
            }
            let mut seen = BTreeSet::new();
            if let Some(twice) = values.iter().find(|value| !seen.insert(value.to_string())) {
                return wrong(format!("over {name} with {twice} twice"), "each value once");
            }
        }
        let mut directories = BTreeSet::new();
        for settings in self.combinations() {
            let path = Point::new(&settings).name(0);
            if !directories.insert(path.clone()) {
                let got = format!("two combinations with runs in {}", path.display());
                return wrong(got, "values that differ in more than `/`, `:`, `=` and spaces");
            }
        }
        Ok(())
    }

    /// Every combination; the last axis changes fastest.
    fn combinations(&self) -> Vec<Vec<(String, Value)>> {
        self.axes.iter().fold(vec![Vec::new()], |combinations, (name, values)| {
            let with = |combination: &Vec<(String, Value)>| {
                let each = values.iter().map(|value| (name.clone(), value.clone()));
                each.map(|entry| [&combination[..], &[entry]].concat()).collect::<Vec<_>>()
            };
            combinations.iter().flat_map(with).collect()
        })
    }

    /// The directory of each run under `dir` with its settings, in order.
    ///
    /// # Errors
    /// Those of the settings.
    pub fn resolved(&self, dir: &Path) -> Result<Vec<(PathBuf, TrainConfig)>> {
        self.check()?;
        let mut runs = Vec::new();
        for settings in self.combinations() {
            let point = Point::new(&settings);
            for seed in &self.seeds {
                let config = self.combination(&settings, *seed)?.options.resolve()?;
                runs.push((dir.join(point.name(*seed)), without_gallery(config)));
            }
        }
        Ok(runs)
    }

    fn combination(&self, settings: &[(String, Value)], seed: u64) -> Result<Combination> {
        let own: Table = settings.iter().cloned().collect();
        let varied = settings.iter().map(|(name, value)| format!("{name}={value}"));
        let varied = varied.collect::<Vec<_>>().join(", ");
        let own = TrainOptions::of_table(own, &format!("the combination {varied}"))?;
        let loss = own.clone().or(self.base.clone()).loss_name().to_owned();
        let (base, left_out) = self.base.clone().fitted_to(&loss);
        let options = TrainOptions { seed: Some(seed), ..own.or(base) };
        Ok(Combination { options, left_out })
    }
}

impl Point {
    fn new(settings: &[(String, Value)]) -> Self {
        let shown = |(name, value): &(String, Value)| {
            (name.clone(), value.to_string().trim_matches('"').to_owned())
        };
        Self {
            settings: settings.iter().map(shown).collect(),
            seeds: Vec::new(),
            map: Vec::new(),
            validation_map: Vec::new(),
            class_code_map: Vec::new(),
            posterior_map: Vec::new(),
            accuracy: Vec::new(),
            seconds: Vec::new(),
        }
    }

    fn name(&self, seed: u64) -> PathBuf {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}-{value}"));
        let parts: Vec<String> = settings.chain([format!("seed-{seed}")]).collect();
        parts.join("_").replace(['/', ' ', ':', '='], "-").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_and_in_order() {
        let axis = |name: &str, values: &[i64]| {
            (name.to_owned(), values.iter().map(|value| Value::Integer(*value)).collect())
        };
        let axes = vec![axis("bits", &[16, 32]), axis("batch_size", &[8, 16, 24])];
        let config = SweepConfig { axes, seeds: vec![0, 1], ..SweepConfig::default() };
        let combinations = config.combinations();
        assert_eq!(combinations.len(), 6);
        assert_eq!(combinations[1][1], ("batch_size".to_owned(), Value::Integer(16)));
        let options = config.combination(&combinations[5], 1).unwrap().options;
        assert_eq!((options.bits, options.batch_size, options.seed), (Some(32), Some(24), Some(1)));
        config.check().unwrap();
        for (axes, part) in [
            (vec![axis("bits", &[16]), axis("bits", &[32])], "over bits twice"),
            (vec![axis("bits", &[16, 32, 16])], "over bits with 16 twice"),
        ] {
            let error = SweepConfig { axes, ..config.clone() }.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let dirs = ["a/b", "a-b"].map(|dir| Value::String(dir.to_owned())).to_vec();
        let axes = vec![("data_dir".to_owned(), dirs)];
        let error = SweepConfig { axes, ..config.clone() }.check().unwrap_err().to_string();
        assert!(error.contains("two combinations with runs in data_dir-a-b"), "{error}");
        let wrong = SweepConfig { axes: vec![axis("bitz", &[1])], ..config };
        let error = wrong.combination(&wrong.combinations()[0], 0).err().unwrap().to_string();
        assert!(error.contains("bitz"), "{error}");
    }

    #[test]
    fn settings_that_a_loss_cannot_use_are_left_out_of_its_runs() {
        let base = TrainOptions {
            label_smoothing: Some(0.1),
            warmup: Some(0.25),
            epochs: Some(4),
            ..TrainOptions::default()
        };
        let losses = ["hi", "dpsh"].map(|name| Value::String(name.to_owned()));
        let axes = vec![("loss".to_owned(), losses.to_vec())];
        let config = SweepConfig { base, axes, seeds: vec![5] };
        let of_loss =
            |number: usize| config.combination(&config.combinations()[number], 5).unwrap();
        let (hi, dpsh) = (of_loss(0), of_loss(1));
        assert_eq!((hi.options.label_smoothing, &hi.left_out[..]), (Some(0.1), &[][..]));
        assert_eq!(
            (dpsh.options.label_smoothing, &dpsh.left_out[..]),
            (None, &["label_smoothing"][..])
        );
        let resolved = dpsh.options.resolve().unwrap();
        assert_eq!((resolved.seed, resolved.warmup_epochs), (5, 1.0));
        // A setting that varies is never left out: the table would show a value that was not used.
        let axes = vec![("label_smoothing".to_owned(), vec![Value::Float(0.1)])];
        let base = TrainOptions { loss: Some("dpsh".parse().unwrap()), ..TrainOptions::default() };
        let varied = SweepConfig { base, axes, seeds: vec![0] };
        let combination = varied.combination(&varied.combinations()[0], 0).unwrap();
        assert!(combination.options.resolve().is_err());
    }

    #[test]
    fn the_epoch_that_counts_is_the_one_whose_weights_are_kept() {
        let record = |epoch, validation_map| EpochRecord {
            epoch,
            loss: 0.5,
            accuracy: None,
            learning_rate: 0.1,
            images_per_second: 1.0,
            seconds: 1.0,
            validation_map,
            validation_accuracy: None,
        };
        let records = || [0.5, 0.7, 0.7, 0.6].map(Some).into_iter().zip(1..);
        let records = || records().map(|(map, epoch)| record(epoch, map)).collect::<Vec<_>>();
        assert_eq!(kept(records(), 2).map(|record| record.epoch), Some(2));
        assert_eq!(kept(records(), 0).map(|record| record.epoch), Some(4));
    }
}
