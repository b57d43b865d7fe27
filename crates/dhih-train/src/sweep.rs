//! Many runs of one kind: every combination of some settings, several seeds each, one after the other, and one table of them.
//! What was cut off goes on where it was.

use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;
use crate::run::run_dir::RunDir;
use crate::run::{self, Evaluation};
use crate::settings::options::TrainOptions;

/// What is swept.
#[derive(Debug, Clone, Default)]
pub struct SweepConfig {
    /// Settings of all runs, by the names of a `--config` file.
    pub base: Table,
    /// Settings that vary and their values; every combination is run.
    pub axes: Vec<(String, Vec<Value>)>,
    /// Runs of each combination, with the seeds 0, 1, 2 and so on.
    pub seeds: u64,
}

/// A combination of settings and the runs of it so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The settings that vary, in the order of the axes.
    pub settings: Vec<(String, String)>,
    /// mAP of each seed; absent where training diverged.
    pub map: Vec<Option<f64>>,
    /// mAP of the held-out images of each seed after its last epoch, where some are held out: what constants are chosen by.
    pub validation_map: Vec<Option<f64>>,
    /// mAP of class codes of each seed, where the loss has a classifier.
    pub class_code_map: Vec<Option<f64>>,
    /// Training time of each seed.
    pub seconds: Vec<f64>,
}

/// Runs what is still missing under `dir` and writes `table.md` and `table.csv` there after each run.
///
/// # Errors
/// Those of a run, but for divergence, which the table shows; and where `dir` holds runs with other settings.
pub fn sweep(config: &SweepConfig, dir: &Path, progress: Progress) -> Result<Vec<Point>> {
    let combinations = config.combinations();
    // Everything is checked before anything is run.
    for settings in &combinations {
        (0..config.seeds)
            .try_for_each(|seed| config.options(settings, seed)?.resolve().map(drop))?;
    }
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let (mut points, total) = (Vec::new(), combinations.len() as u64 * config.seeds);
    for settings in combinations {
        let shown = |(name, value): &(String, Value)| {
            (name.clone(), value.to_string().trim_matches('"').to_owned())
        };
        points.push(Point {
            settings: settings.iter().map(shown).collect(),
            map: Vec::new(),
            validation_map: Vec::new(),
            class_code_map: Vec::new(),
            seconds: Vec::new(),
        });
        for seed in 0..config.seeds {
            let number = (points.len() as u64 - 1) * config.seeds + seed + 1;
            let Some(point) = points.last_mut() else { continue };
            let path = dir.join(point.name(seed));
            progress.line(format!("run {number} of {total}: {}", path.display()));
            match one(&config.options(&settings, seed)?, &path, progress) {
                Ok(evaluation) => {
                    point.map.push(Some(evaluation.metrics.map));
                    let last = RunDir::open(&path)?.read_metrics()?.pop();
                    point.validation_map.push(last.and_then(|record| record.validation_map));
                    point.class_code_map.push(evaluation.class_code_map);
                    point.seconds.push(evaluation.seconds);
                }
                Err(Error::Diverged { .. }) => {
                    progress.line("training diverged");
                    point.map.push(None);
                    point.validation_map.push(None);
                    point.class_code_map.push(None);
                }
                Err(error) => return Err(error),
            }
            for (name, text) in [("table.md", markdown(&points)), ("table.csv", csv(&points))] {
                files::write(&dir.join(name), text.as_bytes())?;
            }
        }
    }
    Ok(points)
}

/// One run: what is there already, the rest of it, or all of it.
fn one(options: &TrainOptions, path: &Path, progress: Progress) -> Result<Evaluation> {
    let config = options.clone().resolve()?;
    let Ok(run) = RunDir::open(path) else {
        return Ok(run::start(&config, Some(path), progress)?.1);
    };
    let differences = config.differences(&run.read_config()?.train);
    if !differences.is_empty() {
        return Err(Error::Config {
            name: "sweep",
            got: format!("{} with other settings ({})", path.display(), differences.join("; ")),
            expected: "another --dir, or the settings that the sweep began with".to_owned(),
        });
    }
    match run.file(RunDir::EVALUATION).exists() {
        true => run.read_json(RunDir::EVALUATION),
        false => Ok(run::resume_with_data(path, &config.data_dir, progress)?.1),
    }
}

impl SweepConfig {
    /// Every combination, the last axis changing fastest.
    fn combinations(&self) -> Vec<Vec<(String, Value)>> {
        self.axes.iter().fold(vec![Vec::new()], |combinations, (name, values)| {
            let with = |combination: &Vec<(String, Value)>| {
                let each = values.iter().map(|value| (name.clone(), value.clone()));
                each.map(|entry| [&combination[..], &[entry]].concat()).collect::<Vec<_>>()
            };
            combinations.iter().flat_map(with).collect()
        })
    }

