//! `cargo xtask bench vectors`: searches by vectors, codes with rescoring beside numpy, faiss and usearch, on the same vectors; and codes
//! that labels train beside codes without.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench vectors --python venv/bin/python
  cargo xtask bench vectors --python venv/bin/python --file embeddings.npy
  cargo xtask bench vectors --python venv/bin/python --file embeddings.npy --labels labels.npy";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Python with numpy, and faiss and usearch where these are to be measured
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Vectors that are drawn
    #[arg(long, env = "DHIH_VECTORS", value_name = "N", default_value_t = 1_000_000)]
    vectors: u32,
    /// Numbers of a vector
    #[arg(long, env = "DHIH_DIMS", value_name = "N", default_value_t = 256)]
    dims: u32,
    /// Queries
    #[arg(long, env = "DHIH_QUERY_COUNT", value_name = "N", default_value_t = 200)]
    queries: u32,
    /// Measure the vectors of this .npy file, the last of them as queries
    #[arg(long, env = "DHIH_FILE", value_name = "FILE", conflicts_with_all = ["vectors", "dims"])]
    file: Option<PathBuf>,
    /// Measure the mAP of codes that these labels of the file's vectors train, beside that of codes without labels, in place of searches
    #[arg(long, env = "DHIH_LABELS", value_name = "FILE", requires = "file")]
    labels: Option<PathBuf>,
    /// Threads of each search
    #[arg(long, env = "DHIH_SEARCH_THREADS", value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// How often each search is measured
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Measures and prints a table in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = Binaries::build(workspace, &["-p", "dhih-train", "-p", "dhih-index"])?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    if let (Some(file), Some(labels)) = (&args.file, &args.labels) {
        let step = Step::new("measure codes of labelled vectors", &args.python, workspace);
        let given = [
            format!("--dhih-train={}", binaries.get("dhih-train")?.display()),
            format!("--dir={}", dir.path().display()),
            format!("--file={}", file.display()),
            format!("--labels={}", labels.display()),
        ];
        let step = step.args(["xtask/bench/labelled.py"]).args(given);
        return print(step.capture()?.trim_end());
    }
    let mut given = vec![
        format!("--dhih-train={}", binaries.get("dhih-train")?.display()),
        format!("--dhih-index={}", binaries.get("dhih-index")?.display()),
        format!("--dir={}", dir.path().display()),
        format!("--vectors={}", args.vectors),
        format!("--dims={}", args.dims),
        format!("--queries={}", args.queries),
        format!("--threads={}", args.threads),
        format!("--rounds={}", args.rounds),
    ];
    given.extend(args.file.as_ref().map(|file| format!("--file={}", file.display())));
    let step = Step::new("measure searches by vectors", &args.python, workspace);
    print(step.args(["xtask/bench/vectors.py"]).args(given).capture()?.trim_end())
}
