//! `cargo xtask test-python`: the Python package, from its wheel. It builds the wheel and the command that results are compared
//! with, installs the wheel into an environment of its own, and runs `crates/dhih-python/tests`; what the package must do
//! stands there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::text_tower;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Example:
  cargo xtask test-python

Needs Python 3.10 or newer with venv and pip; the first time pip downloads maturin, numpy, mypy, and what the notebooks need.";

/// The environment, relative to the root of the workspace.
const ENVIRONMENT: &str = "target/python-test";

/// What builds the wheel, and what the package needs: modules, and what pip installs.
const NEEDED: [&str; 2] = ["maturin, numpy", "maturin>=1.9,<2 numpy<3"];
/// What results are compared with, where it can be had.
const PEER: [&str; 2] = ["faiss", "faiss-cpu<2"];
/// What runs the notebooks of `examples/notebooks`, and what they import.
const NOTEBOOKS: [&str; 2] = [
    "nbclient, ipykernel, matplotlib, sklearn",
    "nbclient<1 ipykernel<8 matplotlib<4 scikit-learn<2",
];
/// What compares the type stubs with the package.
const STUBS: [&str; 2] = ["mypy", "mypy<3"];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The Python to test with
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    pub(crate) python: PathBuf,
}

/// Builds, installs and tests; the first step that fails ends it.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let environment = workspace.root().join(ENVIRONMENT);
    let python = make_environment(&args.python, ENVIRONMENT, workspace)?;
    install(&python, NEEDED, workspace)
        .context("pip could not install what builds the wheel: is this machine offline?")?;
    let wheel = wheel(&environment, workspace)?;
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"];
    show(&Step::new("install the wheel", &python, workspace).args(pip).args([&wheel]))?;

    if install(&python, PEER, workspace).is_err() {
        print(
            "skipped: comparisons with faiss (it is not installed, and pip could not install it)",
        )?;
    }
    if install(&python, NOTEBOOKS, workspace).is_err() {
        print("skipped: the notebooks (pip could not install what they need)")?;
    }
    let texts = environment.join("texts");
    fs::create_dir_all(&texts)
        .with_context(|| format!("cannot make {}", workspace.show(&texts)))?;
    let codes = text_tower::Codes { bits: 36, model_sha256: "ab".repeat(32) };
    text_tower::write(&texts, &codes, workspace)?;
    let programs = Binaries::build(workspace, &["-p", "dhih-train", "-p", "dhih-serve", "--bins"])?;
    let tests = ["-B", "-m", "unittest", "discover", "-s", "crates/dhih-python/tests"];
    let tests = Step::new("test the package", &python, workspace).args(tests);
    let tests = tests.env("DHIH_TRAIN_PROGRAM", programs.get("dhih-train")?);
    let tests = tests.env("DHIH_TEXT_RUN", &texts);
    show(&tests.env("DHIH_SERVE_PROGRAM", programs.get("dhih-serve")?))?;

    if install(&python, STUBS, workspace).is_err() {
        return print("skipped: type stubs (mypy is not installed, and pip could not install it)");
    }
    let stubs = Step::new("compare the type stubs", &python, workspace);
    show(&stubs.args(["-m", "mypy.stubtest", "dhih"]))
}

/// Makes an environment of this Python where there is none yet, and gives the environment's own. `folder` is relative to the root of the workspace.
pub(crate) fn make_environment(
    python: &Path,
    folder: &str,
    workspace: &Workspace,
) -> Result<PathBuf> {
    require(python, workspace)?;
    let own = workspace.root().join(folder).join("bin/python");
    if !own.is_file() {
        let make = Step::new("make an environment", python, workspace);
        show(&make.args(["-m", "venv", folder]))?;
    }
    Ok(own)
}

fn require(python: &Path, workspace: &Workspace) -> Result<()> {
    let check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    if Step::new("find Python", python, workspace).args(["-c", check]).capture().is_ok() {
        return Ok(());
    }
    bail!(
        "{} is no Python 3.10 or newer with venv: install it (on Debian `apt-get install python3 python3-venv`); \
         --python names one that is elsewhere",
        python.display()
    )
}

/// Installs packages whose modules are not there.
pub(crate) fn install(
    python: &Path,
    [modules, packages]: [&str; 2],
    workspace: &Workspace,
) -> Result<()> {
    let find = "import sys; from importlib.util import find_spec as find; \
                sys.exit(not all(map(find, sys.argv[1].split(', '))))";
    let there = Step::new("find modules", python, workspace).args(["-c", find, modules]);
    if there.capture().is_ok() {
        return Ok(());
    }
    let pip = Step::new("install tools", python, workspace);
    show(&pip.args(["-m", "pip", "install", "--quiet"]).args(packages.split(' ')))
}

/// Builds the wheel and gives its path.
fn wheel(environment: &Path, workspace: &Workspace) -> Result<PathBuf> {
    let wheels = environment.join("wheels");
    // Of another version, perhaps.
    let _ = fs::remove_dir_all(&wheels);
    let maturin = Step::new("build the wheel", &environment.join("bin/maturin"), workspace)
        .args(["build", "--release", "--locked", "-m", "crates/dhih-python/Cargo.toml"])
        .args([Path::new("--out"), &wheels])
        .args([Path::new("--interpreter"), &environment.join("bin/python")]);
    show(&maturin)?;
    let made = || format!("step `build the wheel` left nothing in {}", workspace.show(&wheels));
    let entries = fs::read_dir(&wheels).with_context(made)?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|kind| kind == "whl")).with_context(made)
}

pub(crate) fn show(step: &Step) -> Result<()> {
    print(&format!("\n$ {}", step.command_line()))?;
    step.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_python_is_named_with_the_cure() {
        let workspace = Workspace::find().unwrap();
        let args = Args { python: PathBuf::from("no/such/python") };
        let error = run(&args, &workspace).unwrap_err().to_string();
        for part in ["no/such/python", "3.10", "apt-get install", "--python"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
