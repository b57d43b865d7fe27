//! `dhih-index pairs`: all pairs of items near each other, or groups of them, into a file.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dhih_index::{
    Group, Index, PairOptions, Progress, check_pairs_path, write_groups, write_pairs,
};
use serde_json::json;

use crate::cli::PairsArgs;
use crate::cmd::build::default_memory;

pub(crate) fn run(args: &PairsArgs) -> Result<()> {
    let start = Instant::now();
    check_pairs_path(&args.out)?;
    let index = Index::open(&args.on.index)?;
    let other = args.against.as_ref().map(Index::open).transpose().context("--against")?;
    let memory = args.memory.or_else(default_memory);
    let options =
        PairOptions::within(args.radius).with_memory(memory).on_progress(progress_reporter());
    if let Some(linkage) = args.group {
        let groups = index.groups(linkage.into(), &options)?;
        write_groups(&args.out, &groups)?;
        return print_groups(args, &index, &groups, start.elapsed());
    }
    let largest = index.last_id().max(other.as_ref().and_then(Index::last_id)).unwrap_or(0);
    let pairs = write_pairs(&args.out, largest, |sink| match &other {
        None => index.pairs(&options, |pairs| sink.write(pairs)),
        Some(other) => index.pairs_with(other, &options, |pairs| sink.write(pairs)),
    })?;
    let (items, radius, out) = (index.len(), args.radius, args.out.display());
    let others = other.as_ref().map(Index::len);
    let mut stdout = io::stdout().lock();
    if args.on.json {
        let of = json!({"pairs": pairs, "items": items, "against": others, "radius": radius, "out": args.out.to_string_lossy()});
        writeln!(stdout, "{of}")?;
    } else {
        let seconds = start.elapsed().as_secs_f64();
        let of = others.map(|others| format!(" and {others}")).unwrap_or_default();
        writeln!(
            stdout,
            "{pairs} pairs of {items}{of} items within radius {radius} in {out}, {seconds:.2} s"
        )?;
    }
    Ok(())
}

fn print_groups(args: &PairsArgs, index: &Index, groups: &[Group], took: Duration) -> Result<()> {
    let grouped: usize = groups.iter().map(|group| 1 + group.others.len()).sum();
    let largest = groups.iter().map(|group| 1 + group.others.len()).max().unwrap_or(0);
    let diameter = groups.iter().map(|group| group.diameter).max().unwrap_or(0);
    let (count, items, radius) = (groups.len(), index.len(), args.radius);
    let mut stdout = io::stdout().lock();
    if args.on.json {
        let summary = json!({
            "groups": count, "grouped": grouped, "beside_kept": grouped - count, "largest_group": largest,
            "largest_diameter": diameter, "items": items, "radius": radius, "out": args.out.to_string_lossy(),
        });
        writeln!(stdout, "{summary}")?;
    } else {
        let (beside, seconds) = (grouped - count, took.as_secs_f64());
        writeln!(
            stdout,
            "{count} groups of {items} items within radius {radius} in {}, {seconds:.2} s",
            args.out.display()
        )?;
        writeln!(
            stdout,
            "{beside} items beside the kept ones; the largest group has {largest} items, the largest diameter is {diameter}"
        )?;
    }
    Ok(())
}

/// Reports from time to time how far a long search for pairs is.
fn progress_reporter() -> impl FnMut(Progress) -> ControlFlow<()> + Send + 'static {
    const EVERY: Duration = Duration::from_secs(2);
    let mut next = EVERY;
    move |progress| {
        if progress.elapsed >= next && !progress.is_complete() {
            next = progress.elapsed + EVERY;
            let _ = writeln!(io::stderr(), "{progress}, {:.1} s", progress.elapsed.as_secs_f64());
        }
        ControlFlow::Continue(())
    }
}
