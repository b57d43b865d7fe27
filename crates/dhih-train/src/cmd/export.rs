//! `dhih-train export`: a trained network, or the text tower beside it, as an ONNX model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_model::{checkpoint, onnx};
use dhih_train::RunDir;
use dhih_train::output::check_output;
use serde::Serialize;

use super::encode::texts::text_encoder;

/// Flags of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train export --run runs/latest --out model.onnx\n  \
    dhih-train export --run runs/latest --text --out text.onnx\n\n\
    The model takes `images`, u8 [n, height, width, channels], and returns `codes`, u8 [n, bytes], packed as those of \
    `dhih-train encode`, and the `values` whose signs they are. That of --text takes `tokens`, i64 [n, context], and also \
    returns `vectors`, which are compared with the features of pictures.")]
pub(crate) struct ExportArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
    /// Export the text tower that `dhih-train photos` keeps in the run, in place of the network
    #[arg(long, env = "DHIH_EXPORT_TEXT", value_parser = FalseyValueParser::new())]
    text: bool,
    /// ONNX file to write
    #[arg(long, env = "DHIH_EXPORT_OUT", value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "super::as_text")]
    out: &'a Path,
    bits: usize,
    /// The shape of one input: height, width and channels of an image, or the tokens of a text.
    input: Vec<usize>,
    model_sha256: &'a str,
}

/// Exports and reports.
pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    check_output(&args.out, RunDir::files_of(&args.run).iter().map(|path| &**path))?;
    if args.text {
        return text(args);
    }
    let model = args.run.join(RunDir::MODEL);
    let (network, model_sha256) = checkpoint::load(&model, &Device::Cpu)
        .context("no usable model; `dhih-train train` makes one")?;
    onnx::write(&network, &model_sha256, &args.out)?;
    let config = network.config();
    let input = vec![config.input.height, config.input.width, config.input.channels];
    let model_sha256 = &model_sha256;
    report(args, "images u8", &Report { out: &args.out, bits: config.bits, input, model_sha256 })
}

/// Exports the text tower and reports.
fn text(args: &ExportArgs) -> Result<()> {
    let encoder = text_encoder(&args.run, &Device::Cpu)?;
    onnx::write_text(&encoder, &args.out)?;
    let (input, model_sha256) = (vec![encoder.config().context], encoder.model_sha256());
    let report_of = Report { out: &args.out, bits: encoder.bits(), input, model_sha256 };
    report(args, "tokens i64", &report_of)
}

fn report(args: &ExportArgs, input: &str, report: &Report<'_>) -> Result<()> {
    if args.json {
        return super::print_json(report);
    }
    let shape: Vec<String> = report.input.iter().map(ToString::to_string).collect();
    let (out, shape, bits) = (report.out.display(), shape.join(", "), report.bits);
    super::print(&format!("{out}: {input} [n, {shape}] to codes of {bits} bits\n"))
}
