//! `dhih-index add`, `remove` and `compact`: changing an index that others may be searching.

use std::io::{self, Write};

use anyhow::{Context, Result};
use dhih_index::IndexWriter;
use serde_json::json;

use crate::cli::{AddArgs, IndexArgs, RemoveArgs};
use crate::cmd::search::read_set;

pub(crate) fn add(args: &AddArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.on.index)?;
    let set = read_set(&args.codes, writer.snapshot().bits())?;
    writer.add(&set).with_context(|| format!("nothing of {} was added", args.codes.display()))?;
    tell(&writer, args.on.json, ("added", set.codes.len()))
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.on.index)?;
    let removed = writer.remove(&args.ids)?;
    let absent = args.ids.len() - removed;
    if absent > 0 {
        let _ = writeln!(io::stderr(), "{absent} of these ids were not there");
    }
    tell(&writer, args.on.json, ("removed", removed))
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
