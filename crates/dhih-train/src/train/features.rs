//! What a frozen backbone makes of the training images: computed once, kept in a file, read by every epoch.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::{FeatureEncoder, Network, NetworkConfig};
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::run::run_dir::{RunConfig, RunDir};

/// The features of some rows of a dataset, in memory.
pub(crate) struct FeatureCache {
    values: Vec<f32>,
    width: usize,
    /// Of each row of the dataset, where its features are.
    positions: Vec<usize>,
}

const TENSOR: &str = "features";
const KEY: &str = "dhih.features";

impl FeatureCache {
    /// Reads the features of `rows` from the run's file, or computes and writes them.
    ///
    /// # Errors
    /// Those of the network and the file system.
    pub(crate) fn open(
        network: &Network,
        (dataset, rows): (&Dataset, &[usize]),
        run: &RunDir,
        progress: Progress,
    ) -> Result<Self> {
        let RunConfig { weights_sha256, train, .. } = run.read_config()?;
        let key = key(network.config(), &weights_sha256.unwrap_or_default(), (dataset, rows));
        let path = match &train.features_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
                dir.join(format!("features-{}.safetensors", &key[..16]))
            }
            None => run.file(RunDir::FEATURES),
        };
        let features = match read(&path, &key, rows.len()) {
            Some(features) => {
                progress.line(format!("features: those in {} are used", path.display()));
                features
            }
            None => {
                let features = compute(network, (dataset, rows), progress)?;
                let tensors = [(TENSOR.to_owned(), features.clone())].into();
                write(&path, &Contents { tensors, metadata: [(KEY.to_owned(), key)].into() })?;
                features
            }
        };
        let mut positions = vec![usize::MAX; dataset.len()];
        rows.iter().enumerate().for_each(|(position, row)| positions[*row] = position);
        let width = features.dim(1)?;
        Ok(Self { values: features.flatten_all()?.to_vec1()?, width, positions })
    }

    /// The features of rows of the dataset, `[n, features]`.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn gather(&self, rows: &[usize], device: &Device) -> Result<Tensor> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for row in rows {
            values
                .extend_from_slice(&self.values[self.positions[*row] * self.width..][..self.width]);
        }
        Ok(Tensor::from_vec(values, (rows.len(), self.width), device)?)
    }
}

/// A digest of everything that features depend on.
fn key(config: &NetworkConfig, weights: &str, (dataset, rows): (&Dataset, &[usize])) -> String {
    let NetworkConfig { backbone, input, normalization, .. } = config;
    let mut hash = Sha256::new();
    hash.update(format!("{} {input:?} {normalization:?}\n", backbone.name()));
    // The digest of the dataset does not say to which shape its pictures were brought.
    hash.update(format!("{weights} {} {:?} {}\n", dataset.sha256, dataset.shape, rows.len()));
    rows.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
    dhih_index::to_hex(&hash.finalize())
}

/// The file's features; `None` where it is absent, damaged, or of something else.
fn read(path: &Path, key: &str, rows: usize) -> Option<Tensor> {
    let (contents, _) = checkpoint::read(path).ok()?;
    let features = contents.tensors.get(TENSOR)?;
    let fits = contents.metadata.get(KEY)? == key && features.rank() == 2;
    (fits && features.dim(0).ok()? == rows).then(|| features.clone())
}

fn write(path: &Path, contents: &Contents) -> Result<()> {
    // Runs that share a folder may write at the same time.
    let own: PathBuf = path.with_extension(format!("{}.safetensors", std::process::id()));
    checkpoint::write(contents, &own)?;
    std::fs::rename(&own, path).map_err(Error::io(path))
}

/// One pass in evaluation mode: running statistics are used and not moved.
fn compute(
    network: &Network,
    (dataset, rows): (&Dataset, &[usize]),
    progress: Progress,
) -> Result<Tensor> {
    let (started, bar) = (Instant::now(), progress.bar("features", rows.len()));
    let (encoder, input) = (FeatureEncoder::new(network)?, network.config().input);
    let mut values = Vec::with_capacity(rows.len() * network.backbone().features());
    for rows in rows.chunks(4 * input.inference_batch()) {
        values.extend(encoder.encode(&dataset.gather_fitted(rows, input)?)?);
        bar.inc(rows.len() as u64);
    }
    bar.finish_and_clear();
    let rate = rows.len() as f64 / started.elapsed().as_secs_f64();
    progress.line(format!("features of {} images, {rate:.0} images/s", rows.len()));
    Ok(Tensor::from_vec(values, (rows.len(), network.backbone().features()), &Device::Cpu)?)
}
