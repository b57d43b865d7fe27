//! `dist` with scripts in place of the programs: what is in the archive, that the same programs are the same bytes, and what is refused.
//! How programs are linked is seen by a release itself.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{fail, succeed, xtask};

/// Scripts that answer as the programs do.
struct Programs(tempfile::TempDir);

impl Programs {
    fn new() -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        for name in ["dhih-index", "dhih-serve", "dhih-train"] {
            programs.script(name, "");
        }
        programs
    }

    /// A program that first does `before`.
    fn script(&self, name: &str, before: &str) {
        let text = format!(
            "#!/bin/sh\n{before}\ncase $1 in\n--version) echo {name} {} ;;\ncompletions) echo $2 {name} ;;\n\
             man) echo page >\"$3/{name}.1\"; echo page >\"$3/{name}-x.1\" ;;\nesac\n",
            env!("CARGO_PKG_VERSION")
        );
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn dist(&self, out: &Path) -> Command {
        let mut command = xtask("dist");
        command.arg("--bin-dir").arg(self.0.path()).arg("--out").arg(out);
        command.env("SOURCE_DATE_EPOCH", "1000000000");
        command
    }
}

/// The file of `folder` whose name ends so.
fn made(folder: &Path, end: &str) -> PathBuf {
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_str().unwrap().ends_with(end)).unwrap()
}

#[test]
fn the_archive_has_all_that_a_user_needs_and_is_the_same_each_time() {
    let (programs, out) = (Programs::new(), tempfile::tempdir().unwrap());
    let (first, second) = (out.path().join("first"), out.path().join("second"));
    succeed(&mut programs.dist(&first));
    succeed(&mut programs.dist(&second));
    for file in ["tar.gz", "cdx.json", "SHA256SUMS"] {
        assert_eq!(fs::read(made(&first, file)).unwrap(), fs::read(made(&second, file)).unwrap());
    }

    let archive = flate2::read::GzDecoder::new(fs::File::open(made(&first, "tar.gz")).unwrap());
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.iter().skip(1).collect::<PathBuf>().to_str().unwrap().to_owned();
        let program = name.starts_with("dhih-") && !name.contains('.');
        assert_eq!(entry.header().mode().unwrap(), if program { 0o755 } else { 0o644 }, "{name}");
        assert_eq!(entry.header().mtime().unwrap(), 1_000_000_000);
        names.push(name);
    }
    assert!(names.is_sorted(), "{names:?}");
    for expected in [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "LICENSES-THIRD-PARTY.txt",
        "README.md",
        "completions/bash/dhih-train",
        "completions/fish/dhih-index.fish",
        "completions/zsh/_dhih-serve",
        "dhih-index",
        "dhih-serve",
        "dhih-train",
        "man/man1/dhih-train-x.1",
        "man/man1/dhih-train.1",
    ] {
        assert!(names.iter().any(|name| name == expected), "no {expected} in {names:?}");
    }
}

#[test]
fn the_bill_names_what_is_linked_and_nothing_else() {
    let (programs, out) = (Programs::new(), tempfile::tempdir().unwrap());
    succeed(&mut programs.dist(out.path()));
    let bill = fs::read_to_string(made(out.path(), "cdx.json")).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(bill["metadata"]["timestamp"], "2001-09-09T01:46:40Z");
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    for linked in ["dhih-model", "candle-core", "libmimalloc-sys", "axum", "rust-std"] {
        assert!(named(linked).is_some(), "{linked} is linked");
    }
    // A downloader, a procedural macro, a tool of build scripts, a helper of tests.
    for other in ["reqwest", "serde_derive", "cc", "proptest", "xtask"] {
        assert!(named(other).is_none(), "{other} is not linked");
    }
    assert_eq!(named("candle-core").unwrap()["licenses"][0]["expression"], "MIT OR Apache-2.0");
}

#[test]
fn programs_that_do_not_answer_are_no_release() {
    let out = tempfile::tempdir().unwrap();
    for (before, code, expected) in [
        ("[ $1 = --version ] && echo dhih-train 0.0.0 && exit", 1, "the packed dhih-train says"),
        ("[ $1 = --version ] && exit 1", 1, "the packed dhih-train says"),
        ("[ $1 = completions ] && echo && exit", 1, "prints nothing of dhih-train"),
        ("[ $1 = completions ] && exit 3", 3, "step `write completions` failed"),
        ("[ $1 = man ] && exit", 1, "writes no page dhih-train.1"),
    ] {
        let programs = Programs::new();
        programs.script("dhih-train", before);
        let told = fail(&mut programs.dist(out.path()), code);
        assert!(told.contains(expected), "{before}: {told}");
        let left = fs::read_dir(out.path()).unwrap().count();
        assert_eq!(left, 0, "{before}: what was not checked is left");
    }
    let programs = Programs::new();
    fs::remove_file(programs.0.path().join("dhih-serve")).unwrap();
    let told = fail(&mut programs.dist(out.path()), 1);
    assert!(told.contains("cannot read") && told.contains("dhih-serve"), "{told}");
}

#[test]
fn a_time_is_a_whole_number() {
    let out = tempfile::tempdir().unwrap();
    let mut dist = Programs::new().dist(out.path());
    let told = fail(dist.env("SOURCE_DATE_EPOCH", "yesterday"), 2);
    assert!(told.contains("SOURCE_DATE_EPOCH=yesterday"), "{told}");
}
