//! `dhih-index add`, `remove` and `compact`: changing an index that others may be searching.

use std::io::{self, Write};

use anyhow::{Context, Result};
use dhih_index::{CodeSet, IndexWriter};
use serde_json::json;

use crate::cli::{AddArgs, IndexArgs, RemoveArgs};

pub(crate) fn add(args: &AddArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.index)?;
    // An .npy file does not say how long its codes are: they can only be as long as the index's.
    let is_npy = args.codes.extension().is_some_and(|found| found.eq_ignore_ascii_case("npy"));
    let bits = is_npy.then(|| writer.snapshot().bits());
    let set = CodeSet::read(&args.codes, bits)?;
    writer.add(&set).with_context(|| format!("nothing of {} was added", args.codes.display()))?;
    tell(&writer, args.json, ("added", set.codes.len()))
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.index)?;
    let removed = writer.remove(&args.ids)?;
    let absent = args.ids.len() - removed;
    if absent > 0 {
        let _ = writeln!(io::stderr(), "{absent} of these ids were not there");
    }
    tell(&writer, args.json, ("removed", removed))
}

pub(crate) fn compact(args: &IndexArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.index)?;
    let deleted = writer.snapshot().info().deleted;
    writer.compact()?;
    tell(&writer, args.json, ("reclaimed", deleted))
}

fn tell(writer: &IndexWriter, json: bool, (done, count): (&str, usize)) -> Result<()> {
    let codes = writer.snapshot().len();
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({ done: count, "codes": codes }))?;
    } else {
        writeln!(out, "{count} {done}, {codes} codes now")?;
    }
    Ok(())
}
