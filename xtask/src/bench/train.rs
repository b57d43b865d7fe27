//! `cargo xtask bench train`: how the time of an epoch and the memory grow with the batch for losses of single images and of pairs. A loss of
//! pairs looks at as many pairs an epoch as there are images times the batch; over the whole set at once that is its square.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench train
  cargo xtask bench train --loss hi,dpsh --batch-size 1024,8192 --images 50000";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Losses
    #[arg(
        long,
        env = "DHIH_LOSS",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "hi,softmax,dsh,dpsh,hashnet"
    )]
    loss: Vec<String>,
    /// Images a step
    #[arg(
        long,
        env = "DHIH_BATCH_SIZE",
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_value = "64,256,1024,4096,8192"
    )]
    batch_size: Vec<u32>,
    /// Images an epoch
    #[arg(long, env = "DHIH_IMAGES", value_name = "N", default_value_t = 50_000)]
    images: u32,
    /// Side of the images: the smaller the network's part, the more is seen of the loss
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS", default_value_t = 8)]
    image_side: u32,
    /// How often all are measured, in turns
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds a measurement, at least three steps
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Measured {
    images_per_second: f64,
    most_memory_mib: Option<f64>,
}

/// One value a round, by the place of the batch size and of the loss.
type Values = BTreeMap<(usize, usize), Vec<f64>>;

/// Measures and prints two tables in Markdown: seconds an epoch, and the most memory.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = Binaries::build(workspace, &["-p", "dhih-train"])?;
    let (mut seconds, mut memory) = (Values::new(), Values::new());
    for _ in 0..args.rounds {
        for (row, batch) in args.batch_size.iter().enumerate() {
            for (column, loss) in args.loss.iter().enumerate() {
                let step = step(args, binaries.get("dhih-train")?, workspace, (*batch, loss));
                let measured: Measured = step.capture_json()?;
                let epoch = f64::from(args.images) / measured.images_per_second;
                seconds.entry((row, column)).or_default().push(epoch);
                memory.entry((row, column)).or_default().extend(measured.most_memory_mib);
            }
        }
    }
    let seconds =
        table(&format!("seconds for {} images, by images a step", args.images), args, &seconds, 2);
    let memory = table("most memory, MiB, by images a step", args, &memory, 0);
    print(&format!("{seconds}\n\n{memory}"))
}

fn step(args: &Args, program: &Path, workspace: &Workspace, (batch, loss): (u32, &str)) -> Step {
    Step::new("measure a loss", program, workspace).args([
        "bench".to_owned(),
        "--json".to_owned(),
        "--only=training".to_owned(),
        "--backbone=small".to_owned(),
        format!("--loss={loss}"),
        format!("--batch-size={batch}"),
        format!("--image-side={}", args.image_side),
        format!("--seconds={}", args.seconds),
    ])
}

fn table(title: &str, args: &Args, values: &Values, digits: usize) -> String {
    let names: String = args.loss.iter().map(|loss| format!(" {loss} |")).collect();
    let mut text = format!("| {title} |{names}\n|---:|{}", "---:|".repeat(args.loss.len()));
    for (row, batch) in args.batch_size.iter().enumerate() {
        text += &format!("\n| {batch} |");
        for column in 0..args.loss.len() {
            let middle = values.get(&(row, column)).and_then(|values| median(values));
            text += &middle.map_or(" - |".to_owned(), |value| format!(" {value:.digits$} |"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_batch_and_a_column_a_loss() {
        let args = Args {
            loss: vec!["hi".to_owned(), "dpsh".to_owned()],
            batch_size: vec![64, 256],
            images: 1000,
            image_side: 8,
            rounds: 3,
            seconds: 1.0,
        };
        let values = Values::from([((0, 0), vec![3.0, 1.0, 2.0]), ((1, 1), vec![0.5])]);
        let expected = "| images a step | hi | dpsh |\n|---:|---:|---:|\n| 64 | 2.00 | - |\n| 256 | - | 0.50 |";
        assert_eq!(table("images a step", &args, &values, 2), expected);
    }
}
