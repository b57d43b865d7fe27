//! `cargo xtask test-spark`: the Spark jobs of `examples/spark` on a cluster of this machine. It builds the commands, makes an
//! environment with pyspark, and runs `examples/spark/tests`; what the jobs must do stands there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::Binaries;
use crate::step::Step;
use crate::test_python::{install, make_environment, show};
use crate::workspace::Workspace;

const EXAMPLE: &str = "Example:
  cargo xtask test-spark

Needs Java 17 or newer, Python 3.10 or newer with venv and pip, 3 GB of memory and 2 GB of disk; the first time pip downloads
pyspark, 400 MB. It starts a master and workers on the loopback address, and stops them.";

/// The environment, relative to the root of the workspace.
const ENVIRONMENT: &str = "target/spark-test";

/// What the jobs need: modules, and what pip installs.
/// (`mapInArrow` asks for pandas, too, though nothing here has a use for it.)
const NEEDED: [&str; 2] = ["pyspark, pyarrow, pandas", "pyspark>=4,<5 pyarrow pandas"];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The Python to test with
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
}

/// Builds, installs and tests; the first step that fails ends it.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    require_java(&java())?;
    let python = make_environment(&args.python, ENVIRONMENT, workspace)?;
    install(&python, NEEDED, workspace)
        .context("pip could not install pyspark: is this machine offline?")?;
    let programs = Binaries::build(workspace, &["-p", "dhih-train", "-p", "dhih-index"])?;
    let tests = ["-B", "-m", "unittest", "discover", "-v", "-s", "examples/spark/tests"];
    let tests = Step::new("test the jobs", &python, workspace).args(tests);
    let tests = tests.env("DHIH_TRAIN_PROGRAM", programs.get("dhih-train")?);
    show(&tests.env("DHIH_INDEX_PROGRAM", programs.get("dhih-index")?))
}

/// The Java that Spark takes.
fn java() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    }
}

fn require_java(java: &Path) -> Result<()> {
    let printed = Command::new(java).arg("-version").stdin(Stdio::null()).output();
    let text = printed.map(|printed| String::from_utf8_lossy(&printed.stderr).into_owned());
    match text.ok().as_deref().and_then(version) {
        Some(17..) => Ok(()),
        found => bail!(
            "{} is no Java 17 or newer{}: install one (on Debian `apt-get install openjdk-17-jre-headless`), or name its folder in \
             JAVA_HOME",
            java.display(),
            found.map(|found| format!(", but {found}")).unwrap_or_default()
        ),
    }
}

/// The release that `java -version` tells: 8 of `"1.8.0_292"`, 17 of `"17.0.15"`.
fn version(printed: &str) -> Option<u32> {
    let mut parts = printed.split_once(" version \"")?.1.split(['.', '"', '-']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        release => Some(release),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_java_is_named_with_the_cure() {
        let error = require_java(Path::new("no/such/java")).unwrap_err().to_string();
        for part in ["no/such/java", "17", "apt-get install", "JAVA_HOME"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn releases_are_read_as_java_writes_them() {
        for (printed, release) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("java version \"1.8.0_292\"", Some(8)),
            ("openjdk version \"25\" 2025-09-16", Some(25)),
            ("openjdk version \"24-ea\" 2025-03-18", Some(24)),
            ("bash: java: command not found", None),
        ] {
            assert_eq!(version(printed), release, "{printed}");
        }
    }
}
