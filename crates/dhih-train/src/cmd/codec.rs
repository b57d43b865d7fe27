//! `dhih-train codec`: fits a codec to vectors, or trains one on their labels or on two views of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::builder::{FalseyValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use dhih_index::{Labels, Vectors};
use dhih_model::codec::{Codec, FitConfig, Method};
use dhih_train::output::check_output;
use dhih_train::vectors::head::{HeadConfig, TrainedHead, Validation};
use dhih_train::vectors::views::ViewsConfig;
use dhih_train::vectors::{fit_codec, train_codec, train_codec_on_views};
use dhih_train::{LossOptions, LossParam, Progress};
use serde::Serialize;

const LABELLED: &str = "With --labels";
const TRAINED: &str = "With --labels or --views";

/// Flags of `codec`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("trained").args(["labels", "views"]).multiple(true),
    after_help = "Examples:\n  dhih-train codec --vectors embeddings.npy --bits 256 --out codec.safetensors\n  \
    dhih-train codec --vectors embeddings.npy --labels labels.npy --bits 64 --out codec.safetensors\n  \
    dhih-train codec --vectors embeddings.npy --views other-crops.npy --bits 64 --out codec.safetensors\n  \
    dhih-train encode --codec codec.safetensors --vectors embeddings.npy --out codes.safetensors\n  \
    dhih-train codec --vectors embeddings.npy --bits 256 --nested 32,64 --out codec.safetensors\n  \
    dhih-train codec --shorten codec.safetensors --bits 64 --out codec-64.safetensors"
)]
pub(crate) struct CodecArgs {
    /// Vectors to fit the codec to: an .npy array of floats, one vector a row, or a .parquet file with a column of lists of floats
    #[arg(long, env = "DHIH_VECTORS", value_name = "FILE", required_unless_present = "shorten")]
    vectors: Option<PathBuf>,
    /// Write the codec of the first --bits bits of this codec, one of its --nested lengths; nothing is fitted
    #[arg(long, env = "DHIH_SHORTEN", value_name = "FILE", requires = "bits",
        conflicts_with_all = ["vectors", "method", "nested", "labels", "views"])]
    shorten: Option<PathBuf>,
    /// Code length [default: 256; 64 with --labels]
    #[arg(long, env = "DHIH_CODEC_BITS", value_name = "N")]
    bits: Option<usize>,
    /// How bits are made of the numbers of a vector [default: itq; head with --labels or --views]
    #[arg(long, env = "DHIH_METHOD", value_name = "NAME", value_parser = methods(|_| true))]
    method: Option<Method>,
    /// Shorter lengths, ascending: the first bits of each code are codes of their own
    #[arg(long, env = "DHIH_NESTED", value_name = "N,N,...", value_delimiter = ',')]
    nested: Vec<usize>,
    /// Codec to write
    #[arg(long, env = "DHIH_CODEC_OUT", value_name = "FILE", default_value = "codec.safetensors")]
    out: PathBuf,
    /// Take vectors as they are: their length counts, too. Without it they are brought to length 1 first
    #[arg(long, env = "DHIH_NO_NORMALIZE", value_parser = FalseyValueParser::new())]
    no_normalize: bool,
    /// Rounds of itq, from which --views start, too
    #[arg(long, env = "DHIH_ITERATIONS", value_name = "N", default_value_t = 50)]
    iterations: usize,
    /// Seed of what is drawn
    #[arg(long, env = "DHIH_CODEC_SEED", value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    head: HeadArgs,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Flags of training on labels or on two views.
