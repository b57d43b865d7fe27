//! A run's network in integers: its calibration, measured on images that it was trained on, and the codes that it then makes.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use dhih_index::{CodeSet, Codes};
use dhih_model::image::{Limits, PictureReader};
use dhih_model::walk::{LeftOut, Walk};
use dhih_model::{Calibration, Encoder, InputShape, checkpoint};

use crate::dataset::{Dataset, DatasetConfig, DatasetName};
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
    /// Images that are measured, spread over those that there are. Of `pictures` up to 1,000 others are compared; of so few that there are no
    /// others, half are measured and half are compared.
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
    /// Other images, by which codes are compared: a run's queries, or others of the pictures that were given.
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

/// Measures, writes the calibration into the run's directory, and compares codes. Pictures that cannot be used are added to `left_out`.
///
/// # Errors
/// Where the run, its data or the pictures cannot be read, there are no images, or the network has no form in integers.
pub fn calibrate(config: &CalibrationConfig<'_>, left_out: &mut LeftOut) -> Result<Agreement> {
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
        pictures(config, input, left_out)?
    };
    if measured.is_empty() {
        let reason = "there is no image to calibrate with".to_owned();
        let (path, cure) = match config.pictures.first() {
            Some(folder) => (folder.as_path(), "give --images FOLDER with other pictures"),
            None => (config.run, "give --images FOLDER with pictures"),
        };
        return Err(Error::Data { path: path.to_owned(), reason, cure: cure.to_owned() });
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

/// The pixels of pictures in folders: of those that are measured, and of others by which codes are compared.
fn pictures(
    config: &CalibrationConfig<'_>,
    input: InputShape,
    left_out: &mut LeftOut,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in config.pictures {
        let walk = Walk::pictures(folder).map_err(Error::io(folder))?;
        files.extend(walk.files);
        left_out.append(walk.left_out);
    }
    let Parts { chosen, is_compared } = Parts::of(files.len(), config.images);
    let files: Vec<PathBuf> = chosen.iter().map(|at| files[*at].clone()).collect();
    // The pictures are the user's own, as those that are encoded.
    let reader = PictureReader::new(Limits::files());
    let pictures = Pictures { files: &files, reader: &reader, input };
    let mut pixels = Vec::new();
    let usable = pictures.for_each_part((config.progress, "reading"), left_out, |part, _| {
        pixels.extend_from_slice(part);
        Ok::<(), Error>(())
    })?;
    let (mut measured, mut compared) = (Vec::new(), Vec::new());
    for (number, image) in usable.into_iter().zip(pixels.chunks_exact(input.len())) {
        let part = if is_compared[number] { &mut compared } else { &mut measured };
        part.extend_from_slice(image);
    }
    // Where one part has no usable picture, the other serves for both.
    Ok(match (measured.is_empty(), compared.is_empty()) {
        (true, _) => (compared.clone(), compared),
        (_, true) => (measured.clone(), measured),
        _ => (measured, compared),
    })
}

/// Which of a number of pictures are read, and what for.
#[derive(Debug, PartialEq)]
struct Parts {
    /// Their numbers, evenly spread over all.
    chosen: Vec<usize>,
    /// For each of them, whether codes are compared by it; the others are measured.
    is_compared: Vec<bool>,
}

impl Parts {
    /// Of `count` pictures, `images` are measured, and of the others at most [`COMPARED`] are compared. Where there are no others, half of the
    /// pictures are measured and half are compared.
    fn of(count: usize, images: usize) -> Self {
        let compared = match count.saturating_sub(images) {
            0 => count / 2,
            others => others.min(COMPARED),
        };
        let total = count.min(images.saturating_add(compared));
        let mut is_compared = vec![false; total];
        spread(total, compared).into_iter().for_each(|at| is_compared[at] = true);
        Self { chosen: spread(count, total), is_compared }
    }
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
    if record.train.dataset != DatasetName::Demo && !config.dir.exists() {
        return Err(Error::Data {
            path: config.dir,
            reason: "the data of the run is not here".to_owned(),
            cure: "restore it; `dhih-train calibrate --images FOLDER` does without".to_owned(),
        });
    }
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

    #[test]
    fn as_many_pictures_are_measured_as_were_asked_for() {
        for (count, images, measured, compared) in [
            (5000, 3000, 3000, 1000),
            (300, 256, 256, 44),
            (20_000, 256, 256, 1000),
            (40, 10, 10, 30),
            (10, 256, 5, 5),
            (7, usize::MAX, 4, 3),
            (1, 1, 1, 0),
            (0, 1, 0, 0),
        ] {
            let Parts { chosen, is_compared } = Parts::of(count, images);
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]), "{count} {images}");
            assert!(chosen.last().is_none_or(|last| *last < count), "{count} {images}");
            assert_eq!(chosen.len(), is_compared.len());
            let others = is_compared.iter().filter(|is_compared| **is_compared).count();
            assert_eq!((chosen.len() - others, others), (measured, compared), "{count} {images}");
        }
    }
}
