//! Building a segment on disk, for items that do not fit into memory. Runs that fit are sorted in memory and spilled, and merged into
//! the sections of the data file. Memory stays within the limit whatever the codes are like: all of them may be equal, and all may
//! share the value of a substring. The bytes are those of `in_memory.rs`.
//!
//! ```text
//! rows by id --> ids, labels, vectors (spilled as they come) ---------------------> ids, labels, vectors
//!          \---> code_runs.rs: runs sorted by (value of substring 0, code, row)
//!                   \--> merge.rs: --> different codes ---------------------------> codes
//!                                 \--> rows code by code, and where each code's start --> rows, starts
//!                                  \-> counts by value ---------------------------> directory 0
//! rows, starts --> code_of_row.rs: (row, code) in ranges of rows -----------------> code of row
//! codes --> table.rs: runs sorted by (value of substring i, number of the code) --> directory, postings, table codes i
//! codes --> code_hash.rs: runs sorted by (group, number of the code) -------------> tags, slots
//! ```

mod attributes;
mod budget;
mod by_id;
mod code_hash;
mod code_of_row;
mod code_runs;
mod job;
mod merge;
mod numbers;
mod table;

use std::path::Path;

use crate::build::external::attributes::Attributes;
use crate::build::external::budget::Budget;
use crate::build::external::code_runs::Sorted;
use crate::build::external::job::Job;
use crate::build::external::merge::Merged;
use crate::build::layout::{self, Layout, SegmentSpec, Substrings};
use crate::build::rows::{RowStream, SetRows};
use crate::build::sample;
use crate::build::spill::Spill;
use crate::build::tables;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::progress::{Reporter, Stage};
use crate::store::assembly::{Assembly, assemble};
use crate::store::disk::NewFile;
use crate::store::format::Kind;
use crate::store::manifest::Entry;
use crate::table::substring::{self, Substring};

/// The share of the memory that the buffers of items sorted by id take while their codes are sorted.
const BY_ID: usize = 8;

/// Writes the segment of a set.
pub(super) fn write_set(
    spec: SegmentSpec,
    set: &CodeSet,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    let substrings = match spec.substrings {
        Substrings::Keep(substrings) => substrings,
        Substrings::Choose(count) => choose_substrings(set, count)?,
    };
    let spec = SegmentSpec { substrings: Substrings::Keep(substrings), ..spec };
    let budget = Budget::of(&spec)?;
    let mut job = Job { spec: &spec, dir, budget, reporter };
    if set.ids.as_ref().is_none_or(|ids| ids.is_sorted()) {
        return write(&job, &mut SetRows::new(set, spec.shape));
    }
    let sorted = by_id::sort(set, &job)?;
    // The items are merged while their codes are sorted, so the buffers of the one and the runs of the other are in memory together.
    let buffers = budget.share(BY_ID);
    job.budget = budget.without(buffers);
    write(&job, &mut by_id::merge(&sorted, buffers)?)
}

/// Substrings that suit a set, as `substring::choose` finds them.
fn choose_substrings(set: &CodeSet, count: Option<u32>) -> Result<Vec<Substring>> {
    let sample = tables::sample(&set.codes);
    substring::choose_by_sample(set.codes.bits(), set.codes.len(), &sample, count)
}

/// Writes the segment of a stream of items.
pub(super) fn write_stream(
    spec: &SegmentSpec,
    rows: &mut dyn RowStream,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    write(&Job { spec, dir, budget: Budget::of(spec)?, reporter }, rows)
}

fn write(job: &Job, rows: &mut dyn RowStream) -> Result<Entry> {
    let &Job { spec, dir, reporter, .. } = job;
    let (attributes, Sorted { substrings, runs }) = code_runs::sort(job, rows)?;
    let merged = merge::merge(job, &substrings[0], runs)?;
    let distinct = merged.distinct;
    reporter.complete(Stage::Sorted { distinct: distinct as u64 }, spec.rows as u64)?;
    let has_ids = !attributes.ids.are_indices();
    let layout = Layout { spec, substrings: &substrings, distinct, has_ids };
    let new = NewFile::create(dir, "segment-").map_err(Error::io("write", dir))?;
    let outline = layout.outline();
    let xxh3 =
        assemble(&new, outline, |out| write_sections(job, &layout, attributes, merged, out))?;
    layout::finish(new, xxh3, sample::profile_in_a_pass, reporter)
}

/// Writes the sections of a data file. Each spill file is removed as soon as it is no longer needed.
fn write_sections(
    job: &Job,
    layout: &Layout,
    attributes: Attributes,
    merged: Merged,
    out: &mut Assembly,
) -> Result<()> {
    let Merged { codes, rows, starts, directory, .. } = merged;
    layout.write_head(out)?;
    copy(&codes, Kind::Codes, out)?;
    copy(&rows, Kind::Rows, out)?;
    out.bytes(Kind::Directory, 0, bytemuck::cast_slice(&directory))?;
    drop(directory);
    if layout.has_starts() {
        starts.write(Kind::Starts, out)?;
    }
    if layout.has_ids {
        attributes.ids.write(Kind::Ids, out)?;
    }
    if job.spec.shape.label_width() > 0 {
        copy(&attributes.labels, Kind::Labels, out)?;
    }
    if job.spec.shape.vectors.is_some() {
        copy(&attributes.vectors, Kind::Vectors, out)?;
    }
    drop(attributes);
    code_of_row::write(job, &rows, &starts, out)?;
    drop((rows, starts));
    for table in 1..layout.tables() {
        table::write(job, layout, &codes, table, out)?;
    }
    match layout.has_code_hash() {
        true => code_hash::write(job, layout, &codes, out),
        false => Ok(()),
    }
}

/// Copies a spill file to a section.
fn copy(spill: &Spill, kind: Kind, out: &mut Assembly) -> Result<()> {
    /// Bytes that are copied at once.
    const PIECE: usize = 1 << 20;
    let mut section = out.begin(kind, 0)?;
    let mut reader = spill.reader(0..spill.len(), PIECE);
    while !reader.is_empty() {
        section.put(out, reader.take_some(u64::MAX, 1)?)?;
    }
    section.end(out)
}