#[derive(Debug, Args)]
struct HeadArgs {
    /// Another view of each vector, in the same order, in place of labels: of another crop of a picture, of another text with the same meaning.
    /// Without FILE, both views are the vector with some of its numbers left out
    #[arg(long, env = "DHIH_CODEC_VIEWS", value_name = "FILE", num_args = 0..=1, help_heading = TRAINED)]
    views: Option<Option<PathBuf>>,
    /// Passes over the vectors [default: 15]
    #[arg(long, env = "DHIH_CODEC_EPOCHS", value_name = "N", requires = "trained", help_heading = TRAINED)]
    epochs: Option<usize>,
    /// Vectors a step [default: 256]
    #[arg(long, env = "DHIH_CODEC_BATCH_SIZE", value_name = "N", requires = "trained", help_heading = TRAINED)]
    batch_size: Option<usize>,
    /// Learning rate after the first epoch [default: 0.1; 0.05 with --views]
    #[arg(long, env = "DHIH_CODEC_LEARNING_RATE", value_name = "X", visible_alias = "lr", requires = "trained",
        help_heading = TRAINED)]
    learning_rate: Option<f64>,
    /// Labels of the vectors, an .npy array: whole numbers, one a vector, -1 for none; or rows of 0 and 1, a column for each class
    #[arg(long, env = "DHIH_CODEC_LABELS", value_name = "FILE", help_heading = LABELLED)]
    labels: Option<PathBuf>,
    /// Loss, and constants of it: NAME or NAME:CONSTANT=VALUE:...; `list losses` shows all [default: hi]
    #[arg(long, env = "DHIH_CODEC_LOSS", value_name = "LOSS", requires = "labels", help_heading = LABELLED)]
    loss: Option<LossOptions>,
    /// Constant of the loss, repeatable
    #[arg(long, env = "DHIH_CODEC_LOSS_PARAM", value_name = "NAME=VALUE", value_delimiter = ',', requires = "labels",
        help_heading = LABELLED)]
    loss_param: Vec<LossParam>,
    /// Units of a hidden layer; 0 is none [default: 1024]
    #[arg(long, env = "DHIH_CODEC_HIDDEN", value_name = "N", requires = "labels", help_heading = LABELLED)]
    hash_hidden: Option<usize>,
    /// L2 penalty of weights [default: 0.01]
    #[arg(long, env = "DHIH_CODEC_WEIGHT_DECAY", value_name = "X", visible_alias = "wd", requires = "labels",
        help_heading = LABELLED)]
    weight_decay: Option<f64>,
    /// Part of the labels' weight that is spread over all classes [default: 0]
    #[arg(long, env = "DHIH_CODEC_LABEL_SMOOTHING", value_name = "X", requires = "labels", help_heading = LABELLED)]
    label_smoothing: Option<f64>,
    /// Part of the labelled vectors that is held out to watch training by [default: 0]
    #[arg(long, env = "DHIH_CODEC_VALIDATION", value_name = "X", requires = "labels", help_heading = LABELLED)]
    validation: Option<f64>,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "super::as_text")]
    out: &'a Path,
    method: &'a str,
    /// The number of vectors that it was fitted to or trained on; absent where it is a shortened codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<usize>,
    dims: usize,
    bits: usize,
    #[serde(skip_serializing_if = "<[usize]>::is_empty")]
    nested: &'a [usize],
    sha256: &'a str,
    /// The results on held-out vectors, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_map: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_accuracy: Option<f64>,
}

/// A codec, and what it was made of.
struct Made {
    codec: Codec,
    vectors: Option<usize>,
    validation: Option<Validation>,
}

