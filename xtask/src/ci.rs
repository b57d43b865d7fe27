//! The only definition of continuous integration. Tests come last, so that the runner's own summary ends the output.

use std::time::Instant;

use anyhow::Result;

use crate::book;
use crate::report;
use crate::step::Step;
use crate::test_python;
use crate::tidy;
use crate::workspace::Workspace;

/// What plain builds leave out. The store in PostgreSQL and the spans are in all builds here, so that what they share is compiled once.
const HUB: [&str; 2] = ["--features", "hub,otel,postgres"];
const STORE: [&str; 2] = ["--features", "otel,postgres"];

/// All but what is no package: xtask, and the wheel.
const PACKAGE: [&str; 8] = [
    "package",
    "--workspace",
    "--exclude",
    "xtask",
    "--exclude",
    "dhih-python",
    "--no-verify",
    "--allow-dirty",
];

/// Runs every check in order; the first that fails ends the run with its exit code.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut clock = Clock { workspace, timings: Vec::new() };
    clock.step(cargo_step("fmt", workspace, &["fmt", "--all", "--check"]))?;
    clock.time("tidy", "cargo xtask tidy", || tidy::require_clean(workspace))?;
    clock.time("results", "cargo xtask report --check", || report::require_fresh(workspace))?;
    let clippy = ["clippy", "--workspace", "--all-targets", HUB[0], HUB[1], "--", "-D", "warnings"];
    clock.step(cargo_step("clippy", workspace, &clippy))?;
    index_features(&mut clock)?;
    // As the demo builds them.
    let programs = ["clippy", "-p", "dhih-train", "-p", "dhih-serve", "--no-default-features"];
    let plain = [&programs[..], &["--", "-D", "warnings"]].concat();
    clock.step(cargo_step("programs, no features", workspace, &plain))?;
    let doc =
        cargo_step("doc", workspace, &["doc", "--workspace", "--no-deps", STORE[0], STORE[1]]);
    clock.step(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    clock.time("book", "cargo xtask book", || book::run_if_installed(workspace))?;
    // That every package can be made; `cargo package` without `--no-verify` also builds each.
    clock.step(cargo_step("package", workspace, &PACKAGE))?;
    // Compiles dhih-train once more; the HTTP stack is that of xtask's own tests.
    let tests = ["--test", "hub", "--test", "hub_shards", "--test", "push", "--test", "weights"];
    let hub = [&["test", "--workspace", HUB[0], HUB[1]], &tests[..]].concat();
    clock.step(cargo_step("hub", workspace, &hub))?;
    beside_python(&mut clock)?;
    python_wheel(&mut clock)?;
    for (name, seconds) in &clock.timings {
        eprintln!("{seconds:7.1} s  {name}");
    }
    clock.step(cargo_step("test", workspace, &["test", "--workspace", STORE[0], STORE[1]]))
}

fn cargo_step(name: &'static str, workspace: &Workspace, args: &[&str]) -> Step {
    Step::cargo(name, workspace).args(args.iter().copied())
}

/// Compiles dhih-index and its tests without default features, and with each feature alone: the other steps have them all.
fn index_features(clock: &mut Clock) -> Result<()> {
    for (name, features) in [
        ("dhih-index, no features", ""),
        ("dhih-index, parquet", "parquet"),
        ("dhih-index, safetensors", "safetensors"),
        ("dhih-index, cli", "cli"),
    ] {
        let package = ["clippy", "--package", "dhih-index", "--all-targets"];
        let features = ["--no-default-features", "--features", features];
        let args = [&package[..], &features[..], &["--", "-D", "warnings"]].concat();
        clock.step(cargo_step(name, clock.workspace, &args))?;
    }
    Ok(())
}

/// Tests beside Python's own programs, and the modules that each needs.
const BESIDE_PYTHON: [(&str, &str); 4] = [
    ("arrow_stream", "pyarrow"),
    ("onnx", "numpy, onnxruntime"),
    ("tensorboard", "tensorboard"),
    ("service", "openapi_spec_validator, schemathesis"),
];

/// Compares streams and files with pyarrow, exported networks with onnxruntime, events with TensorBoard, and the service with its
/// description, where `DHIH_PYTHON` names a Python that has them.
fn beside_python(clock: &mut Clock) -> Result<()> {
    let workspace = clock.workspace;
    for (test, modules) in BESIDE_PYTHON {
        let Some(python) = std::env::var_os("DHIH_PYTHON") else {
            eprintln!("skipped: {test} (DHIH_PYTHON is not set)");
            continue;
        };
        let find = Step::new("find modules of Python", python.as_ref(), workspace);
        if find.args(["-c".to_owned(), format!("import {modules}")]).capture().is_err() {
            eprintln!("skipped: {test} ({modules} not installed for DHIH_PYTHON)");
            continue;
        }
        // Of the whole workspace: what its tests need is compiled once, and one package's would be other features.
        let args = ["test", "--workspace", STORE[0], STORE[1], "--test", test, "--", "--ignored"];
        clock.step(cargo_step(test, workspace, &args))?;
    }
    Ok(())
}

/// Tests the Python package from its wheel, where `DHIH_PYTHON` names a Python.
fn python_wheel(clock: &mut Clock) -> Result<()> {
    let Some(python) = std::env::var_os("DHIH_PYTHON") else {
        eprintln!("skipped: the Python wheel (DHIH_PYTHON is not set)");
        return Ok(());
    };
    let (workspace, args) = (clock.workspace, test_python::Args { python: python.into() });
    let test = || test_python::run(&args, workspace);
    clock.time("python", "cargo xtask test-python", test)
}

/// Announces each step on stderr and remembers its seconds.
struct Clock<'a> {
    workspace: &'a Workspace,
    timings: Vec<(&'static str, f64)>,
}

impl Clock<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        self.time(step.name(), &step.command_line(), || step.run())
    }

    fn time(
        &mut self,
        name: &'static str,
        shown: &str,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        eprintln!("$ {shown}");
        let start = Instant::now();
        work()?;
        self.timings.push((name, start.elapsed().as_secs_f64()));
        Ok(())
    }
}
