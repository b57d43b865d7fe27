//! `dhih-index build`: makes an index of a codes file, of a folder of part files, or of one part of either.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dhih_index::{CodeSet, Index, IndexBuilder, IndexConfig, Shard};

use crate::cli::BuildArgs;
use crate::cmd::inspect;
use crate::hint::failure;

const LAST_CODES: &str = "runs/latest/codes.safetensors";

pub(crate) fn run(args: &BuildArgs) -> Result<()> {
    let codes = codes_file(args.codes.as_deref())?;
    let mut dir = args.out.clone().unwrap_or_else(|| codes.with_file_name("index"));
    if let Some(shard) = args.shard {
        dir.push(shard.file_name(""));
    }
    let set = CodeSet::map_shard(&codes, args.bits, args.shard.unwrap_or(Shard::WHOLE))
        .with_context(|| format!("no index was built from {}", codes.display()))?;
    let start = Instant::now();
    let builder = IndexBuilder::new(IndexConfig { substrings: args.substrings }).on_stage(tell);
    builder.build(&set, &dir).with_context(|| {
        format!("no index of {} was built in {}", codes.display(), dir.display())
    })?;
    let info = Index::open(&dir)?.info();
    let (count, seconds) = (info.codes, start.elapsed().as_secs_f64());
    let _ = writeln!(io::stderr(), "{count} codes indexed in {}, {seconds:.2} s", dir.display());
    inspect::print(&info, args.json)
}

/// Prints a stage of a build that has taken so long that somebody may be waiting.
fn tell(stage: &str, elapsed: Duration) {
    if elapsed >= Duration::from_secs(1) {
        let _ = writeln!(io::stderr(), "{stage}, {:.1} s", elapsed.as_secs_f64());
    }
}

/// The codes that are named, or else those of the last run.
fn codes_file(named: Option<&Path>) -> Result<PathBuf> {
    let last = Path::new(LAST_CODES);
    match named {
        Some(file) => Ok(file.to_path_buf()),
        None if last.exists() => Ok(last.to_path_buf()),
        None => Err(failure(
            format!("no run has left codes at {LAST_CODES}"),
            "`cargo run --release -p dhih-train` makes a run; `--codes PATH` names codes of other origin",
        )),
    }
}
