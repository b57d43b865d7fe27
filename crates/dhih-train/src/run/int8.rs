//! A run's network in integers: its calibration, measured on images that it was trained on, and the codes that it then makes.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use dhih_index::{CodeSet, Codes};
use dhih_model::image::PictureReader;
use dhih_model::walk::{LeftOut, Walk};
use dhih_model::{Calibration, Encoder, checkpoint};

use crate::dataset::{Dataset, DatasetConfig};
use crate::error::{Error, Result};
use crate::evaluation::{EvaluationConfig, evaluate};
use crate::pictures::Pictures;
use crate::progress::Progress;
use crate::protocol::Split;
use crate::run::encoding::{Encoded, EncodingConfig, Source};
use crate::run::run_dir::RunDir;

/// What a network is calibrated with.
#[derive(Debug, Clone)]
pub struct CalibrationConfig<'a> {
    /// The run's directory.
    pub run: &'a Path,
    /// Folders of pictures that are like those to be encoded; where there are none, the run's training images are taken.
    pub pictures: &'a [PathBuf],
    /// Images that are measured, spread over those that there are.
    pub images: usize,
    /// Whether a bar tells how far it is.
    pub progress: Progress,
}

/// How codes in integers compare with those in f32.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Layers that are computed in integers.
    pub layers: usize,
    /// Images that were measured.
    pub images: usize,
    /// Other images, by which codes are compared: a run's queries.
    pub compared: usize,
    /// The share of their bits that are the same.
    pub agreement: f64,
    /// mAP of the queries' codes in f32 against the run's database; absent where there are no labels.
    pub map_f32: Option<f64>,
    /// mAP of the queries' codes in integers against the same database.
    pub map_int8: Option<f64>,
}

/// Images by which codes are compared, at most.
const COMPARED: usize = 1000;

/// Measures, writes the calibration into the run's directory, and compares codes.
///
/// # Errors
/// Where the run, its data or the pictures cannot be read, there are no images, or the network has no form in integers.
pub fn calibrate(config: &CalibrationConfig<'_>) -> Result<Agreement> {
    let model = config.run.join(RunDir::MODEL);
    let (network, model_sha256) = checkpoint::load(&model, &Device::Cpu)?;
    let input = network.config().input;
    if config.images == 0 {
        let (name, got, expected) = ("images", "0".to_owned(), "at least 1".to_owned());
        return Err(Error::Config { name, got, expected });
    }
    let mut labelled = None;
    let (measured, compared) = if config.pictures.is_empty() {
        let (run, dataset, split) = open(config.run, config.progress)?;
        let queries = spread(split.queries.len(), COMPARED);
        let rows: Vec<usize> = queries.iter().map(|at| split.queries[*at]).collect();
        let train: Vec<usize> =
            spread(split.train.len(), config.images).iter().map(|at| split.train[*at]).collect();
        let measured = dataset.gather_fitted(&train, input)?;
        let compared = dataset.gather_fitted(&rows, input)?;
        labelled = Some((run, dataset, rows));
        (measured, compared)
    } else {
        let mut files = Vec::new();
        for folder in config.pictures {
            files.extend(Walk::pictures(folder).map_err(Error::io(folder))?.files);
        }
        let files: Vec<PathBuf> = spread(files.len(), config.images + COMPARED.min(config.images))
            .iter()
            .map(|at| files[*at].clone())
            .collect();
        let reader = PictureReader::new(Default::default());
        let pictures = Pictures { files: &files, reader: &reader, input };
        let (mut left_out, mut pixels) = (LeftOut::default(), Vec::new());
        pictures.for_each_part((config.progress, "reading"), &mut left_out, |part, _| {
            pixels.extend_from_slice(part);
            Ok::<(), Error>(())
        })?;
        // Every second picture is measured, the others are compared; a single one serves for both.
        let halves = [0, 1].map(|half| {
            let images = pixels.chunks_exact(input.len()).skip(half).step_by(2);
            images.flatten().copied().collect::<Vec<u8>>()
        });
        let [measured, compared] = halves;
        let compared = if compared.is_empty() { measured.clone() } else { compared };
        (measured, compared)
    };
    if measured.is_empty() {
        let (path, reason) = (config.run.to_owned(), "there is no image to calibrate with");
        let cure = "give --images FOLDER with pictures".to_owned();
        return Err(Error::Data { path, reason: reason.to_owned(), cure });
    }
    let calibration = Calibration::measure(&network, &model_sha256, &measured)?;
    let int8 = Encoder::int8(&network, model_sha256.clone(), &calibration)?;
    let f32 = Encoder::new(network, model_sha256, DType::F32)?;
    let bits = f32.bits() as u32;
    let [of_f32, of_int8] = [&f32, &int8].map(|encoder| encoder.encode(&compared));
    let [of_f32, of_int8] = [Codes::from_real(bits, &of_f32?)?, Codes::from_real(bits, &of_int8?)?];
    let pairs = of_f32.as_bytes().iter().zip(of_int8.as_bytes());
    let differ: u64 = pairs.map(|(a, b)| u64::from((a ^ b).count_ones())).sum();
    let total = of_f32.len() as u64 * u64::from(bits);
    let maps = match labelled {
        Some((run, dataset, rows)) => {
            let database = CodeSet::read(run.file(RunDir::CODES), None)?;
            let map = |codes: Codes| -> Result<f64> {
                let labels = Some(dataset.labels.of_codes(&rows, dataset.classes.len()));
                let classes = dataset.classes.clone();
                let queries = CodeSet { labels, classes, ..CodeSet::new(codes) };
                Ok(evaluate(&database, &queries, &EvaluationConfig::default())?.map)
            };
            Some([map(of_f32)?, map(of_int8)?])
        }
        None => None,
    };
    calibration.save(&config.run.join(RunDir::CALIBRATION))?;
    Ok(Agreement {
        layers: calibration.layers(),
        images: calibration.images(),
        compared: compared.len() / input.len(),
        agreement: 1.0 - differ as f64 / total.max(1) as f64,
        map_f32: maps.map(|[map, _]| map),
        map_int8: maps.map(|[_, map]| map),
    })
}

