//! Makes a directory of pictures without labels that can be searched like a trained run. A pretrained network computes features, and a hash
//! layer fitted to these features ([`dhih_model::codec`]) makes codes of them. Nothing is trained.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_index::{CodeSet, Codes, IndexBuilder, IndexConfig, VectorSet, VectorType};
use dhih_model::codec::{FitConfig, Method, Rows, fit};
use dhih_model::image::{Fit, PictureReader};
use dhih_model::loss::Fitted;
use dhih_model::pretrained::Loaded;
use dhih_model::text::{FitText, TextConfig, TextFamily, TextTokenizer, TextTower};
use dhih_model::walk::LeftOut;
use dhih_model::{
    Backbone, FeatureEncoder, HashLayerConfig, HeadEncoder, InputShape, Loss, Network,
    NetworkConfig, Pretrained, Views, checkpoint,
};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::pictures::Pictures;
use crate::progress::Progress;
use crate::run::gallery::Thumbnails;
use crate::run::origin::Origin;
use crate::run::run_dir::{NewRun, RunDir};
use crate::settings::gallery::MAX_IMAGES;
use crate::train::device::device;

/// The encoder that suits most pictures: the name of a backbone.
pub const DEFAULT_ENCODER: &str = "dinov2-small";

/// The settings of the directory.
#[derive(Debug)]
pub struct PhotosConfig {
    /// The network that computes features.
    pub encoder: Backbone,
    /// The side to which pictures are scaled, in pixels.
    pub image_side: usize,
    /// Code length. If absent, it is the largest of 256, 128, 64, 32, 16 and 8 bits for which there are enough pictures and features.
    pub bits: Option<usize>,
    /// How the hash layer is fitted.
    pub method: Method,
    /// How the index stores the features beside the codes, to rerank candidates; absent where it stores none.
    pub vectors: Option<VectorType>,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The decoder of pictures.
    pub reader: PictureReader,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// The text tower of the weights, where the directory should be searchable by text.
    pub text: Option<TextPart>,
}

/// What encodes texts.
#[derive(Debug)]
pub struct TextPart {
    /// The sizes of the tower.
    pub tower: TextConfig,
    /// The tokenizer of the tower.
    pub tokenizer: TextTokenizer,
}

/// The result.
#[derive(Debug)]
pub struct Photos {
    /// The directory.
    pub run: RunDir,
    /// The number of pictures that have a code.
    pub images: usize,
    /// Code length.
    pub bits: usize,
    /// SHA-256 of the network, in hex.
    pub model_sha256: String,
}

/// The content of `photos.json`: what the directory was made of.
#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    encoder: &'a str,
    image_side: usize,
    /// How pictures are brought to that side.
    fit: Fit,
    weights_sha256: &'a str,
    method: &'a str,
    bits: usize,
    vectors: Option<VectorType>,
    seed: u64,
    images: usize,
    model_sha256: &'a str,
    /// The family of the text tower, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextFamily>,
    origin: Origin,
}

/// Features in memory, `[n, dims]`.
struct Features {
    values: Vec<f32>,
    dims: usize,
}

impl Rows for Features {
    fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    fn dims(&self) -> usize {
        self.dims
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        to.extend_from_slice(&self.values[rows.start * self.dims..rows.end * self.dims]);
        Ok(())
    }
}

