//! The hash table of whole codes where it does not fit into memory: runs of its entries are sorted by home group, the first one that a
//! code is looked for in, and merged group by group. An entry that finds no slot in its group is carried over to the next, and
//! from the last group to the first. So the merge goes around twice: the first time only to learn what is carried over to
//! the first group.

use std::ops::Range;

use rayon::prelude::*;

use crate::build::external::job::{Job, REPORT_EVERY};
use crate::build::layout::Layout;
use crate::build::spill::{Spill, SpillReader, SpillWriter};
use crate::error::Result;
use crate::progress::Stage;
use crate::store::assembly::Assembly;
use crate::store::format::Kind;
use crate::table::code_hash::{EntrySource, SLOTS_PER_GROUP, fill_group};

/// An entry: the number of the code, its home group, its tag.
type Entry = [u32; 3];

/// Bytes of a spilled entry: the number and the tag.
const ENTRY: usize = 5;

/// Sorted runs, one after the other in a file. A run is a list of all groups: the number of entries as a varint, then the entries,
/// ascending by number. Numbers of a run are greater than those of the runs before it.
struct EntryRuns {
    spill: Spill,
    runs: Vec<Range<u64>>,
    groups: usize,
}

/// Writes the sections of the hash table. `codes` are all codes in order.
pub(super) fn write(job: &Job, layout: &Layout, codes: &Spill, out: &mut Assembly) -> Result<()> {
    let distinct = layout.distinct;
    let report = |done: usize| job.reporter.report(Stage::CodeHash, done as u64, distinct as u64);
    let runs = sort(job, distinct, codes, &report)?;
    // The first round begins with nothing carried over, which may be wrong. But there are more slots than codes, so that nothing is carried
    // over to some group. From that group on the round is correct, and so is what the last group carries over.
    let mut carried = Vec::new();
    let halfway = |entered: usize| report(distinct / 2 + entered / 4);
    go_around(job, &runs, &mut carried, &halfway, |_, _| Ok(()))?;
    let (mut tags, mut slots) = (out.begin(Kind::Tags, 0)?, out.begin(Kind::Slots, 0)?);
    let towards_end = |entered: usize| report(distinct - (distinct - entered) / 4);
    go_around(job, &runs, &mut carried, &towards_end, |tags_of_group, slots_of_group| {
        tags.put(out, tags_of_group)?;
        slots.put(out, bytemuck::cast_slice(slots_of_group))
    })?;
    tags.end(out)?;
    slots.end(out)?;
    job.reporter.complete(Stage::CodeHash, distinct as u64)
}

/// Spills the entries of all codes in sorted runs.
fn sort(
    job: &Job,
    distinct: usize,
    codes: &Spill,
    report: &dyn Fn(usize) -> Result<()>,
) -> Result<EntryRuns> {
    let width = job.spec.width();
    let source = EntrySource::new(distinct, width);
    let run = job.budget.run(distinct, width + size_of::<Entry>());
    let mut out = SpillWriter::create(job.dir)?;
    let (mut runs, mut chunk) = (Vec::new(), vec![0; run * width]);
    let mut entries: Vec<Entry> = Vec::with_capacity(run);
    for first in (0..distinct).step_by(run) {
        let chunk = &mut chunk[..run.min(distinct - first) * width];
        codes.read((first * width) as u64, chunk)?;
        let entry = |(at, code): (usize, &[u8])| source.entry((first + at) as u32, code);
        chunk.par_chunks_exact(width).enumerate().map(entry).collect_into_vec(&mut entries);
        entries.par_sort_unstable_by_key(|&[number, group, _]| (group, number));
        let (start, mut rest) = (out.len(), &entries[..]);
        for group in 0..source.groups() as u32 {
            let own = rest.iter().take_while(|entry| entry[1] == group).count();
            let (own, others) = rest.split_at(own);
            rest = others;
            out.put_varint(own.len() as u64)?;
            for [number, _, tag] in own {
                let [a, b, c, d] = number.to_le_bytes();
                out.put(&[a, b, c, d, *tag as u8])?;
            }
        }
        runs.push(start..out.len());
        report(first / 2)?;
    }
    Ok(EntryRuns { spill: out.finish()?, runs, groups: source.groups() })
}

/// Fills all groups in order. `carried` holds what is carried over to the first group, and afterwards what the last one carries over.
fn go_around(
    job: &Job,
    runs: &EntryRuns,
    carried: &mut Vec<Entry>,
    report: &dyn Fn(usize) -> Result<()>,
    mut take: impl FnMut(&[u8; SLOTS_PER_GROUP], &[u32; SLOTS_PER_GROUP]) -> Result<()>,
) -> Result<()> {
    let buffer = job.budget.buffer(runs.runs.len());
    let reader = |run: &Range<u64>| runs.spill.reader(run.clone(), buffer);
    let mut readers: Vec<SpillReader> = runs.runs.iter().map(reader).collect();
    let (mut tags, mut slots) = ([0; SLOTS_PER_GROUP], [0; SLOTS_PER_GROUP]);
    let (mut entered, mut reported) = (0, 0);
    for group in 0..runs.groups as u32 {
        let before = carried.len();
        for reader in &mut readers {
            for _ in 0..reader.take_varint()? {
                let entry: &[u8] = reader.take(ENTRY)?;
                let number = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                carried.push([number, group, u32::from(entry[4])]);
            }
        }
        let own = carried.len() - before;
        fill_group(carried, own, &mut tags, &mut slots);
        take(&tags, &slots)?;
        entered += own;
        if entered >= reported + REPORT_EVERY {
            reported = entered;
            report(entered)?;
        }
    }
    Ok(())
}
