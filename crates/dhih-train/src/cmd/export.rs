//! `dhih-train export`: a trained network as an ONNX model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_model::{checkpoint, onnx};
use dhih_train::RunDir;
use serde::Serialize;

/// Flags of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhih-train export --run runs/latest --out model.onnx\n\n\
    The model takes `images`, u8 [n, height, width, channels], and returns `codes`, u8 [n, bytes], packed as those of \
    `dhih-train encode`, and the `values` whose signs they are.")]
pub(crate) struct ExportArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
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
    out: &'a Path,
    bits: usize,
    input: [usize; 3],
    model_sha256: &'a str,
}

/// Exports and reports.
pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let model = args.run.join(RunDir::MODEL);
    let (network, model_sha256) = checkpoint::load(&model, &Device::Cpu)
        .context("no usable model; `dhih-train train` makes one")?;
    onnx::write(&network, &model_sha256, &args.out)?;
    let config = network.config();
    let input = [config.input.height, config.input.width, config.input.channels];
    let report = Report { out: &args.out, bits: config.bits, input, model_sha256: &model_sha256 };
    if args.json {
        return super::print_json(&report);
    }
    let [height, width, channels] = input;
    super::print(&format!(
        "{}: images u8 [n, {height}, {width}, {channels}] to codes of {} bits\n",
        args.out.display(),
        config.bits
    ))
}
