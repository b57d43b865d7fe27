//! The table of a substring that does not fit into memory: runs of codes are sorted into its buckets and spilled bucket by bucket, and
//! merged the same way. Codes come in the order of their numbers, so the runs' shares of a bucket follow each other, however
//! full it is.

use std::ops::Range;

use crate::build::external::job::{Job, REPORT_EVERY};
use crate::build::in_memory;
use crate::build::layout::Layout;
use crate::build::spill::{Spill, SpillReader, SpillWriter};
use crate::error::Result;
use crate::progress::Stage;
use crate::store::assembly::{Assembly, SectionWriter};
use crate::store::format::Kind;
use crate::table::TableData;
use crate::table::substring::Substring;

/// Places of a bucket that are turned into bytes at once.
const PLACES: usize = 1 << 14;

/// Sorted runs, one after the other in a file. A run is a list of all buckets: the number of codes as a varint, their numbers within the
/// run, 4 bytes each, and, where tables have copies, the codes.
struct TableRuns {
    spill: Spill,
    runs: Vec<Run>,
}

struct Run {
    bytes: Range<u64>,
    /// The number of the run's first code.
    first: u32,
}

/// Writes the sections of a table but the first. `codes` are all codes in order.
pub(super) fn write(
    job: &Job,
    layout: &Layout,
    codes: &Spill,
    table: u32,
    out: &mut Assembly,
) -> Result<()> {
    let substring = &layout.substrings[table as usize];
    let (width, distinct) = (job.spec.width(), layout.distinct);
    let entry = if layout.has_copies() { 4 + width.next_multiple_of(4) } else { 4 };
    // The code, its entry, and a copy of the entry while the partition is sorted that it lies in.
    let run = job.budget.run(distinct, width + entry + (4 + entry));
    let progress = TableProgress { job, layout, table };
    if run >= distinct {
        let mut all = vec![0; distinct * width];
        codes.read(0, &mut all)?;
        let data = TableData::build(substring, &all, width, None);
        drop(all);
        in_memory::write_table(&data, table, out)?;
        return progress.complete();
    }
    let runs = sort(&progress, substring, codes, run)?;
    merge(&progress, substring, &runs, out)?;
    progress.complete()
}

fn sort(
    progress: &TableProgress,
    substring: &Substring,
    codes: &Spill,
    run: usize,
) -> Result<TableRuns> {
    let &TableProgress { job, layout, .. } = progress;
    let (width, distinct) = (job.spec.width(), layout.distinct);
    let mut out = SpillWriter::create(job.dir)?;
    let (mut runs, mut chunk, mut room) = (Vec::new(), vec![0; run * width], None);
    for first in (0..distinct).step_by(run) {
        let chunk = &mut chunk[..run.min(distinct - first) * width];
        codes.read((first * width) as u64, chunk)?;
        let data = TableData::build(substring, chunk, width, room.take());
        let start = out.len();
        write_run(&data, &mut out)?;
        runs.push(Run { bytes: start..out.len(), first: first as u32 });
        room = Some(data);
        progress.report(first / 2)?;
    }
    Ok(TableRuns { spill: out.finish()?, runs })
}

fn write_run(data: &TableData, out: &mut SpillWriter) -> Result<()> {
    let mut bytes = Vec::new();
    for bounds in data.directory.windows(2) {
        let bucket = bounds[0] as usize..bounds[1] as usize;
        out.put_varint(bucket.len() as u64)?;
        let pieces = || bucket.clone().step_by(PLACES).map(|at| at..bucket.end.min(at + PLACES));
        for places in pieces() {
            bytes.clear();
            data.postings(places, &mut bytes);
            out.put(&bytes)?;
        }
        for places in pieces().filter(|_| data.has_codes()) {
            data.codes(places, &mut bytes);
            out.put(&bytes)?;
        }
    }
    Ok(())
}

/// Merges runs into the sections of the table.
fn merge(
    progress: &TableProgress,
    substring: &Substring,
    runs: &TableRuns,
    out: &mut Assembly,
) -> Result<()> {
    let &TableProgress { job, layout, table } = progress;
    let buffer = job.budget.buffer(runs.runs.len());
    let reader = |run: &Run| (runs.spill.reader(run.bytes.clone(), buffer), run.first);
    let mut readers: Vec<(SpillReader, u32)> = runs.runs.iter().map(reader).collect();
    let mut directory = out.begin(Kind::Directory, table)?;
    let copies = layout.has_copies().then(|| out.begin(Kind::TableCodes, table)).transpose()?;
    let postings = out.begin(Kind::Postings, table)?;
    let mut buckets = BucketsOut { postings, copies, width: job.spec.width(), numbers: Vec::new() };
    let (mut start, mut reported) = (0_u32, 0);
    for _ in 0..1_usize << substring.bits() {
        directory.put(out, &start.to_le_bytes())?;
        for (reader, first) in &mut readers {
            let count = reader.take_varint()?;
            buckets.take(reader, *first, count, out)?;
            start += count as u32;
        }
        if start as usize >= reported + REPORT_EVERY {
            reported = start as usize;
            progress.report(layout.distinct.midpoint(reported))?;
        }
    }
    directory.put(out, &start.to_le_bytes())?;
    directory.end(out)?;
    buckets.postings.end(out)?;
    buckets.copies.map_or(Ok(()), |copies| copies.end(out))
}

/// The sections that the contents of buckets go to.
struct BucketsOut {
    postings: SectionWriter,
    copies: Option<SectionWriter>,
    width: usize,
    /// Numbers of codes, as bytes.
    numbers: Vec<u8>,
}

impl BucketsOut {
    /// Takes a run's share of a bucket. `first` is the number of the run's first code.
    fn take(
        &mut self,
        reader: &mut SpillReader,
        first: u32,
        count: u64,
        out: &mut Assembly,
    ) -> Result<()> {
        let mut left = 4 * count;
        while left > 0 {
            let within_run = reader.take_some(left, 4)?;
            left -= within_run.len() as u64;
            let numbers =
                within_run.as_chunks::<4>().0.iter().map(|n| first + u32::from_le_bytes(*n));
            self.numbers.clear();
            self.numbers.extend(numbers.flat_map(u32::to_le_bytes));
            self.postings.put(out, &self.numbers)?;
        }
        let Some(copies) = &mut self.copies else { return Ok(()) };
        let mut left = self.width as u64 * count;
        while left > 0 {
            let codes = reader.take_some(left, 1)?;
            left -= codes.len() as u64;
            copies.put(out, codes)?;
        }
        Ok(())
    }
}

/// Reports how far a table is: sorting runs is one half, merging them the other.
struct TableProgress<'a> {
    job: &'a Job<'a>,
    layout: &'a Layout<'a>,
    table: u32,
}

impl TableProgress<'_> {
    fn stage(&self) -> Stage {
        Stage::Table { table: self.table + 1, tables: self.layout.tables() }
    }

    fn report(&self, done: usize) -> Result<()> {
        self.job.reporter.report(self.stage(), done as u64, self.layout.distinct as u64)
    }

    fn complete(&self) -> Result<()> {
        self.job.reporter.complete(self.stage(), self.layout.distinct as u64)
    }
}
