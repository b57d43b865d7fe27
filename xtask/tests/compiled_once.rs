//! Nothing is compiled twice: every crate that xtask, training, serving and the Python package share has the same features in
//! all their builds. (Cargo unifies features within one build, not across two.)
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Features = BTreeMap<String, BTreeSet<String>>;

/// The programs.
const PROGRAMS: [&str; 3] = ["dhih-train", "dhih-index", "dhih-serve"];

/// Cargo's arguments that select the features of a plain build, which are those of a release, too.
const PLAIN: &[&str] = &[];
/// Those of the demo's first build.
const DEMO: &[&str] = &["--no-default-features", "--features", "dhih-index/cli"];

/// Which crates of a build are meant.
const WHOLE: &str = "normal,build";
/// What is linked into a program, without build tools, which may have other features of the same crates.
const LINKED: &str = "normal,no-proc-macro";

/// The feature sets of every crate in the release build of `packages` with the features that `select` selects. A crate of the whole build has two sets
/// where it is compiled both for this machine as a build tool and for the target.
fn features(packages: &[&str], select: &[&str], edges: &str) -> Features {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.args(["tree", "--offline", "--edges", edges, "--prefix", "none"]);
    command.args(["--format", "{p}|{f}"]).args(select);
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

/// As [`compiled_twice`], for builds of these packages with the selected features, of whole builds and of what is linked.
fn differences(ours: &[&str], theirs: &[&str], select: [&[&str]; 2]) -> Vec<String> {
    let of = |edges| {
        compiled_twice(&features(ours, select[0], edges), &features(theirs, select[1], edges))
    };
    [WHOLE, LINKED].into_iter().flat_map(of).collect()
}

#[test]
fn xtask_and_the_binaries_share_what_they_compile() {
    let (xtask, binaries) = (features(&["xtask"], PLAIN, WHOLE), features(&PROGRAMS, DEMO, WHOLE));
    assert!(
        xtask.keys().filter(|package| binaries.contains_key(*package)).count() > 20,
        "the comparison is empty"
    );
    for select in [PLAIN, DEMO] {
        let twice = differences(&["xtask"], &PROGRAMS, [PLAIN, select]);
        assert!(twice.is_empty(), "mend the features in xtask/Cargo.toml:\n{}", twice.join("\n"));
    }
}

#[test]
fn each_program_shares_what_it_compiles_with_the_others() {
    for select in [PLAIN, DEMO] {
        // dhih-index is a library, too: alone it compiles less.
        for programs in [&["dhih-train"][..], &["dhih-train", "dhih-index"], &["dhih-serve"]] {
            let twice = differences(programs, &PROGRAMS, [select, select]).join("\n");
            assert!(
                twice.is_empty(),
                "mend the features of {programs:?}, with {select:?}:\n{twice}"
            );
        }
    }
}

#[test]
fn the_programs_and_the_python_package_share_what_they_compile() {
    let programs = features(&PROGRAMS, PLAIN, LINKED);
    assert!(programs.keys().any(|package| package.starts_with("parquet ")), "there is no Parquet");
    let twice = differences(&["dhih-python"], &PROGRAMS, [PLAIN, PLAIN]);
    assert!(twice.is_empty(), "mend the features of dhih-python:\n{}", twice.join("\n"));
}

/// After the demo, a plain build compiles what Parquet needs, and the crates of the project once more.
#[test]
fn a_plain_build_uses_what_the_demo_has_compiled() {
    assert!(
        !features(&PROGRAMS, DEMO, LINKED).keys().any(|package| package.starts_with("parquet "))
    );
    let twice = differences(&PROGRAMS, &PROGRAMS, [DEMO, PLAIN]);
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
