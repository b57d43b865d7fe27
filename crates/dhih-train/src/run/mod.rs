//! A complete run: data, split, training, codes, evaluation. Each result is written to the run's directory.

pub(crate) mod data_record;
mod encoding;
pub(crate) mod epoch_record;
pub(crate) mod gallery;
pub mod int8;
pub(crate) mod origin;
pub(crate) mod run_dir;

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use dhih_model::loss::{Objective, ObjectiveConfig};
use dhih_model::walk::text_of;
use dhih_model::{Encoder, Network, Parameters, checkpoint};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, DatasetConfig, DatasetName};
use crate::error::{Error, Result};
use crate::evaluation::{
    EvaluationConfig, Metrics, accuracy, class_code_map, evaluate, posterior_map,
};
use crate::progress::Progress;
use crate::protocol::{Protocol, Split};
use crate::run::data_record::DataRecord;
use crate::run::encoding::{Encoded, EncodingConfig, Source};
use crate::run::origin::Origin;
use crate::run::run_dir::{NewRun, RunConfig, RunDir};
use crate::settings::gallery::GalleryChoice;
use crate::settings::table::TrainConfig;
use crate::train::device::device;
use crate::train::trainer::LastStep;
use crate::train::{parts, trainer};

/// The content of `evaluation.json`: the metrics and everything that they depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Which images were trained on, searched, and used as queries.
    pub protocol: Protocol,
    /// The data.
    pub dataset: DatasetRecord,
    /// The metrics of the codes.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The mAP of predicted classes used as codes; absent beyond 1,024 classes, and where the loss is pairwise.
    pub class_code_map: Option<f64>,
    /// The mAP of items ranked by the query's classifier alone: by its score for the class that each item was classified as, the most likely
    /// class first. Absent where `class_code_map` is, and in evaluations of older programs.
    #[serde(default)]
    pub posterior_map: Option<f64>,
    /// The share of labelled queries whose class the classifier of the loss predicts; absent where the loss is pairwise and knows no classes,
    /// and in evaluations of older programs.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// The time of training, in seconds.
    pub seconds: f64,
    /// The seed of weights, order and augmentation.
    pub seed: u64,
    /// The commit of the program that began the run.
    pub commit: String,
    /// The program and the machine that began the run; absent in evaluations of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Other programs or machines that continued the run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_by: Vec<Origin>,
    /// The backbone.
    pub backbone: String,
    /// The loss.
    pub loss: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// SHA-256 of the checkpoint.
    pub model_sha256: String,
}

/// The data of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// Which dataset.
    pub name: DatasetName,
    /// Everything about it that results depend on.
    #[serde(flatten)]
    pub record: DataRecord,
}

pub use origin::COMMIT;

/// Trains and evaluates in a new directory, `run_dir` or the next free one under `runs/`.
///
/// # Errors
/// Those of data, files, device and training. The directory then has what was complete.
pub fn start(
    config: &TrainConfig,
    run_dir: Option<&Path>,
    progress: Progress,
) -> Result<(RunDir, Evaluation)> {
    start_in(config, &NewRun::from(run_dir), progress)
}

/// As [`start`], with the directory at `place`.
///
/// # Errors
/// As [`start`].
pub fn start_in(
    config: &TrainConfig,
    place: &NewRun,
    progress: Progress,
) -> Result<(RunDir, Evaluation)> {
    // A missing device is reported before the data is read.
    device(&config.device, progress)?;
    let (dataset, split) = load(config, progress)?;
    // If there are no codewords for this number of classes, the run is refused before anything is written.
    let vb = Parameters::seeded(config.seed).builder(DType::F32, &Device::Cpu);
    let (loss, classes, bits) = (&config.loss, dataset.classes.len(), config.bits);
    Objective::new(ObjectiveConfig { loss, classes, bits }, &vb)?;
    let data = DataRecord::new(&dataset, &split);
    let (network, weights_sha256) = network(config, (&dataset, &split), progress)?;
    let stem = format!("{}-{}-{}", config.dataset.name(), loss.name(), config.bits);
    let run = RunDir::create(place, &stem)?;
    let _lock = run.lock_new()?;
    let (version, train) = (RunDir::VERSION, config.clone());
    let (origin, resumed_by) = (Some(Origin::here()), Vec::new());
    let data_record = data.clone();
    let record =
        RunConfig { version, weights_sha256, train, data: data_record, origin, resumed_by };
    // A directory with the settings is a run that can be resumed, so they come first.
    run.write_config(&record)?;
    run.write_json(RunDir::SPLIT, &split)?;
    let evaluation = finish(config, network, (&dataset, &split, data), &run, progress)?;
    Ok((run, evaluation))
}

/// Continues an interrupted run from its last complete state, as if it had not been interrupted, with the data in the same place as when the run
/// began.
///
/// # Errors
/// When the run is damaged, or its data is missing or changed; else as [`start`].
pub fn resume(run_dir: &Path, progress: Progress) -> Result<(RunDir, Evaluation)> {
    let data_dir = RunDir::open(run_dir)?.read_config()?.train.data_dir;
    resume_with_data(run_dir, &data_dir, progress)
}

