//! The features of a frozen backbone for images, and for their mirror images where these are trained on or encoded. They are computed once,
//! stored in a file and read in every epoch. Other runs use them, too, where the files have a folder of their own.

use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::{FeatureEncoder, HeadEncoder, Network, NetworkConfig, Views, moved};
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;
use crate::run::run_dir::{RunConfig, RunDir};

/// The features of some rows of a dataset, in memory.
pub(crate) struct FeatureCache {
    values: Vec<f32>,
    /// The features of the mirror images, where there are some.
    mirrored: Option<Vec<f32>>,
    width: usize,
    /// For each row of the dataset, the position of its features.
    positions: Vec<usize>,
}

const TENSOR: &str = "features";
const MIRRORED: &str = "mirrored";
const KEY: &str = "dhih.features";

/// The images whose features are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) dataset: &'a Dataset,
    /// Rows of the dataset.
    pub(crate) rows: &'a [usize],
    /// Whether the features of their mirror images are wanted, too.
    pub(crate) with_mirrored: bool,
}

impl FeatureCache {
    /// Reads features from the file, or computes and writes them.
    ///
    /// # Errors
    /// Those of the network and the file system.
    pub(crate) fn open(
        network: &Network,
        wanted: Wanted<'_>,
        run: &RunDir,
        progress: Progress,
    ) -> Result<Self> {
        let Wanted { dataset, rows, with_mirrored } = wanted;
        let RunConfig { weights_sha256, train, .. } = run.read_config()?;
        let tensors: &[&str] = if with_mirrored { &[TENSOR, MIRRORED] } else { &[TENSOR] };
        let weights = weights_sha256.unwrap_or_default();
        let key = key(network.config(), &weights, (dataset, rows));
        let path = match &train.features_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
                dir.join(format!("features-{}.safetensors", &key[..16]))
            }
            None => run.file(RunDir::FEATURES),
        };
        let features = match read(&path, &key, tensors, rows.len()) {
            Some(features) => {
                progress.line(format!("features: those in {} are used", path.display()));
                features
            }
            None => {
                let features = compute(network, (dataset, rows), tensors, progress)?;
                let named = tensors.iter().map(|name| name.to_string()).zip(features.clone());
                let metadata = [(KEY.to_owned(), key)].into();
                write(&path, &Contents { tensors: named.collect(), metadata })?;
                features
            }
        };
        let mut positions = vec![usize::MAX; dataset.len()];
        rows.iter().enumerate().for_each(|(position, row)| positions[*row] = position);
        let width = network.backbone().features();
        let mut features = features.iter().map(|features| features.flatten_all()?.to_vec1());
        let values = features.next().transpose()?.unwrap_or_default();
        Ok(Self { values, mirrored: features.next().transpose()?, width, positions })
    }

    /// Whether a file of features has all views from which codes are made.
    pub(crate) fn serves(views: Views) -> bool {
        !views.shifted
    }

    /// The codes of rows of the dataset, `[n, bits]`.
    ///
    /// # Errors
    /// When a view has no features.
    pub(crate) fn encode(
        &self,
        head: &HeadEncoder<'_>,
        rows: &[usize],
        views: Views,
    ) -> Result<Vec<f32>> {
        let mirrored: &[bool] = if views.mirror { &[false, true] } else { &[false] };
        let features: Vec<Vec<f32>> =
            mirrored.iter().map(|mirrored| self.pick(rows, &vec![*mirrored; rows.len()])).collect();
        Ok(head.encode(&features.iter().map(Vec::as_slice).collect::<Vec<_>>())?)
    }

    /// The features of rows of the dataset, `[n, features]`, of the mirror image where `mirrored` `[n]` says so and there are some.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn gather(
        &self,
        rows: &[usize],
        mirrored: &[bool],
        device: &Device,
    ) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.pick(rows, mirrored), (rows.len(), self.width), device)?)
    }

    fn pick(&self, rows: &[usize], mirrored: &[bool]) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for (row, mirrored) in rows.iter().zip(mirrored) {
            let from = self.mirrored.as_ref().filter(|_| *mirrored).unwrap_or(&self.values);
            values.extend_from_slice(&from[self.positions[*row] * self.width..][..self.width]);
        }
        values
    }
}

/// A digest of everything that the features depend on.
fn key(config: &NetworkConfig, weights: &str, (dataset, rows): (&Dataset, &[usize])) -> String {
    let NetworkConfig { backbone, input, normalization, .. } = config;
    let mut hash = Sha256::new();
    hash.update(format!("{} {input:?} {normalization:?}\n", backbone.name()));
    // The digest of the dataset does not cover the shape to which its pictures were brought.
    hash.update(format!("{weights} {} {:?} {}\n", dataset.sha256, dataset.shape, rows.len()));
    rows.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
    dhih_index::to_hex(&hash.finalize())
}

/// The features in a file, one tensor for each name; `None` where the file is absent, damaged or of other images, or lacks those of mirror
/// images.
fn read(path: &Path, key: &str, tensors: &[&str], rows: usize) -> Option<Vec<Tensor>> {
    let (contents, _) = checkpoint::read(path).ok()?;
    if contents.metadata.get(KEY)? != key {
        return None;
    }
    let tensor = |name: &&str| {
        let features = contents.tensors.get(*name)?;
        (features.rank() == 2 && features.dim(0).ok()? == rows).then(|| features.clone())
    };
    tensors.iter().map(tensor).collect()
}

fn write(path: &Path, contents: &Contents) -> Result<()> {
    // Runs that share a folder may write at the same time.
    let own = path.with_extension(format!("{}.tmp", files::random_word()));
    files::replace(path, &own, |own| Ok(checkpoint::write(contents, own).map(drop)?))
}

/// One pass in evaluation mode, which uses running statistics and does not change them. Returns a tensor `[rows, features]` for each name.
fn compute(
    network: &Network,
    (dataset, rows): (&Dataset, &[usize]),
    tensors: &[&str],
    progress: Progress,
) -> Result<Vec<Tensor>> {
    let count = rows.len() * tensors.len();
    let (started, bar) = (Instant::now(), progress.bar("features", count));
    let (encoder, input) = (FeatureEncoder::new(network)?, network.config().input);
    let width = network.backbone().features();
    let mut values = vec![Vec::with_capacity(rows.len() * width); tensors.len()];
    for rows in rows.chunks(4 * input.inference_batch()) {
        let mut images = dataset.gather_fitted(rows, input)?;
        for (name, values) in tensors.iter().zip(&mut values) {
            if *name == MIRRORED {
                images.chunks_exact_mut(input.len()).for_each(|image| {
                    image.copy_from_slice(&moved(image, input, true, [0, 0]));
                });
            }
            values.extend(encoder.encode(&images)?);
            bar.inc(rows.len() as u64);
        }
    }
    bar.finish_and_clear();
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let mirrored = if tensors.contains(&MIRRORED) { " and their mirror images" } else { "" };
    progress.line(format!("features of {} images{mirrored}, {rate:.0} images/s", rows.len()));
    let tensor = |values| Tensor::from_vec(values, (rows.len(), width), &Device::Cpu);
    Ok(values.into_iter().map(tensor).collect::<candle_core::Result<_>>()?)
}