/// A value parser for the names of the wanted methods.
pub(super) fn methods(
    is_offered: impl Fn(Method) -> bool,
) -> impl TypedValueParser<Value = Method> {
    let offered = Method::ALL.into_iter().filter(|(_, method, _)| is_offered(*method));
    let named = offered.map(|(name, _, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(named.collect::<Vec<_>>())
        .try_map(|name| Method::named(&name).ok_or("no such method"))
}

/// Fits, trains or shortens a codec, writes it, and reports.
pub(crate) fn run(args: &CodecArgs) -> Result<()> {
    let inputs = [&args.vectors, &args.shorten, &args.head.labels].into_iter().flatten();
    let inputs = inputs.chain(args.head.views.iter().flatten());
    check_output(&args.out, inputs.map(|path| &**path))?;
    let Made { codec, vectors, validation } = args.make()?;
    codec.save(&args.out)?;
    let (bits, dims, method) = (codec.bits(), codec.dims(), codec.config().method.name());
    if args.json {
        return super::print_json(&Report {
            out: &args.out,
            method,
            vectors,
            dims,
            bits,
            nested: &codec.config().nested,
            sha256: codec.sha256(),
            validation_map: validation.map(|Validation { map, .. }| map),
            validation_accuracy: validation.and_then(|Validation { accuracy, .. }| accuracy),
        });
    }
    let out = args.out.display();
    let vectors = args.vectors.as_deref().unwrap_or(Path::new("FILE")).display();
    super::print(&format!(
        "{method} of {bits} bits for vectors of {dims} numbers in {out}\n\
         next        dhih-train encode --codec {out} --vectors {vectors}\n"
    ))
}

impl CodecArgs {
    fn make(&self) -> Result<Made> {
        if let (Some(whole), Some(bits)) = (&self.shorten, self.bits) {
            let codec = Codec::load(whole)?.shortened(bits)?;
            return Ok(Made { codec, vectors: None, validation: None });
        }
        // The flags guarantee that there are vectors unless a codec is shortened.
        let vectors = Vectors::open(self.vectors.as_ref().context("no --vectors")?)?;
        let HeadArgs { labels, views, .. } = &self.head;
        let trained_on = match (labels, views) {
            (Some(_), Some(_)) => {
                bail!("a codec is trained on labels or on views; leave out --labels or --views")
            }
            (labels, views) => {
                labels.as_ref().map(|_| "labels").or(views.as_ref().map(|_| "views"))
            }
        };
        match (self.method, trained_on) {
            (None | Some(Method::Head), Some(_)) => self.train(&vectors),
            (Some(method), Some(given)) => bail!(
                "{} makes no use of {given}; leave out --{given}, or take --method head",
                method.name()
            ),
            (Some(Method::Head), None) => bail!(
                "head is trained; give --labels FILE, or --views FILE with another view of each vector, or take --method itq"
            ),
            (method, None) => {
                let codec = fit_codec(&vectors, &self.fit_config(method), Progress::Shown)?;
                Ok(Made { codec, vectors: Some(vectors.len()), validation: None })
            }
        }
    }

    /// Trains a codec on labels or on two views.
    fn train(&self, vectors: &Vectors) -> Result<Made> {
        if let Some(views) = &self.head.views {
            let (views, config) = (views.as_ref().map(Vectors::open), self.views_config());
            let views = views.transpose()?;
            let codec = train_codec_on_views(vectors, views.as_ref(), &config, Progress::Shown)?;
            return Ok(Made { codec, vectors: Some(vectors.len()), validation: None });
        }
        let labels = Labels::read(self.head.labels.as_ref().context("no --labels")?)?;
        let TrainedHead { codec, trained, validation } =
            train_codec(vectors, &labels, &self.head_config(), Progress::Shown)?;
        Ok(Made { codec, vectors: Some(trained), validation })
    }

    fn fit_config(&self, method: Option<Method>) -> FitConfig {
        let default = FitConfig::default();
        FitConfig {
            method: method.unwrap_or(default.method),
            bits: self.bits.unwrap_or(default.bits),
            normalize: !self.no_normalize,
            seed: self.seed,
            iterations: self.iterations,
            nested: self.nested.clone(),
        }
    }

    fn views_config(&self) -> ViewsConfig {
        let (head, default) = (&self.head, ViewsConfig::default());
        ViewsConfig {
            start: self.fit_config(None),
            epochs: head.epochs.unwrap_or(default.epochs),
            batch_size: head.batch_size.unwrap_or(default.batch_size),
            learning_rate: head.learning_rate.unwrap_or(default.learning_rate),
            ..default
        }
    }

    fn head_config(&self) -> HeadConfig {
        let (head, default) = (&self.head, HeadConfig::default());
        HeadConfig {
            bits: self.bits.unwrap_or(default.bits),
            nested: self.nested.clone(),
            normalize: !self.no_normalize,
            loss: head.loss.clone().unwrap_or_default().with_params(head.loss_param.clone()),
            hidden: head.hash_hidden.unwrap_or(default.hidden),
            epochs: head.epochs.unwrap_or(default.epochs),
            batch_size: head.batch_size.unwrap_or(default.batch_size),
            learning_rate: head.learning_rate.unwrap_or(default.learning_rate),
            weight_decay: head.weight_decay.unwrap_or(default.weight_decay),
            label_smoothing: head.label_smoothing.unwrap_or(default.label_smoothing),
            validation: head.validation.unwrap_or(default.validation),
            seed: self.seed,
        }
    }
}
