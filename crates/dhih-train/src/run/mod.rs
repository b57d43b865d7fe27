//! A whole run: data, split, training, codes, evaluation, each written to the run's directory.

pub(crate) mod gallery;
pub(crate) mod run_dir;

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use dhih_index::{CodeSet, Codes};
use dhih_model::loss::Objective;
use dhih_model::{Encoder, Network, Parameters, checkpoint};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, DatasetConfig, DatasetName};
use crate::error::{Error, Result};
use crate::evaluation::{EvaluationConfig, Metrics, class_code_map, evaluate};
use crate::progress::Progress;
use crate::protocol::{Protocol, Split};
use crate::run::gallery::GalleryChoice;
use crate::run::run_dir::{DataRecord, RunConfig, RunDir};
use crate::settings::config::TrainConfig;
use crate::train::device::device;
use crate::train::trainer;

/// `evaluation.json`: the metrics and everything they depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Which images were trained on, searched, and asked for.
    pub protocol: Protocol,
    /// The data.
    pub dataset: DatasetRecord,
    /// The metrics of the codes.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// mAP of the classifier's predictions taken as codes; absent beyond 1,024 classes, and where the loss is pairwise.
    pub class_code_map: Option<f64>,
    /// Time of training, in seconds.
    pub seconds: f64,
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// The program's commit.
    pub commit: String,
    /// The network and its loss.
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
    /// What results depend on.
    #[serde(flatten)]
    pub record: DataRecord,
}

/// The commit this program was built from.
pub const COMMIT: &str = env!("DHIH_COMMIT");

/// Trains and evaluates in a new directory, `run_dir` or the next free one under `runs/`.
///
/// # Errors
/// Those of data, files, device and training; the directory then holds what was complete.
pub fn start(
    config: &TrainConfig,
    run_dir: Option<&Path>,
    progress: Progress,
) -> Result<(RunDir, Evaluation)> {
    let (dataset, split) = load(config, progress)?;
    // Whether there are codewords for so many classes is known now; refuse before anything is written.
    let vb = Parameters::seeded(config.seed).builder(DType::F32, &Device::Cpu);
    Objective::new(&config.loss, (dataset.classes.len(), config.bits), &vb)?;
    let data = DataRecord::new(&dataset, &split);
    let (network, weights_sha256) = network(config, (&dataset, &split), progress)?;
    let run = RunDir::create(run_dir, config)?;
    run.write_json(RunDir::SPLIT, &split)?;
    let (version, train) = (RunDir::VERSION, config.clone());
    let record = RunConfig { version, weights_sha256, train, data: data.clone() };
    run.write_config(&record)?;
    let evaluation = finish(config, network, (&dataset, &split, data), &run, progress)?;
    Ok((run, evaluation))
}

/// Goes on with a run that was cut off, from its last complete epoch, as if it had not been.
///
/// # Errors
/// When the run is damaged or its data changed; else as [`start`].
pub fn resume(run_dir: &Path, progress: Progress) -> Result<(RunDir, Evaluation)> {
    let run = RunDir::open(run_dir)?;
    let RunConfig { weights_sha256, train: config, data, .. } = run.read_config()?;
    config.check()?;
    let (dataset, split) = load(&config, progress)?;
    if DataRecord::new(&dataset, &split) != data {
        let path = config.data_dir.clone();
        let reason = "the data is no longer what the run began with".to_owned();
        return Err(Error::Data {
            path,
            reason,
            cure: "restore it, or begin a new run".to_owned(),
        });
    }
    // All weights are in the checkpoint, but for those of a frozen backbone.
    let network = if run.checkpoint()?.exists() && !config.freeze_backbone {
        trainer::network(&config, (&dataset, &split.train), None, &device(&config.device)?)?
    } else {
        let (network, sha256) = network(&config, (&dataset, &split), progress)?;
        if sha256 != weights_sha256 {
            let reason = format!(
                "they are {}, the run began with {}; restore them, or begin a new run",
                sha256.unwrap_or_default(),
                weights_sha256.unwrap_or_default()
            );
            return Err(Error::weights(config.weights.as_ref(), reason));
        }
        network
    };
    let evaluation = finish(&config, network, (&dataset, &split, data), &run, progress)?;
    Ok((run, evaluation))
}