/// Makes a directory of pictures: `model.safetensors`, `codes.safetensors` with the names of its pictures beside it and their `index`,
/// `gallery.safetensors` for up to 100,000 pictures, `text.safetensors` where the configuration has a text tower, and `photos.json`. The
/// features of all pictures are in memory. Files that cannot be read are added to `left_out`.
///
/// # Errors
/// When the weights do not fit the network or the text tower, or network and tower do not fit each other, when there are too few pictures for
/// the code length, or when a file cannot be written. What was made is then removed. A directory that has a file of a run is refused.
pub fn build(
    pictures: &[PathBuf],
    weights: &Pretrained,
    config: &PhotosConfig,
    place: &NewRun,
    left_out: &mut LeftOut,
    progress: Progress,
) -> Result<Photos> {
    let device = device(&config.device, progress)?;
    let PhotosConfig { encoder, image_side, method, seed, .. } = *config;
    // A first network for features alone: the possible number of bits is known only when all pictures have been read.
    let network = network(config, 1, &device)?;
    let Loaded { loaded, unused } =
        weights.load_into(network.parameters(), network.config().input)?;
    let (unused, sha256) = (unused.len(), weights.sha256());
    progress.line(format!("weights: {loaded} tensors, {unused} unused; sha256 {sha256}"));
    let tower = tower(config, &network, weights)?;
    let run = RunDir::create(place, &format!("photos-{}", encoder.name()))?;
    let _lock = run.lock_new()?;
    let made = (|| {
        let (features, named, thumbnails) =
            features(pictures, &network, config, &run, left_out, progress)?;
        let bits = code_length(config, &features)?;
        let fitted = FitConfig { method, bits, normalize: false, seed, ..FitConfig::default() };
        let codec = fit(&features, &fitted, &mut |_| ())?;
        let network = self::network(config, bits, &device)?;
        weights.load_into(network.parameters(), network.config().input)?;
        let Some((weight, bias)) = codec.affine() else {
            let (got, expected) = (method.name().to_owned(), "a linear method".to_owned());
            return Err(Error::Config { name: "method", got, expected });
        };
        set(
            &network,
            "hash_layer.weight",
            Tensor::from_vec(weight, (bits, features.dims), &Device::Cpu)?,
        )?;
        set(&network, "hash_layer.bias", Tensor::from_vec(bias, bits, &Device::Cpu)?)?;
        let model_sha256 = checkpoint::save(&network, &run.file(RunDir::MODEL))?;
        if let (Some(tower), Some(TextPart { tokenizer, .. })) = (&tower, &config.text) {
            let (codec, model_sha256) = (&codec, &*model_sha256);
            let text = FitText { tower, weights, tokenizer, codec, model_sha256 };
            text.write(&run.file(RunDir::TEXT))?;
            progress.line("the text tower is kept: the directory is searched by texts, too");
        }
        let values = HeadEncoder::new(&network)?.encode(&[&features.values])?;
        let mut set = CodeSet::new(Codes::from_real(bits as u32, &values)?);
        set.model_sha256 = Some(model_sha256.clone());
        let codes = run.file(RunDir::CODES);
        files::write_codes(&set, &codes, named.iter().map(|number| &*pictures[*number]))?;
        let vectors = |kept| VectorSet::from_f32(features.dims, &features.values)?.to_type(kept);
        set.vectors = config.vectors.map(vectors).transpose()?;
        IndexBuilder::new(IndexConfig::default()).build(&set, &run.file(RunDir::INDEX))?;
        // No queries are held out: all pictures are searched.
        let mut queries = CodeSet::new(Codes::new(bits as u32, Vec::new())?);
        queries.model_sha256 = Some(model_sha256.clone());
        queries.write(run.file(RunDir::QUERIES))?;
        // Not before: a file of a run in the directory of an interrupted command would keep the next one from using it.
        if let Some(thumbnails) = thumbnails {
            thumbnails.finish()?;
        }
        let (images, origin) = (named.len(), Origin::here());
        run.write_json(
            RunDir::PHOTOS,
            &Record {
                version: RunDir::VERSION,
                encoder: encoder.name(),
                image_side,
                fit: encoder.pretrained_fit(),
                weights_sha256: weights.sha256(),
                method: method.name(),
                bits,
                vectors: config.vectors,
                seed,
                images,
                model_sha256: &model_sha256,
                text: config.text.as_ref().map(|text| text.tower.family),
                origin,
            },
        )?;
        run.make_latest(progress)?;
        Ok(Photos { run: run.clone(), images, bits, model_sha256 })
    })();
    if made.is_err() {
        // A directory without codes is of no use. It had none of these files before, or it would have been refused; others in it are kept.
        for name in RunDir::ALL {
            let _ = std::fs::remove_file(run.file(name));
        }
        let _ = std::fs::remove_dir_all(run.file(RunDir::INDEX));
        let _ = std::fs::remove_dir(run.path());
    }
    made
}

