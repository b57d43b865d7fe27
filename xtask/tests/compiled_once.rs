//! Nothing is compiled twice: every crate that xtask, training, serving and the Python package share has the same features in
//! all their builds. (Cargo unifies features within one build, not across two.)
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Features = BTreeMap<String, BTreeSet<String>>;

/// The feature sets of every crate in the release build of `packages`. A crate has two when it is compiled both for
/// this machine as a build tool and for the target.
fn features(packages: &[&str]) -> Features {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.args([
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ]);
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all = Features::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') {
            all.entry(package.to_owned()).or_default().insert(features.to_owned());
        }
    }
    all
}

/// Crates of `ours` that `theirs` builds with other features.
fn compiled_twice(ours: &Features, theirs: &Features) -> Vec<String> {
    let differ = |(package, features): (&String, &BTreeSet<String>)| {
        let others = theirs.get(package)?;
        let line = format!("{package}: {features:?} in one build, {others:?} in the other");
        (!features.is_subset(others)).then_some(line)
    };
    ours.iter().filter_map(differ).collect()
}

#[test]
fn xtask_and_the_binaries_share_what_they_compile() {
    let xtask = features(&["xtask"]);
    let binaries = features(&["dhih-train", "dhih-index", "dhih-serve"]);
    assert!(
        xtask.keys().filter(|package| binaries.contains_key(*package)).count() > 20,
        "the comparison is empty"
    );
    let twice = compiled_twice(&xtask, &binaries);
    assert!(twice.is_empty(), "mend the features in xtask/Cargo.toml:\n{}", twice.join("\n"));
}

#[test]
fn training_serving_and_the_python_package_share_what_they_compile() {
    let binaries = features(&["dhih-train", "dhih-index", "dhih-serve"]);
    for package in ["dhih-train", "dhih-serve", "dhih-python"] {
        let twice = compiled_twice(&features(&[package]), &binaries);
        assert!(twice.is_empty(), "mend the features of {package}:\n{}", twice.join("\n"));
    }
}

#[test]
fn a_difference_is_seen() {
    let one = |features: &str| {
        Features::from([("a v1".to_owned(), BTreeSet::from([features.to_owned()]))])
    };
    assert_eq!(compiled_twice(&one("std"), &one("std")), [""; 0]);
    assert_eq!(compiled_twice(&one("std"), &one("alloc,std")).len(), 1);
    assert_eq!(compiled_twice(&one("std"), &Features::new()), [""; 0]);
}
