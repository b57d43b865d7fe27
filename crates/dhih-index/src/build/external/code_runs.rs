//! Runs of codes: as many as fit into memory are grouped (`groups.rs`) and spilled in the order of the first table. They are merged in
//! `merge.rs`.

use std::iter::Peekable;
use std::mem;
use std::ops::Range;
use std::vec;

use crate::build::external::attributes::{self, Attributes};
use crate::build::external::job::Job;
use crate::build::groups::{self, Groups};
use crate::build::layout::Substrings;
use crate::build::rows::RowStream;
use crate::build::spill::{Spill, SpillWriter};
use crate::codes::Codes;
use crate::error::Result;
use crate::progress::Stage;
use crate::table::substring::{self, Substring};

/// Bytes of codes that are read at once from where they were spilled unsorted.
const PIECE: usize = if cfg!(test) { 1 << 8 } else { 1 << 20 };

/// Sorted runs, one after the other in a file. A run is a list of groups: a code, the number of its rows as a varint, and these rows,
/// 4 bytes each. Codes are ordered by the value of the first substring, then as byte strings; rows ascend, and those of a run are
/// greater than those of the runs before it.
pub(super) struct CodeRuns {
    pub(super) spill: Spill,
    pub(super) runs: Vec<Range<u64>>,
}

/// Runs, with the substrings; the runs are sorted by the first of these.
pub(super) struct Sorted {
    pub(super) substrings: Vec<Substring>,
    pub(super) runs: CodeRuns,
}

/// Sorts the codes of all items of a stream into runs, and spills the rest of the items.
pub(super) fn sort(job: &Job, rows: &mut dyn RowStream) -> Result<(Attributes, Sorted)> {
    let (attributes, sorted) = match &job.spec.substrings {
        Substrings::Keep(substrings) => {
            let mut sorter = RunSorter::new(job, &substrings[0])?;
            let attributes = attributes::read(job, rows, |codes| sorter.push(codes))?;
            (attributes, Sorted { runs: sorter.finish()?, substrings: substrings.clone() })
        }
        Substrings::Choose(count) => {
            // The first substring is known when all codes have been seen, so they are spilled before they are sorted.
            let mut unsorted = SpillWriter::create(job.dir)?;
            let mut sample = Sample::new(job);
            let attributes = attributes::read(job, rows, |codes| {
                sample.see(codes);
                unsorted.put(codes)
            })?;
            let (bits, rows) = (job.spec.shape.bits, job.spec.rows);
            let substrings = substring::choose_by_sample(bits, rows, &sample.codes, *count)?;
            let mut sorter = RunSorter::new(job, &substrings[0])?;
            let unsorted = unsorted.finish()?;
            let mut reader = unsorted.reader(0..unsorted.len(), PIECE);
            while !reader.is_empty() {
                sorter.push(reader.take_some(u64::MAX, job.spec.width())?)?;
            }
            (attributes, Sorted { runs: sorter.finish()?, substrings })
        }
    };
    job.reporter.complete(Stage::SortRuns, job.spec.rows as u64)?;
    Ok((attributes, sorted))
}

/// The codes that substrings are chosen by.
struct Sample {
    width: usize,
    /// The number of codes that have passed.
    seen: usize,
    /// The items that are still to be sampled, ascending.
    items: Peekable<vec::IntoIter<usize>>,
    codes: Vec<u8>,
}

impl Sample {
    fn new(job: &Job) -> Self {
        let items: Vec<usize> = substring::sampled_items(job.spec.rows).collect();
        let items = items.into_iter().peekable();
        Self { width: job.spec.width(), seen: 0, items, codes: Vec::new() }
    }

    /// Keeps those of the next codes that belong to the sample.
    fn see(&mut self, codes: &[u8]) {
        let end = self.seen + codes.len() / self.width;
        while let Some(item) = self.items.next_if(|&item| item < end) {
            let start = (item - self.seen) * self.width;
            self.codes.extend_from_slice(&codes[start..start + self.width]);
        }
        self.seen = end;
    }
}

/// Collects codes until they make a run, then sorts and spills it.
struct RunSorter<'a> {
    bits: u32,
    first: &'a Substring,
    /// Bytes of the codes of a run.
    run_bytes: usize,
    codes: Vec<u8>,
    first_row: u32,
    out: SpillWriter,
    runs: Vec<Range<u64>>,
}

impl<'a> RunSorter<'a> {
    fn new(job: &Job, first: &'a Substring) -> Result<Self> {
        let width = job.spec.width();
        let run = job.budget.run(job.spec.rows, width + groups::memory_of_row(width));
        let (run_bytes, out) = (run * width, SpillWriter::create(job.dir)?);
        let codes = Vec::with_capacity(run_bytes);
        Ok(Self {
            bits: job.spec.shape.bits,
            first,
            run_bytes,
            codes,
            first_row: 0,
            out,
            runs: Vec::new(),
        })
    }

    fn push(&mut self, mut codes: &[u8]) -> Result<()> {
        while !codes.is_empty() {
            let room = self.run_bytes - self.codes.len();
            let (now, later) = codes.split_at(codes.len().min(room));
            self.codes.extend_from_slice(now);
            codes = later;
            if self.codes.len() == self.run_bytes {
                self.sort_run()?;
            }
        }
        Ok(())
    }

    fn sort_run(&mut self) -> Result<()> {
        let codes = Codes::new(self.bits, mem::take(&mut self.codes))?;
        let groups = Groups::of(&codes, None, self.first);
        let start = self.out.len();
        let of_codes = groups.codes.chunks_exact(codes.bytes_per_code());
        for (code, bounds) in of_codes.zip(groups.starts.windows(2)) {
            let rows = &groups.rows[bounds[0] as usize..bounds[1] as usize];
            self.out.put(code)?;
            self.out.put_varint(rows.len() as u64)?;
            let mut rows = rows.iter().map(|row| self.first_row + row);
            rows.try_for_each(|row| self.out.put(&row.to_le_bytes()))?;
        }
        self.runs.push(start..self.out.len());
        self.first_row += codes.len() as u32;
        self.codes = codes.into_bytes();
        self.codes.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<CodeRuns> {
        if !self.codes.is_empty() {
            self.sort_run()?;
        }
        Ok(CodeRuns { spill: self.out.finish()?, runs: self.runs })
    }
}