/// As [`resume`], with the data in the folder `data_dir`. A digest tells whether it is the data that the run began with.
///
/// # Errors
/// As [`resume`].
pub fn resume_with_data(
    run_dir: &Path,
    data_dir: &Path,
    progress: Progress,
) -> Result<(RunDir, Evaluation)> {
    let run = RunDir::open(run_dir)?;
    let _lock = run.lock()?;
    let record = run.read_config()?;
    let RunConfig { weights_sha256, train, data, .. } = record.clone();
    let config = TrainConfig { data_dir: data_dir.to_owned(), ..train };
    config.check()?;
    let wrong = |reason: &str, cure: &str| Error::Data {
        path: config.data_dir.clone(),
        reason: reason.to_owned(),
        cure: cure.to_owned(),
    };
    if config.dataset != DatasetName::Demo && !config.data_dir.exists() {
        let reason = "the data of the run is not here";
        return Err(wrong(reason, "say where it is with `--resume RUN --data-dir DIR`"));
    }
    let (dataset, split) = load(&config, progress)?;
    if !data.is_of(&dataset, &split) {
        let reason = "the data is no longer what the run began with";
        return Err(wrong(reason, "restore it, or begin a new run"));
    }
    // The checkpoint has all weights except those that are frozen.
    let network = if run.checkpoint()?.exists() && !config.keeps_weights() {
        trainer::network(
            &config,
            (&dataset, &split.train),
            None,
            &device(&config.device, Progress::Silent)?,
        )?
    } else {
        let (network, sha256) = network(&config, (&dataset, &split), progress)?;
        if sha256 != weights_sha256 {
            let reason = format!(
                "they are {}, the run began with {}; restore them, or begin a new run",
                sha256.unwrap_or_default(),
                weights_sha256.unwrap_or_default()
            );
            let origin = config.weights.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(Error::weights(origin, reason));
        }
        network
    };
    note_origin(&run, record, progress)?;
    // It is that of the run, as its digest says, while the file may be missing or damaged.
    run.write_json(RunDir::SPLIT, &split)?;
    let evaluation = finish(&config, network, (&dataset, &split, data), &run, progress)?;
    Ok((run, evaluation))
}

/// Records and reports that the run continues with another program or on another machine.
fn note_origin(run: &RunDir, mut record: RunConfig, progress: Progress) -> Result<()> {
    let here = Origin::here();
    let differences = match record.resumed_by.last().or(record.origin.as_ref()) {
        Some(before) => here.differences(before),
        None => vec![format!("commit: {}, not recorded", here.commit)],
    };
    if differences.is_empty() {
        return Ok(());
    }
    progress.line(format!(
        "NOTE: the run goes on with another program or machine than before ({}), and may end in other bytes",
        differences.join("; ")
    ));
    record.resumed_by.push(here);
    run.write_config(&record)
}

/// The network before its first step, and the SHA-256 of its pretrained weights.
fn network(
    config: &TrainConfig,
    (dataset, split): (&Dataset, &Split),
    progress: Progress,
) -> Result<(Network, Option<String>)> {
    let (device, data) = (device(&config.device, Progress::Silent)?, (dataset, &split.train[..]));
    let Some(source) = &config.weights else {
        return Ok((trainer::network(config, data, None, &device)?, None));
    };
    let weights = source.open(progress)?;
    let network = trainer::network(config, data, Some((&weights, progress)), &device)?;
    Ok((network, Some(weights.sha256().to_owned())))
}

fn load(config: &TrainConfig, progress: Progress) -> Result<(Dataset, Split)> {
    let started = Instant::now();
    let dataset =
        Dataset::load(config.dataset, &DatasetConfig { progress, ..config.dataset_config() })?;
    for (path, reason) in &dataset.skipped {
        progress.line(format!("skipped {}: {reason}", text_of(path.as_os_str())));
    }
    if !dataset.skipped.is_empty() {
        progress.line(format!("skipped {} files in all", dataset.skipped.len()));
    }
    if let Some(summary) = dataset.left_out.summary() {
        progress.line(summary);
    }
    for warning in &dataset.warnings {
        progress.line(format!("warning: {warning}"));
    }
    if dataset.is_streamed() {
        progress.line("the images are read anew in each epoch: their pixels would take over 4 GiB");
    }
    if dataset.verified == Some(false) {
        let parts: String = dataset.verified_parts.iter().map(|part| format!(" {part};")).collect();
        progress.line(format!(
            "NOTE: {} is not verified to be the published data:{parts} every result will say so",
            config.data_dir.display()
        ));
    }
    let mut split = config.protocol.split(&dataset, config.split_seed)?;
    if config.validation > 0.0 {
        split = split.hold_out(&dataset, config.validation)?;
        if !split.validation_has_pairs(&dataset) {
            progress.line("warning: no two held-out images have a class in common: their mAP is always 0; raise --validation");
        }
    }
    parts::check(config, &split)?;
    progress.line(format!(
        "{}: {} images of {} classes in {:.1} s; protocol {}: train {}, database {}, queries {}",
        dataset.name.name(),
        dataset.len(),
        dataset.classes.len(),
        started.elapsed().as_secs_f64(),
        split.protocol.name(),
        split.train.len(),
        split.database.len(),
        split.queries.len()
    ));
    Ok((dataset, split))
}

