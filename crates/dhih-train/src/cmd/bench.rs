//! `dhih-train bench`: how fast a network trains and encodes on this machine.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::throughput::{Throughput, ThroughputConfig, Work};
use dhih_train::{TrainOptions, device};

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dhih-train bench --backbone resnet18 --batch-size 16\n\nDHIH_OPS=candle measures candle's \
                  operations instead of ours, DHIH_ISA=avx2 ours without AVX-512."
)]
pub(crate) struct BenchArgs {
    /// Backbone
    #[arg(long, env = "DHIH_BACKBONE", value_name = "NAME", default_value = "small")]
    backbone: String,
    /// Loss
    #[arg(long, env = "DHIH_LOSS", value_name = "NAME", default_value = "hi")]
    loss: String,
    /// Images a step
    #[arg(long, env = "DHIH_BATCH_SIZE", value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Side of the images, in pixels [default: what the backbone was made for]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS")]
    image_side: Option<usize>,
    /// Seconds for each of training and inference
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 5.0)]
    seconds: f64,
    /// Measure this alone
    #[arg(long, env = "DHIH_ONLY", value_name = "WORK")]
    only: Option<Work>,
    /// Device: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object a line on stdout
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Measures and prints.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let device = device(&args.device)?;
    // Names are read as for training.
    let options = TrainOptions {
        backbone: Some(args.backbone.clone()),
        loss: Some(args.loss.as_str().into()),
        ..Default::default()
    };
    let train = options.resolve()?;
    let config = ThroughputConfig {
        backbone: train.backbone,
        side: args.image_side.unwrap_or(train.backbone.default_side()),
        batch_size: args.batch_size,
        loss: train.loss,
        duration: Duration::try_from_secs_f64(args.seconds)?,
    };
    for work in [Work::Training, Work::Inference] {
        if args.only.is_some_and(|only| only != work) {
            continue;
        }
        let throughput = config.measure(work, &device)?;
        if args.json {
            super::print_json(&throughput)?;
            continue;
        }
        let Throughput { images_per_second, step_seconds, steps, .. } = throughput;
        super::print(&format!(
            "{:10} {images_per_second:8.1} images/s ({:.2} ms a step of {}, median of {steps})\n",
            format!("{work:?}").to_lowercase(),
            step_seconds * 1e3,
            args.batch_size,
        ))?;
    }
    Ok(())
}