    fn options(&self, settings: &[(String, Value)], seed: u64) -> Result<TrainOptions> {
        let mut table = self.base.clone();
        table.extend(settings.iter().cloned());
        table.insert("seed".to_owned(), Value::Integer(seed as i64));
        table.try_into().map_err(|error: toml::de::Error| Error::Config {
            name: "sweep",
            got: error.message().to_owned(),
            expected: "settings as `--config` files have them".to_owned(),
        })
    }
}

impl Point {
    fn name(&self, seed: u64) -> PathBuf {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}-{value}"));
        let parts: Vec<String> = settings.chain([format!("seed-{seed}")]).collect();
        parts.join("_").replace(['/', ' '], "-").into()
    }
}

/// Mean and sample standard deviation; the latter of two values and more.
fn mean_and_spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (values.len() > 1).then(|| (square / (n - 1.0)).sqrt()))
}

/// The table in Markdown: a line a combination, means over its seeds with their spread.
pub fn markdown(points: &[Point]) -> String {
    let names = points.first().map_or(&[][..], |point| &point.settings);
    let names = names.iter().map(|(name, _)| format!(" {name} |")).collect::<String>();
    let rule = "---|".repeat(names.matches('|').count());
    let mut text = format!(
        "|{names} runs | validation mAP | mAP | class code | seconds |\n\
         |{rule}---:|---:|---:|---:|---:|\n"
    );
    for point in points {
        let figure = |values: &[Option<f64>]| {
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            let (mean, spread) = mean_and_spread(&known);
            match (known.len(), spread) {
                (0, _) => "-".to_owned(),
                (_, None) => format!("{mean:.4}"),
                (_, Some(spread)) => format!("{mean:.4} +- {spread:.4}"),
            }
        };
        let diverged = point.map.iter().filter(|map| map.is_none()).count();
        let runs = match diverged {
            0 => point.map.len().to_string(),
            diverged => format!("{} ({diverged} diverged)", point.map.len()),
        };
        let seconds = match point.seconds.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.0}", mean_and_spread(&point.seconds).0),
        };
        let settings = point.settings.iter().map(|(_, value)| format!(" {value} |"));
        text += &format!(
            "|{} {runs} | {} | {} | {} | {seconds} |\n",
            settings.collect::<String>(),
            figure(&point.validation_map),
            figure(&point.map),
            figure(&point.class_code_map)
        );
    }
    text
}

/// A header, and a line a run.
fn csv(points: &[Point]) -> String {
    let names = points.first().map_or(&[][..], |point| &point.settings);
    let names: String = names.iter().map(|(name, _)| format!("{name},")).collect();
    let mut text = format!("{names}seed,validation_map,map,class_code_map\n");
    for point in points {
        let settings: String =
            point.settings.iter().map(|(_, value)| format!("{value},")).collect();
        for seed in 0..point.map.len() {
            let number = |values: &[Option<f64>]| values[seed].map(|x| x.to_string());
            let of = [&point.validation_map, &point.map, &point.class_code_map];
            let of = of.map(|values| number(values).unwrap_or_default());
            text += &format!("{settings}{seed},{}\n", of.join(","));
        }
    }
    text
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
        let config = SweepConfig { axes, seeds: 2, ..SweepConfig::default() };
        let combinations = config.combinations();
        assert_eq!(combinations.len(), 6);
        assert_eq!(combinations[1][1], ("batch_size".to_owned(), Value::Integer(16)));
        let options = config.options(&combinations[5], 1).unwrap();
        assert_eq!((options.bits, options.batch_size, options.seed), (Some(32), Some(24), Some(1)));
        let wrong = SweepConfig { axes: vec![axis("bitz", &[1])], ..config };
        let error = wrong.options(&wrong.combinations()[0], 0).unwrap_err().to_string();
        assert!(error.contains("bitz"), "{error}");
    }

    #[test]
    fn the_table_has_means_spreads_and_what_diverged() {
        let point = |loss: &str, map: &[Option<f64>]| Point {
            settings: vec![("loss".to_owned(), loss.to_owned())],
            map: map.to_vec(),
            validation_map: map.iter().map(|map| map.map(|map| map - 0.1)).collect(),
            class_code_map: vec![None; map.len()],
            seconds: vec![10.0, 20.0],
        };
        let points = [point("hi", &[Some(0.5), Some(0.7)]), point("csq", &[Some(0.25), None])];
        let text = markdown(&points);
        assert!(
            text.contains("| hi | 2 | 0.5000 +- 0.1414 | 0.6000 +- 0.1414 | - | 15 |"),
            "{text}"
        );
        assert!(text.contains("| csq | 2 (1 diverged) | 0.1500 | 0.2500 | - | 15 |"), "{text}");
        assert_eq!(csv(&points).lines().nth(4), Some("csq,1,,,"));
        assert_eq!(points[0].name(3), Path::new("loss-hi_seed-3"));
    }
}
