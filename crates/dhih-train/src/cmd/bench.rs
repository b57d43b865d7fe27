//! `dhih-train bench`: how fast a network trains and encodes on this machine.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_model::Precision;
use dhih_train::throughput::{Simulated, Throughput, ThroughputConfig, Work};
use dhih_train::{LossOptions, Progress, TrainOptions, device};
use serde::Serialize;

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
    /// Loss, and constants of it: NAME or NAME:CONSTANT=VALUE:...
    #[arg(long, env = "DHIH_LOSS", value_name = "LOSS", default_value = "hi")]
    loss: LossOptions,
    /// Images a step
    #[arg(long, env = "DHIH_BATCH_SIZE", value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Side of the images, in pixels [default: what the backbone was made for]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS")]
    image_side: Option<usize>,
    /// Train the last N blocks of the backbone and the hash layer alone
    #[arg(long, env = "DHIH_TRAIN_LAST", value_name = "N")]
    train_last: Option<usize>,
    /// Seconds for each of training and inference
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 5.0)]
    seconds: f64,
    /// Measure this alone
    #[arg(long, env = "DHIH_ONLY", value_name = "WORK")]
    only: Option<Work>,
    /// What layers are computed in at inference: f32, or on the CPU int8
    #[arg(long, env = "DHIH_PRECISION", value_name = "PRECISION", default_value = "f32")]
    precision: Precision,
    /// Also simulate training on so many cores, from the times of its tasks on one
    #[arg(long, env = "DHIH_CORES", value_name = "N", value_delimiter = ',',
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    cores: Vec<usize>,
    /// Device: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object a line on stdout
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of each kind of work.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    throughput: Throughput,
    /// The peak memory of the process up to then, where the system reports it (Linux).
    most_memory_mib: Option<f64>,
}

/// The peak memory of this process, as Linux reports it.
fn most_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Runs the measurements and prints them.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let device = device(&args.device, Progress::Shown)?;
    // Names are parsed as in training.
    let options = TrainOptions {
        backbone: Some(args.backbone.clone()),
        loss: Some(args.loss.clone()),
        ..Default::default()
    };
    let train = options.resolve()?;
    let config = ThroughputConfig {
        backbone: train.backbone,
        side: args.image_side.unwrap_or(train.backbone.default_side()),
        batch_size: args.batch_size,
        precision: args.precision,
        loss: train.loss,
        train_last: args.train_last,
        duration: Duration::try_from_secs_f64(args.seconds).ok().with_context(|| {
            format!("seconds is {}, expected a number of at least 0", args.seconds)
        })?,
    };
    for work in [Work::Training, Work::Inference] {
        if args.only.is_some_and(|only| only != work) {
            continue;
        }
        let throughput = config.measure(work, &device)?;
        if args.json {
            super::print_json(&Measured { throughput, most_memory_mib: most_memory_mib() })?;
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
    for simulated in config.simulate(&args.cores)? {
        if args.json {
            super::print_json(&simulated)?;
            continue;
        }
        let Simulated { cores, step_seconds, serial_seconds } = simulated;
        super::print(&format!(
            "{cores:4} cores  {:8.1} images/s in training, simulated ({:.2} ms a step, {:.2} of them on one core)\n",
            args.batch_size as f64 / step_seconds,
            step_seconds * 1e3,
            serial_seconds * 1e3,
        ))?;
    }
    Ok(())
}
