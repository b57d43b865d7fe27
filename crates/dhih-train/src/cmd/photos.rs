//! `dhih-train photos`: makes a directory of pictures without labels that `dhih-serve` searches, by `dhih_train::photos`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use dhih_index::VectorType;
use dhih_model::codec::Method;
use dhih_model::image::FORMATS;
use dhih_model::text::{TextTokenizer, TextTower};
use dhih_model::walk::{LeftOut, Walk};
use dhih_model::{Backbone, Pretrained};
use dhih_train::photos::{DEFAULT_ENCODER, PhotosConfig, TextPart, build};
use dhih_train::{NewRun, Progress, WeightsSource};
use serde::Serialize;

use super::codec::methods;
use super::pictures::{LimitArgs, tell_left_out};

/// Flags of `photos`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train photos pictures\n  \
    dhih-train photos pictures --encoder efficientnet-lite0 --weights efficientnet_lite0.safetensors\n  \
    dhih-train photos pictures --encoder clip-vit-b32 --weights clip.safetensors --bits 512\n\n\
    The last directory is runs/latest, where dhih-serve looks. `dhih-train list backbones` shows the encoders.")]
pub(crate) struct PhotosArgs {
    /// Folder that is searched for pictures at any depth, by content; hidden names are left out
    #[arg(value_name = "FOLDER", env = "DHIH_FOLDER")]
    folder: PathBuf,
    /// Network that makes features of pictures
    #[arg(long, env = "DHIH_ENCODER", value_name = "NAME", default_value = DEFAULT_ENCODER,
        hide_possible_values = true, value_parser = encoders())]
    encoder: Backbone,
    /// Its weights: a file, or hf:OWNER/REPO[@REVISION][/FILE] [default: those on the hub, where the encoder has some]
    #[arg(long, env = "DHIH_WEIGHTS", value_name = "SOURCE")]
    weights: Option<WeightsSource>,
    /// Tokenizer of the weights' text tower, for searches by text: a file, or hf:OWNER/REPO[@REVISION]/FILE [default: tokenizer.json beside the weights, where there is one]
    #[arg(long, env = "DHIH_TOKENIZER", value_name = "SOURCE")]
    tokenizer: Option<WeightsSource>,
    /// Side to which pictures are scaled, in pixels [default: that of the encoder]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS")]
    image_side: Option<usize>,
    /// Code length [default: 256, or as many as pictures and features are enough for]
    #[arg(long, env = "DHIH_PHOTOS_BITS", value_name = "N")]
    bits: Option<usize>,
    /// How bits are made of features
    #[arg(long, env = "DHIH_METHOD", value_name = "NAME", default_value = "itq", value_parser = methods(|method| !method.is_trained()))]
    method: Method,
    /// How the index keeps features beside the codes, so that the nearest by code are put in order by them: int8, f16, f32 or none
    #[arg(long, env = "DHIH_PHOTOS_VECTORS", value_name = "TYPE", default_value = "int8", value_parser = kept)]
    vectors: Kept,
    /// Seed of the rotation
    #[arg(long, env = "DHIH_CODEC_SEED", value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Directory to make [default: runs/photos-ENCODER-NNN]
    #[arg(long, env = "DHIH_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Refuse, before anything is made, folders in which a file, folder or link cannot be used; without it they are passed over and listed
    #[arg(long, env = "DHIH_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Device: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "super::as_text")]
    run_dir: &'a Path,
    images: usize,
    bits: usize,
    model_sha256: &'a str,
    /// The number of entries that are left out, by the reason.
    left_out: &'a LeftOut,
}

/// How features are stored, if at all.
#[derive(Debug, Clone, Copy)]
struct Kept(Option<VectorType>);

fn kept(text: &str) -> Result<Kept, String> {
    match text {
        "none" => Ok(Kept(None)),
        text => text.parse().map(|kept| Kept(Some(kept))).map_err(|error| error + ", or none"),
    }
}

