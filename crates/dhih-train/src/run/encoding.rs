//! Encodes the images of a run when its network is trained.

use dhih_index::{CodeSet, Codes};
use dhih_model::{Encoder, HeadEncoder, Network, Views};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::progress::Progress;
use crate::protocol::Split;
use crate::run::run_dir::RunDir;
use crate::settings::table::TrainConfig;
use crate::train::features::{FeatureCache, Wanted};

/// The most classes for which images are also classified. With more classes, codes of one bit for each class are not practical.
const MAX_CLASSES: usize = 1024;

/// What is encoded.
pub(super) struct EncodingConfig<'a> {
    /// Rows of the dataset.
    pub(super) rows: &'a [usize],
    /// Whether the real values behind the codes are kept. They take 32 times the memory of the codes.
    pub(super) keeps_values: bool,
}

/// Encoded images.
pub(super) struct Encoded {
    pub(super) set: CodeSet,
    /// The predicted classes, where the loss knows classes and there are at most 1,024.
    pub(super) classes: Option<Vec<u32>>,
    /// The real values behind the codes, `[n, bits]`, where they are kept.
    pub(super) values: Vec<f32>,
}

/// The source of codes for the rows of a dataset.
pub(super) struct Source<'a> {
    encoder: &'a Encoder,
    dataset: &'a Dataset,
    /// Features of a frozen backbone, which are the same in other runs, with the hash layer.
    features: Option<(FeatureCache, HeadEncoder<'a>)>,
    views: Views,
}

impl<'a> Source<'a> {
    /// Encodes with a trained network, by the encoder of its checkpoint. Where runs share the features of a frozen backbone, those of database
    /// and queries are also read from there, or computed and stored.
    ///
    /// # Errors
    /// Those of the network and the file system.
    pub(super) fn new(
        (config, network, encoder): (&TrainConfig, &'a Network, &'a Encoder),
        (dataset, split): (&'a Dataset, &Split),
        run: &RunDir,
        progress: Progress,
    ) -> Result<Self> {
        let views = config.views();
        let is_kept = config.freeze_backbone && config.features_dir.is_some();
        let features = match is_kept && FeatureCache::serves(views) {
            false => None,
            true => {
                let mut rows = [&split.database[..], &split.queries].concat();
                rows.sort_unstable();
                rows.dedup();
                let wanted = Wanted { dataset, rows: &rows, with_mirrored: views.mirror };
                let features = FeatureCache::open(network, wanted, run, progress)?;
                Some((features, HeadEncoder::new(network)?))
            }
        };
        Ok(Self { encoder, dataset, features, views })
    }

    /// Of an encoder alone, without features that are kept.
    pub(super) fn of_encoder(encoder: &'a Encoder, dataset: &'a Dataset) -> Self {
        Self { encoder, dataset, features: None, views: Views::default() }
    }

    /// Encodes images in parts: in the network's size, all images may take more memory than the dataset, and so may their logits.
    ///
    /// # Errors
    /// Those of the dataset and the network.
    pub(super) fn encode(&self, config: EncodingConfig<'_>) -> Result<Encoded> {
        let Self { encoder, dataset, .. } = self;
        let EncodingConfig { rows, keeps_values } = config;
        let bits = encoder.bits() as u32;
        let (mut codes, mut values) = (Codes::new(bits, Vec::new())?, Vec::new());
        let mut classes = (dataset.classes.len() <= MAX_CLASSES).then(Vec::new);
        // A part is a multiple of the encoder's batches.
        for rows in rows.chunks(4 * encoder.input().inference_batch()) {
            let part = match &self.features {
                Some((features, head)) => features.encode(head, rows, self.views)?,
                None => encoder.encode(&dataset.gather_fitted(rows, encoder.input())?)?,
            };
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
            labels: Some(dataset.labels.of_codes(rows, dataset.classes.len())),
            classes: dataset.classes.clone(),
            model_sha256: Some(encoder.model_sha256().to_owned()),
            precision: encoder.precision().of_codes(),
            ..CodeSet::new(codes)
        };
        Ok(Encoded { set, classes, values })
    }
}