/// The encoder of a run in integers, by the run's calibration.
///
/// # Errors
/// Where the run has no calibration, or that of another model.
pub fn encoder(run: &Path) -> Result<Encoder> {
    let path = run.join(RunDir::CALIBRATION);
    if !path.exists() {
        let reason = "the run has no calibration, which int8 needs".to_owned();
        let cure = format!("`dhih-train calibrate --run {}` makes one", run.display());
        return Err(Error::Data { path, reason, cure });
    }
    Ok(Encoder::load_int8(&run.join(RunDir::MODEL), &Calibration::load(&path)?)?)
}

/// Codes of a run's database and of its queries in integers.
///
/// # Errors
/// Where the run has no calibration, or its data is not there.
pub fn codes(run: &Path, progress: Progress) -> Result<[CodeSet; 2]> {
    let encoder = encoder(run)?;
    let (_, dataset, split) = open(run, progress)?;
    let source = Source::of_encoder(&encoder, &dataset);
    let codes = |rows| -> Result<CodeSet> {
        let Encoded { set, .. } = source.encode(EncodingConfig { rows, keeps_values: false })?;
        Ok(set)
    };
    Ok([codes(&split.database)?, codes(&split.queries)?])
}

/// A run with its data, which is what the run was trained on.
fn open(path: &Path, progress: Progress) -> Result<(RunDir, Dataset, Split)> {
    let run = RunDir::open(path)?;
    let record = run.read_config()?;
    let config = DatasetConfig { progress, ..record.train.dataset_config() };
    let dataset = Dataset::load(record.train.dataset, &config)?;
    let split: Split = run.read_json(RunDir::SPLIT)?;
    if !record.data.is_of(&dataset, &split) {
        return Err(Error::Data {
            path: record.train.data_dir,
            reason: "the data is no longer what the run was trained on".to_owned(),
            cure: "restore it, or give --images FOLDER with pictures".to_owned(),
        });
    }
    Ok((run, dataset, split))
}

/// At most `most` of `count` numbers, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let most = most.min(count);
    (0..most).map(|number| number * count / most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_spread_over_all() {
        assert_eq!(spread(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert!(spread(0, 5).is_empty());
    }
}