fn encoders() -> impl TypedValueParser<Value = Backbone> {
    let names = PossibleValuesParser::new(Backbone::ALL.iter().map(|backbone| backbone.name()));
    names.try_map(|name| Backbone::named(&name).ok_or("there is no such encoder"))
}

/// The text tower beside the image tower, where encoder and weights have one and its tokenizer is there.
fn text(
    args: &PhotosArgs,
    source: &WeightsSource,
    weights: &Pretrained,
) -> Result<Option<TextPart>> {
    let encoder = args.encoder;
    let is_wanted = args.tokenizer.is_some();
    let tower = match encoder.text() {
        Some(tower) if TextTower::is_in(weights) => tower,
        Some(_) if is_wanted => bail!(
            "the weights have no text tower, and so no use for a tokenizer; give a checkpoint of both towers, or leave --tokenizer out"
        ),
        Some(_) => {
            Progress::Shown.line(
                "NOTE: the weights have no text tower: the directory is not searched by texts",
            );
            return Ok(None);
        }
        None if is_wanted => {
            let names = Backbone::ALL.iter().filter(|it| it.text().is_some());
            let names = names.map(|it| it.name()).collect::<Vec<_>>().join(", ");
            let name = encoder.name();
            bail!("{name} has no text tower; those that have one are {names}");
        }
        None => return Ok(None),
    };
    let beside = || source.beside("tokenizer.json");
    let tokenizer = args.tokenizer.clone().unwrap_or_else(beside);
    let (bytes, path) = match tokenizer.bytes(Progress::Shown) {
        Ok(file) => file,
        Err(error) if is_wanted => return Err(error.into()),
        Err(error) => {
            Progress::Shown.line(format!(
                "NOTE: there is no tokenizer, so that the directory is not searched by texts: {error}\n\
                 hint: --tokenizer FILE names the tokenizer.json that is published with the weights"
            ));
            return Ok(None);
        }
    };
    let tokenizer = TextTokenizer::from_bytes(&bytes, &tower, &path)?;
    Ok(Some(TextPart { tower, tokenizer }))
}

/// Makes the directory and reports.
pub(crate) fn run(args: &PhotosArgs) -> Result<()> {
    let encoder = args.encoder;
    let source = match (&args.weights, encoder.published_weights()) {
        (Some(source), _) => source.clone(),
        (None, Some(repository)) => format!("hf:{repository}").parse()?,
        (None, None) => bail!(
            "{} has no weights on the hub that are known here; name a file with --weights",
            encoder.name()
        ),
    };
    let about = || format!("cannot read {}", args.folder.display());
    let Walk { files, mut left_out, .. } = Walk::pictures(&args.folder).with_context(about)?;
    if args.strict {
        left_out.refuse_faults_and(&files)?;
    }
    if files.is_empty() {
        bail!("no picture in {}; give a folder of {FORMATS} images", args.folder.display());
    }
    let weights = source.open(Progress::Shown)?;
    let config = PhotosConfig {
        encoder,
        image_side: args.image_side.unwrap_or_else(|| encoder.default_side()),
        bits: args.bits,
        method: args.method,
        vectors: args.vectors.0,
        seed: args.seed,
        reader: args.limits.reader(),
        device: args.device.clone(),
        text: text(args, &source, &weights)?,
    };
    let place = NewRun::from(args.run_dir.as_deref());
    let made = build(&files, &weights, &config, &place, &mut left_out, Progress::Shown);
    tell_left_out(&left_out);
    let photos = made?;
    let (run_dir, images, bits) = (photos.run.path(), photos.images, photos.bits);
    if args.json {
        let (model_sha256, left_out) = (&*photos.model_sha256, &left_out);
        return super::print_json(&Report { run_dir, images, bits, model_sha256, left_out });
    }
    let run_dir = run_dir.display();
    super::print(&format!(
        "{images} pictures in {run_dir}, codes of {bits} bits\n\
         next        dhih-serve --run {run_dir}\n"
    ))
}
