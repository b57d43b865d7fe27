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
    Done { what: "added", items: set.codes.len() }.print(&writer, args.on.json)
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.on.index)?;
    let removed = writer.remove(&args.ids)?;
    let absent = args.ids.len() - removed;
    if absent > 0 {
        let _ = writeln!(io::stderr(), "{absent} of these ids were not in the index");
    }
    Done { what: "removed", items: removed }.print(&writer, args.on.json)
}

pub(crate) fn compact(args: &IndexArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.index)?;
    let deleted = writer.snapshot().info().deleted;
    writer.compact()?;
    Done { what: "reclaimed", items: deleted }.print(&writer, args.json)
}

/// What a command has done to how many items.
struct Done {
    what: &'static str,
    items: usize,
}

impl Done {
    fn print(&self, writer: &IndexWriter, json: bool) -> Result<()> {
        let (Self { what, items }, codes) = (self, writer.snapshot().len());
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", json!({ *what: items, "codes": codes }))?;
        } else {
            writeln!(out, "{items} {what}, {codes} codes now")?;
        }
        Ok(())
    }
}
