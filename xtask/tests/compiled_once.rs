//! Nothing is compiled twice: every crate that xtask, training, serving and the Python package share has the same features in
//! all their builds. (Cargo unifies features within one build, not across two.)
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Features = BTreeMap<String, BTreeSet<String>>;

/// The programs.
const PROGRAMS: [&str; 3] = ["dhih-train", "dhih-index", "dhih-serve"];

/// The feature sets of every crate in the release build of `packages`. A crate has two when it is compiled both for
/// this machine as a build tool and for the target.
fn features(packages: &[&str]) -> Features {
    features_with(packages, "")
}

/// As [`features`], where the packages are built with `on`.
fn features_with(packages: &[&str], on: &str) -> Features {
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
        "--features",
        on,
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
    let binaries = features(&PROGRAMS);
    assert!(
        xtask.keys().filter(|package| binaries.contains_key(*package)).count() > 20,
        "the comparison is empty"
    );
    let twice = compiled_twice(&xtask, &binaries);
    assert!(twice.is_empty(), "mend the features in xtask/Cargo.toml:\n{}", twice.join("\n"));
}

#[test]
fn each_program_shares_what_it_compiles_with_the_others() {
    for on in ["", "parquet"] {
        let all = features_with(&PROGRAMS, on);
        // dhih-index is a library, too: alone it compiles less.
        for program in ["dhih-train", "dhih-serve"] {
            let twice = compiled_twice(&features_with(&[program], on), &all);
            let twice = twice.join("\n");
            assert!(twice.is_empty(), "mend the features of {program}, with {on:?}:\n{twice}");
        }
    }
}

/// The package has the features of a release.
#[test]
fn the_programs_of_a_release_and_the_python_package_share_what_they_compile() {
    let programs = features_with(&PROGRAMS, "parquet");
    assert!(programs.keys().any(|package| package.starts_with("parquet ")), "there is no Parquet");
    let twice = compiled_twice(&features(&["dhih-python"]), &programs);
    assert!(twice.is_empty(), "mend the features of dhih-python:\n{}", twice.join("\n"));
}

/// What turning a feature on makes be compiled again is what the feature is for, and the crates of the project.
#[test]
fn a_feature_of_a_release_changes_no_crate_but_our_own() {
    let twice = compiled_twice(&features(&PROGRAMS), &features_with(&PROGRAMS, "parquet"));
    let others: Vec<_> = twice.iter().filter(|line| !line.starts_with("dhih-")).collect();
    assert!(others.is_empty(), "mend the features of dhih-train: {others:#?}");
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
