//! What dhih-index compiles for those who use it as a library: few crates without its features, and with a feature no more than
//! the feature needs. `cargo xtask ci` compiles each set of features.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The most crates without any feature, dhih-index among them.
const MAX_CRATES: usize = 40;
/// What only a feature may bring.
const OPTIONAL: [&str; 6] =
    ["anyhow", "clap", "dhih-manual", "num-bigint", "parquet", "safetensors"];

/// Names and versions of the crates that are compiled with these features.
fn crates(features: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none"]);
    command.args(["--package", "dhih-index", "--no-default-features", "--features", features]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    String::from_utf8(output.stdout).unwrap().lines().map(name).collect()
}

/// Those of [`OPTIONAL`] that are compiled with these features.
fn optional(features: &str) -> Vec<&'static str> {
    let all = crates(features);
    let is_there = |name: &&str| all.iter().any(|line| line.starts_with(&format!("{name} ")));
    OPTIONAL.into_iter().filter(is_there).collect()
}

#[test]
fn without_features_few_crates_are_compiled() {
    let all = crates("");
    assert!(all.len() > 10, "the list is empty: {all:?}");
    assert!(all.len() <= MAX_CRATES, "{} crates, {MAX_CRATES} are the most: {all:#?}", all.len());
    assert_eq!(optional(""), [""; 0]);
}

#[test]
fn a_feature_brings_what_it_needs_alone() {
    assert_eq!(optional("parquet"), ["num-bigint", "parquet"]);
    assert_eq!(optional("safetensors"), ["safetensors"]);
    assert_eq!(optional("cli"), ["anyhow", "clap", "dhih-manual", "safetensors"]);
    assert_eq!(optional("default"), OPTIONAL);
}
