//! `dhih-index add`, `upsert`, `remove`, `merge` and `compact`: changing an index that others may be searching.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use dhih_index::{CodeSet, IndexConfig, IndexWriter, VectorSet};
use serde_json::{Value, json};

use crate::cli::{AddArgs, IndexArgs, MergeArgs, RemoveArgs};
use crate::cmd::search::read_set;

pub(crate) fn add(args: &AddArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.on.index)?;
    let set = items(args, writer.snapshot().bits())?;
    writer.add(&set).with_context(|| format!("{} was not added", args.codes.display()))?;
    maintain(&mut writer, &args.on.index);
    print(&writer, args.on.json, &[("added", set.codes.len())])
}

pub(crate) fn upsert(args: &AddArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.on.index)?;
    let set = items(args, writer.snapshot().bits())?;
    let changed = writer.upsert(&set);
    let changed = changed.with_context(|| format!("{} was not added", args.codes.display()))?;
    maintain(&mut writer, &args.on.index);
    print(&writer, args.on.json, &[("added", changed.added), ("replaced", changed.replaced)])
}

/// The items of a codes file, with their vectors where these are named.
fn items(args: &AddArgs, bits: u32) -> Result<CodeSet> {
    let vectors = args.vectors.as_ref().map(VectorSet::open).transpose()?;
    Ok(CodeSet { vectors, ..read_set(&args.codes, bits)? })
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<()> {
    let mut ids = match &args.ids_file {
        Some(file) => read_ids(file)?,
        None => args.ids.clone(),
    };
    ids.sort_unstable();
    ids.dedup();
    let mut writer = IndexWriter::open(&args.on.index)?;
    let removed = writer.remove(&ids)?;
    let absent = ids.len() - removed;
    if absent > 0 {
        let _ = writeln!(io::stderr(), "{absent} of these ids were not in the index");
    }
    maintain(&mut writer, &args.on.index);
    print(&writer, args.on.json, &[("removed", removed)])
}

pub(crate) fn merge(args: &MergeArgs) -> Result<()> {
    let config = IndexConfig::default().with_memory(args.memory);
    let mut writer = IndexWriter::open_with(&args.on.index, config)?;
    let before = writer.snapshot().info().segments.len();
    writer.maintain()?;
    let after = writer.snapshot().info().segments.len();
    print(&writer, args.on.json, &[("segments before", before), ("segments", after)])
}

pub(crate) fn compact(args: &IndexArgs) -> Result<()> {
    let mut writer = IndexWriter::open(&args.index)?;
    let deleted = writer.snapshot().info().deleted;
    writer.compact()?;
    print(&writer, args.json, &[("reclaimed", deleted)])
}

/// Does the merging that a change has made due. The change is durable whether or not it succeeds, so a failure is a warning.
fn maintain(writer: &mut IndexWriter, index: &Path) {
    if let Err(error) = writer.maintain() {
        let _ = writeln!(
            io::stderr(),
            "warning: the change was made, but merging failed: {:#}\n\
             hint: it is tried again with the next change, or by `dhih-index merge --index {}`",
            anyhow::Error::from(error),
            index.display()
        );
    }
}

/// The ids of a text file.
fn read_ids(file: &Path) -> Result<Vec<u64>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let words = text.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    let id = |word: &str| {
        word.parse().with_context(|| format!("{word:?} in {} is no id", file.display()))
    };
    words.map(id).collect()
}

/// Prints what was done to how many items, and how many there are now.
fn print(writer: &IndexWriter, json: bool, done: &[(&str, usize)]) -> Result<()> {
    let codes = writer.snapshot().len();
    let mut out = io::stdout().lock();
    if json {
        let done = done.iter().map(|(what, count)| (what.replace(' ', "_"), json!(count)));
        let all = done.chain([("codes".to_owned(), json!(codes))]);
        writeln!(out, "{}", Value::Object(all.collect()))?;
    } else {
        let done: Vec<String> =
            done.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(out, "{}, {codes} codes now", done.join(", "))?;
    }
    Ok(())
}