fn network(config: &PhotosConfig, bits: usize, device: &Device) -> Result<Network> {
    let (side, fit) = (config.image_side, config.encoder.pretrained_fit());
    let input = InputShape::new(side, side, 3).with_fit(fit);
    let config = NetworkConfig {
        backbone: config.encoder,
        input,
        normalization: config.encoder.pretrained_normalization(),
        bits,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::Fitted(Fitted {}),
        views: Views::default(),
        classes: Vec::new(),
    };
    Ok(Network::new(config, 0, device)?)
}

/// Loads the text tower before anything is made: no pictures are needed to see whether it fits.
fn tower(
    config: &PhotosConfig,
    network: &Network,
    weights: &Pretrained,
) -> Result<Option<TextTower>> {
    let Some(TextPart { tower, .. }) = &config.text else { return Ok(None) };
    let (got, expected) = (tower.features, network.backbone().features());
    if got != expected {
        return Err(Error::Config {
            name: "features of the text tower",
            got: got.to_string(),
            expected: format!(
                "{expected}, as many as {} makes of a picture",
                config.encoder.name()
            ),
        });
    }
    Ok(Some(TextTower::from_pretrained(*tower, weights, network.device())?))
}

fn set(network: &Network, name: &str, value: Tensor) -> Result<()> {
    if let Some(variable) = network.parameters().get(name) {
        variable.set(&value.to_device(network.device())?)?;
    }
    Ok(())
}

/// Computes the features of all readable pictures, with their numbers, and makes thumbnails on the way.
fn features(
    pictures: &[PathBuf],
    network: &Network,
    config: &PhotosConfig,
    run: &RunDir,
    left_out: &mut LeftOut,
    progress: Progress,
) -> Result<(Features, Vec<usize>, Option<Thumbnails>)> {
    let input = network.config().input;
    let encoder = FeatureEncoder::new(network)?;
    let mut thumbnails = None;
    if pictures.len() <= MAX_IMAGES {
        thumbnails = Some(Thumbnails::new(&run.file(RunDir::GALLERY), input)?);
    } else {
        progress.line(format!(
            "no thumbnails are kept, as there are {} pictures; the page shows those of up to {MAX_IMAGES}",
            pictures.len()
        ));
    }
    let dims = network.backbone().features();
    let mut features = Features { values: Vec::new(), dims };
    let started = Instant::now();
    let pictures = Pictures { files: pictures, reader: &config.reader, input };
    let named = pictures.for_each_part((progress, "features"), left_out, |pixels, _| {
        features.values.extend(encoder.encode(pixels)?);
        match &mut thumbnails {
            Some(thumbnails) => thumbnails.add(pixels),
            None => Ok(()),
        }
    })?;
    let (count, seconds) = (named.len(), started.elapsed().as_secs_f64());
    progress.line(format!("features of {count} pictures in {seconds:.1} s"));
    Ok((features, named, thumbnails))
}

/// A hash layer of K bits needs more than K pictures and at least K features.
fn code_length(config: &PhotosConfig, features: &Features) -> Result<usize> {
    let most = features.dims.min(features.len().saturating_sub(1));
    let fitting = [256, 128, 64, 32, 16, 8].into_iter().find(|bits| *bits <= most);
    match config.bits {
        Some(bits) if bits > most => Err(Error::Config {
            name: "bits",
            got: bits.to_string(),
            expected: format!(
                "at most {most}, for {} usable pictures of {} features",
                features.len(),
                features.dims
            ),
        }),
        Some(bits) => Ok(bits),
        None => fitting.ok_or_else(|| Error::Config {
            name: "pictures",
            got: format!("{} usable ones", features.len()),
            expected: "at least 9".to_owned(),
        }),
    }
}
