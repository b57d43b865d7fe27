//! `dhih-train calibrate`: measures a run's network on images, so that it can be computed in integers of 8 bits.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_model::walk::LeftOut;
use dhih_train::run::int8::{Agreement, CalibrationConfig, calibrate};
use dhih_train::{Progress, RunDir};
use serde::Serialize;

use super::pictures::tell_left_out;

/// Flags of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train calibrate --run runs/latest\n  \
    dhih-train calibrate --run runs/photos-001 --images photos\n\n\
    It writes calibration.safetensors into the run. `dhih-train encode --precision int8` then computes most layers in integers of 8 \
    bits on the CPU. A few bits differ from those of f32, and the command prints how many; codes of both can be compared.")]
pub(crate) struct CalibrateArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
    /// Folders of pictures like those to be encoded [default: the images that the run was trained on]
    #[arg(long, env = "DHIH_CALIBRATION_IMAGES", value_name = "FOLDER", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Images that are measured
    #[arg(long, env = "DHIH_CALIBRATION_COUNT", value_name = "N", default_value_t = 256)]
    count: usize,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    agreement: &'a Agreement,
    /// The number of entries of the folders that are left out, by the reason.
    left_out: &'a LeftOut,
}

/// Calibrates and reports.
pub(crate) fn run(args: &CalibrateArgs) -> Result<()> {
    let config = CalibrationConfig {
        run: &args.run,
        pictures: &args.images,
        images: args.count,
        progress: Progress::Shown,
    };
    let mut left_out = LeftOut::default();
    let agreement = calibrate(&config, &mut left_out);
    tell_left_out(&left_out);
    let agreement = agreement?;
    if args.json {
        return super::print_json(&Report { agreement: &agreement, left_out: &left_out });
    }
    let Agreement { layers, images, compared, agreement, map_f32, map_int8 } = agreement;
    let file = args.run.join(RunDir::CALIBRATION);
    let mut text = format!(
        "{layers} layers in integers, measured on {images} images, in {}\nbits as in f32: {:.2} % of {compared} other images\n",
        file.display(),
        100.0 * agreement
    );
    if let (Some(f32), Some(int8)) = (map_f32, map_int8) {
        text += &format!(
            "mAP       {f32:.4} in f32, {int8:.4} in int8  (of these queries, against the database in f32)\n"
        );
    }
    super::print(&text)
}
