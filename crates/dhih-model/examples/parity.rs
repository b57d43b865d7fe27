//! Compares what a device computes with what the CPU computed before: features, gradients and codes of every backbone.
//!
//! ```text
//! cargo run --release -p dhih-model --example parity -- --write cpu.safetensors
//! cargo run --release -p dhih-model --example parity --features cuda -- --device cuda:0 --compare cpu.safetensors
//! cargo run --release -p dhih-model --example parity -- --engine portable --compare cpu.safetensors
//! ```
//!
//! It prints a JSON object on each line, and fails where an error is larger than rounding explains.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device, Tensor};
use clap::Parser;
use dhih_model::ops::{OpsOnCpu, choose_on_cpu};
use dhih_model::{
    Backbone, Encoder, HashLayerConfig, InputShape, Loss, Mode, Network, NetworkConfig, device,
    named_rng,
};
use rand::RngCore;

/// Compares a device with the CPU.
#[derive(Debug, Parser)]
struct Args {
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The operators on the CPU: own, portable (those of a GPU) or candle
    #[arg(long, default_value = "own")]
    engine: OpsOnCpu,
    /// Write the values
    #[arg(long, required_unless_present = "compare")]
    write: Option<PathBuf>,
    /// Compare them with those written before
    #[arg(long, conflicts_with = "write")]
    compare: Option<PathBuf>,
    /// These backbones alone
    #[arg(long, value_delimiter = ',')]
    backbone: Vec<String>,
}

/// Values by name; all in f32, on the CPU.
type Values = HashMap<String, Tensor>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    choose_on_cpu(args.engine)?;
    let device = match args.device.split_once(':') {
        Some(("cuda", number)) => device::gpu(number.parse()?)?,
        None if args.device == "cpu" => Device::Cpu,
        _ => return Err("--device takes cpu or cuda:N".into()),
    };
    let wanted = |backbone: &Backbone| {
        args.backbone.is_empty() || args.backbone.iter().any(|name| name == backbone.name())
    };
    let expected = match &args.compare {
        Some(path) => candle_core::safetensors::load(path, &Device::Cpu)?,
        None => Values::new(),
    };
    let (mut all, mut agrees) = (Values::new(), true);
    for backbone in Backbone::ALL.iter().copied().filter(wanted) {
        let values = values_of(backbone, &device)?;
        if args.compare.is_none() {
            all.extend(values);
            continue;
        }
        agrees &= compare(backbone.name(), &values, &expected)?;
    }
    if let Some(path) = args.write {
        candle_core::safetensors::save(&all, path)?;
    }
    Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Computes one training step, and codes in f32 and bf16.
fn values_of(backbone: Backbone, device: &Device) -> Result<Values, Box<dyn Error>> {
    const BATCH: usize = 8;
    let side = backbone.min_side().max(64);
    let input = InputShape::new(side, side, 3);
    let config = NetworkConfig {
        backbone,
        input,
        normalization: backbone.pretrained_normalization(),
        bits: 48,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::default(),
        views: Default::default(),
        classes: (0..10).map(|class| class.to_string()).collect(),
    };
    // Noise that is the same on every machine. In smooth images neighbours are so similar that rounding would decide which is the largest.
    let mut images = vec![0; BATCH * input.len()];
    named_rng(1, "images").fill_bytes(&mut images);
    let network = Network::new(config.clone(), 1, device)?;
    let x = config.normalization.apply(&images, input, device)?;
    let mode = Mode::training_step(0, 1);
    let trace = network.trace(&x, mode)?;
    let features = trace.features().clone();
    let v = network.head(&features, mode)?;
    let class = |i: usize| f32::from(i / 10 % 10 == i % 10);
    let labels: Vec<f32> = (0..BATCH * 10).map(class).collect();
    let labels = Tensor::from_vec(labels, (BATCH, 10), device)?;
    let mut gradients = network.objective().value(&v, &labels, 0.0)?.backward()?;
    trace.back(&mut gradients)?;
    let name = backbone.name();
    let mut values = Values::new();
    let mut keep = |what: &str, tensor: &Tensor| -> candle_core::Result<()> {
        let tensor = tensor.detach().to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        values.insert(format!("{name}/{what}"), tensor.flatten_all()?);
        Ok(())
    };
    keep("features", &features)?;
    let mut all = Vec::new();
    for (_, var) in network.parameters().trainable() {
        if let Some(gradient) = gradients.get(&var) {
            all.push(gradient.flatten_all()?);
        }
    }
    keep("gradients", &Tensor::cat(&all, 0)?)?;
    for dtype in [DType::F32, DType::BF16] {
        // The CPU does not have bf16. It computes f32, with which bf16 of another device is compared.
        let computed = if device.is_cpu() { DType::F32 } else { dtype };
        let network = Network::new(config.clone(), 1, device)?;
        let encoder = Encoder::new(network, String::new(), computed)?;
        let codes = encoder.encode(&images)?;
        keep(&format!("codes {}", dtype.as_str()), &Tensor::new(codes, &Device::Cpu)?)?;
    }
    Ok(values)
}

/// Whether the errors, relative to the norm of the expected values, are explained by rounding.
fn compare(name: &str, values: &Values, expected: &Values) -> Result<bool, Box<dyn Error>> {
    let mut agrees = true;
    let mut lines: Vec<String> = Vec::new();
    for (what, bound) in
        [("features", 1e-2), ("gradients", 5e-2), ("codes f32", 1e-3), ("codes bf16", 1e-1)]
    {
        let key = format!("{name}/{what}");
        let (Some(got), Some(expected)) = (values.get(&key), expected.get(&key)) else {
            return Err(format!("{key} was not written").into());
        };
        let length = |x: &Tensor| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>();
        let error = (length(&(got - expected)?)? / length(expected)?.max(f64::MIN_POSITIVE)).sqrt();
        // NaN counts as disagreement.
        agrees &= error <= bound;
        lines.push(format!("\"{what}\": {error:.2e}"));
    }
    println!("{{\"backbone\": \"{name}\", \"agrees\": {agrees}, {}}}", lines.join(", "));
    Ok(agrees)
}
