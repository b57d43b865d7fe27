//! A new setting, or a new name for one, would have made runs of older versions unreadable, whose `config.toml` lacks it. Settings written by
//! older versions must still be read with the same meaning.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::path::Path;

use dhih_train::run::Evaluation;
use dhih_train::{RunConfig, ScheduleName, TrainConfig, TrainOptions};

/// `config.toml` of version 0.1.0, without later settings.
const OLD: &str = r#"
version = 1

[train]
dataset = "cifar10"
data_dir = "data/cifar10"
protocol = "cifar10-full"
split_seed = 0
demo_images = 10000
backbone = "cifarnet"
bits = 48
label_smoothing = 0.1
mirror = true
epochs = 32
batch_size = 512
learning_rate = 0.5
schedule = "one-cycle"
warmup_epochs = 6.0
momentum = 0.9
weight_decay = 0.0015
flip = true
shift = 2
seed = 0
device = "auto"

[train.loss]
name = "hi"
mode = "target"
alpha = 0.8
lambda_q = 0.01

[data]
sha256 = "ab"
skipped = 0
split_sha256 = "cd"
"#;

#[test]
fn a_configuration_of_an_older_version_is_read_and_goes_on() {
    let old: RunConfig = toml::from_str(OLD).unwrap();
    let TrainConfig { schedule, warmup_epochs, min_class_images, .. } = old.train;
    assert_eq!((schedule, warmup_epochs, min_class_images), (ScheduleName::Linear, 6.0, 0));
    assert!(old.origin.is_none() && old.resumed_by.is_empty());
    // The flags of that run resolve to the same settings, under the names of this version.
    let asked = TrainOptions { warmup: Some(0.1875), ..TrainOptions::default() };
    let asked = asked.or(TrainOptions::of(&old.train).unwrap()).resolve().unwrap();
    assert_eq!(asked.differences(&old.train).unwrap(), [""; 0]);
    assert_eq!(asked, old.train);
}

#[test]
fn settings_and_figures_of_recorded_runs_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/runs");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
        record["settings"]["data_dir"] = "data".into();
        let settings = serde_json::from_value::<TrainConfig>(record["settings"].take());
        settings.unwrap_or_else(|error| panic!("{}: {error}", path.display())).check().unwrap();
        // Records do not contain the curves.
        record["evaluation"]["curves"] = serde_json::json!({"precision_recall_by_radius": []});
        let evaluation = serde_json::from_value::<Evaluation>(record["evaluation"].take()).unwrap();
        assert!(evaluation.accuracy.is_none_or(|share| share > 0.0), "{}", path.display());
        read += 1;
    }
    assert!(read > 4, "no run is recorded");
}