fn finish(
    config: &TrainConfig,
    network: Network,
    (dataset, split, record): (&Dataset, &Split, DataRecord),
    run: &RunDir,
    progress: Progress,
) -> Result<Evaluation> {
    let network = trainer::train(config, network, (dataset, split), run, progress)?;
    checkpoint::save(&network, &run.file(RunDir::MODEL))?;

    let encoder = Encoder::load(&run.file(RunDir::MODEL), network.device())?;
    let started = Instant::now();
    let source = Source::new((config, &network, &encoder), (dataset, split), run, progress)?;
    let config_of = |rows, keeps_values| EncodingConfig { rows, keeps_values };
    let records = run.read_metrics()?;
    let encode = |rows: EncodingConfig<'_>| {
        source.encode(rows).map_err(|error| match records.last() {
            Some(last) => LastStep::of(last, config, split.train.len()).explain(error),
            None => error,
        })
    };
    let Encoded { set: database, classes: database_classes, .. } =
        encode(config_of(&split.database, false))?;
    let Encoded { set: queries, classes: query_classes, values } =
        encode(config_of(&split.queries, true))?;
    let images = split.database.len() + split.queries.len();
    progress.line(format!(
        "encoded {images} images, {:.0} images/s",
        images as f64 / started.elapsed().as_secs_f64()
    ));
    database.write(run.file(RunDir::CODES))?;
    queries.write(run.file(RunDir::QUERIES))?;

    let metrics = evaluate(&database, &queries, &EvaluationConfig::default())?;
    let classes = dataset.classes.len();
    let class_code_map = match (&database_classes, &query_classes) {
        (Some(a), Some(b)) => Some(class_code_map((&database, &queries), (a, b), classes)?),
        _ => None,
    };
    let posterior_map = match &database_classes {
        Some(predicted) => {
            let bits = encoder.bits();
            let scores = |rows: Range<usize>| {
                let scores = encoder.class_scores(&values[rows.start * bits..rows.end * bits])?;
                Ok(scores.unwrap_or_default())
            };
            Some(posterior_map((&database, &queries), predicted, classes, scores)?)
        }
        None => None,
    };
    run.write_query_values(values, encoder.bits())?;
    let accuracy = match (&queries.labels, &query_classes) {
        (Some(labels), Some(predicted)) => accuracy(labels, predicted),
        _ => None,
    };
    let RunConfig { origin, resumed_by, .. } = run.read_config()?;
    let evaluation = Evaluation {
        protocol: config.protocol,
        dataset: DatasetRecord { name: dataset.name, record },
        metrics,
        class_code_map,
        posterior_map,
        accuracy,
        seconds: records.last().map_or(0.0, |record| record.seconds),
        seed: config.seed,
        commit: origin.as_ref().map_or(COMMIT, |origin| &origin.commit).to_owned(),
        origin,
        resumed_by,
        backbone: config.backbone.name().to_owned(),
        loss: config.loss.name().to_owned(),
        epochs: config.epochs,
        model_sha256: encoder.model_sha256().to_owned(),
    };
    run.write_json(RunDir::EVALUATION, &evaluation)?;
    run.write(RunDir::RESULTS, evaluation.to_csv().as_bytes())?;
    // Thumbnails come last, because they can take long: results and `latest` are on disk before they are made.
    run.make_latest(progress)?;
    let choice = config.gallery.unwrap_or_else(|| GalleryChoice::default_for(split));
    if config.gallery.is_none() && choice == GalleryChoice::Queries {
        progress.line(format!(
            "thumbnails are kept of the queries alone, as there are {images} images; --gallery all keeps all"
        ));
    }
    gallery::write(&run.file(RunDir::GALLERY), dataset, split, choice)?;
    Ok(evaluation)
}

impl Evaluation {
    /// A header and one line, as in a table of runs.
    pub fn to_csv(&self) -> String {
        let Metrics { bits, queries, database, map, precision_radius_2, .. } = &self.metrics;
        let header = "protocol,dataset,verified,backbone,loss,bits,epochs,seed,queries,\
                      database,map,class_code_map,precision_radius_2,seconds,commit";
        let verified = self.dataset.record.verified.map(|v| v.to_string()).unwrap_or_default();
        let class_code = self.class_code_map.map(|map| map.to_string()).unwrap_or_default();
        format!(
            "{header}\n{},{},{verified},{},{},{bits},{},{},{queries},{database},{map},{class_code},\
             {precision_radius_2},{},{}\n",
            self.protocol.name(),
            self.dataset.name.name(),
            self.backbone,
            self.loss,
            self.epochs,
            self.seed,
            self.seconds,
            self.commit
        )
    }
}