/// The network before its first step, and the SHA-256 of its pretrained weights.
fn network(
    config: &TrainConfig,
    (dataset, split): (&Dataset, &Split),
    progress: Progress,
) -> Result<(Network, Option<String>)> {
    let (device, data) = (device(&config.device)?, (dataset, &split.train[..]));
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
        progress.line(format!("skipped {}: {reason}", path.display()));
    }
    if !dataset.skipped.is_empty() {
        progress.line(format!("skipped {} files in all", dataset.skipped.len()));
    }
    if dataset.is_streamed() {
        progress.line("the images are read anew in each epoch: their pixels would take over 4 GiB");
    }
    if dataset.verified == Some(false) {
        progress.line(format!(
            "NOTE: {} is not verified to be the published data; every result will say so",
            config.data_dir.display()
        ));
    }
    let mut split = config.protocol.split(&dataset, config.split_seed)?;
    if config.validation > 0.0 {
        split = split.hold_out(&dataset, config.validation)?;
    }
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
    let config_of = |rows, keeps_values| EncodingConfig { rows, keeps_values };
    let Encoded { set: database, classes: database_classes, .. } =
        encode(&encoder, dataset, config_of(&split.database, false))?;
    let Encoded { set: queries, classes: query_classes, values } =
        encode(&encoder, dataset, config_of(&split.queries, true))?;
    let images = split.database.len() + split.queries.len();
    progress.line(format!(
        "encoded {images} images, {:.0} images/s",
        images as f64 / started.elapsed().as_secs_f64()
    ));
    database.write(run.file(RunDir::CODES))?;
    queries.write(run.file(RunDir::QUERIES))?;
    run.write_query_values(values, encoder.bits())?;

    let metrics = evaluate(&database, &queries, &EvaluationConfig::default())?;
    let classes = dataset.classes.len();
    let class_code_map = match (database_classes, query_classes) {
        (Some(a), Some(b)) => Some(class_code_map((&database, &queries), (&a, &b), classes)?),
        _ => None,
    };
    let evaluation = Evaluation {
        protocol: config.protocol,
        dataset: DatasetRecord { name: dataset.name, record },
        metrics,
        class_code_map,
        seconds: run.read_metrics()?.last().map_or(0.0, |record| record.seconds),
        seed: config.seed,
        commit: COMMIT.to_owned(),
        backbone: config.backbone.name().to_owned(),
        loss: config.loss.name().to_owned(),
        epochs: config.epochs,
        model_sha256: encoder.model_sha256().to_owned(),
    };
    run.write_json(RunDir::EVALUATION, &evaluation)?;
    run.write(RunDir::RESULTS, evaluation.to_csv().as_bytes())?;
    // Thumbnails are for looking at; the results are on disk before they are made.
    let choice = config.gallery.unwrap_or_else(|| GalleryChoice::default_for(split));
    if config.gallery.is_none() && choice == GalleryChoice::Queries {
        progress.line(format!(
            "thumbnails are kept of the queries alone, as there are {images} images; --gallery all keeps all"
        ));
    }
    gallery::write(&run.file(RunDir::GALLERY), dataset, split, choice)?;
    run.make_latest()?;
    Ok(evaluation)
}

/// Classes up to which images are classified, too: beyond, codes of one bit a class are none that are used.
const MAX_CLASSES: usize = 1024;

/// What is encoded.
struct EncodingConfig<'a> {
    /// Rows of the dataset.
    rows: &'a [usize],
    /// Whether the real values behind the codes are kept. They take 32 times the memory of the codes.
    keeps_values: bool,
}

/// Images as codes.
struct Encoded {
    set: CodeSet,
    /// The classes they are taken for, where the loss knows classes, of which there are at most 1,024.
    classes: Option<Vec<u32>>,
    /// The real values behind the codes, `[n, bits]`, where they are kept.
    values: Vec<f32>,
}

/// Encodes images in parts: scaled up, all of them may take more memory than the dataset, and so may their logits.
fn encode(encoder: &Encoder, dataset: &Dataset, config: EncodingConfig<'_>) -> Result<Encoded> {
    let EncodingConfig { rows, keeps_values } = config;
    let bits = encoder.bits() as u32;
    let (mut codes, mut values) = (Codes::new(bits, Vec::new())?, Vec::new());
    let mut classes = (dataset.classes.len() <= MAX_CLASSES).then(Vec::new);
    // A multiple of the encoder's batches.
    for rows in rows.chunks(4 * encoder.input().inference_batch()) {
        let part = encoder.encode(&dataset.gather_fitted(rows, encoder.input())?)?;
        codes.try_extend(Codes::from_real(bits, &part)?.iter())?;
        if let Some(known) = &mut classes {
            match encoder.classify(&part)? {
                Some(part) => known.extend(part),
                None => classes = None,
            }
        }
        if keeps_values {
            values.extend(part);
        }
    }
    let set = CodeSet {
        ids: None,
        labels: Some(dataset.labels.of_codes(rows, dataset.classes.len())),
        classes: dataset.classes.clone(),
        model_sha256: Some(encoder.model_sha256().to_owned()),
        codes,
    };
    Ok(Encoded { set, classes, values })
}

impl Evaluation {
    /// A header and one line: what a table of runs is made of.
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
