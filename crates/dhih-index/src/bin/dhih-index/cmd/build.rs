//! `dhih-index build`: makes an index of a codes file, of a folder of part files, or of one part of either.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dhih_index::{CodeSet, Goal, Index, IndexBuilder, IndexConfig, Progress, Shard, VectorSet};

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
    let mut set = CodeSet::map_shard(&codes, args.bits, args.shard.unwrap_or(Shard::WHOLE))
        .context("no index was built")?;
    let vectors = args.vectors.as_ref().map(VectorSet::open);
    set.vectors = vectors.transpose().context("no index was built")?;
    let start = Instant::now();
    let memory = args.memory.or_else(default_memory);
    let within = args.for_radius.map(|radius| Goal::Within { radius });
    let goal = within.or(args.for_k.map(|k| Goal::Nearest { k }));
    let config = IndexConfig::default()
        .with_substrings(args.substrings)
        .with_goal(goal)
        .with_memory(memory)
        .with_vectors(args.stored_as.map(Into::into));
    let builder = IndexBuilder::new(config).on_progress(report);
    builder.build(&set, &dir).with_context(|| {
        format!("no index of {} was built in {}", codes.display(), dir.display())
    })?;
    let info = Index::open(&dir)?.info();
    let (count, seconds) = (info.codes, start.elapsed().as_secs_f64());
    let _ = writeln!(io::stderr(), "{count} codes indexed in {}, {seconds:.2} s", dir.display());
    inspect::print(&info, args.json)
}

/// Reports each finished stage, once the build has taken so long that somebody may be waiting.
fn report(progress: Progress) -> ControlFlow<()> {
    if progress.is_complete() && progress.elapsed >= Duration::from_secs(1) {
        let _ = writeln!(io::stderr(), "{progress}, {:.1} s", progress.elapsed.as_secs_f64());
    }
    ControlFlow::Continue(())
}

/// The default memory of a build or a search for pairs: three quarters of what the system could give to a new process without swapping, or
/// of what the control group of this process may take, and at least half a gigabyte. `None` if the system does not say.
pub(crate) fn default_memory() -> Option<u64> {
    const LEAST: u64 = 512 << 20;
    let of_machine = fs::read_to_string("/proc/meminfo").ok()?;
    let of_machine = of_machine.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let of_machine = 1024 * of_machine.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    // The file says "max" where the group has no limit.
    let of_group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let of_group = of_group.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    Some((of_machine.min(of_group) / 4 * 3).max(LEAST))
}

/// The codes that are named, or else those of the last run.
fn codes_file(named: Option<&Path>) -> Result<PathBuf> {
    let last = &dhih_manual::through_latest(Path::new(LAST_CODES));
    match named {
        Some(file) => Ok(file.to_path_buf()),
        None if last.exists() => {
            dhih_manual::warn_of_stale_latest(last);
            Ok(last.to_path_buf())
        }
        None => Err(failure(
            format!("no run has left codes at {LAST_CODES}"),
            "`cargo run --release -p dhih-train` makes a run; `--codes PATH` names codes of other origin",
        )),
    }
}
