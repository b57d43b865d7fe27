//! The code of each row, from the rows of each code: pairs of row and code are distributed to ranges of rows, each of which fits into
//! memory. A range has as many pairs as rows, whatever the codes are like.

use crate::build::external::job::Job;
use crate::build::external::numbers::Numbers;
use crate::build::spill::{RegionWriter, Spill};
use crate::error::Result;
use crate::store::assembly::Assembly;
use crate::store::format::Kind;
use crate::store::mmap;

/// Bytes of a pair: the place of the row in its range, and the number of the code.
const PAIR: usize = 8;

/// Writes the section of the code of each row. `rows` lists the rows code by code, `starts` tells where those of each code start.
pub(super) fn write(job: &Job, rows: &Spill, starts: &Numbers, out: &mut Assembly) -> Result<()> {
    let count = job.spec.rows;
    let range = job.budget.run(count, 2 * size_of::<u32>());
    if range >= count {
        let mut codes: Vec<u32> = mmap::zeros(count);
        for_each_row(job, rows, starts, |row, code| {
            codes[row as usize] = code;
            Ok(())
        })?;
        return out.bytes(Kind::CodeOfRow, 0, bytemuck::cast_slice(&codes));
    }
    let ranges = count.div_ceil(range);
    let of_range = |number: usize| range.min(count - number * range);
    let sizes: Vec<u64> = (0..ranges).map(|number| (PAIR * of_range(number)) as u64).collect();
    let mut pairs = RegionWriter::create(job.dir, &sizes, job.budget.buffer(ranges))?;
    for_each_row(job, rows, starts, |row, code| {
        let (number, place) = (row as usize / range, row as usize % range);
        pairs.put(number, bytemuck::cast_slice(&[place as u32, code]))
    })?;
    let pairs = pairs.finish()?;
    let mut section = out.begin(Kind::CodeOfRow, 0)?;
    let mut codes = vec![0_u32; range];
    for number in 0..ranges {
        let mut reader = pairs.region(number, job.budget.buffer(1));
        while !reader.is_empty() {
            for pair in reader.take_some(u64::MAX, PAIR)?.as_chunks::<PAIR>().0 {
                let [place, code]: [u32; 2] = bytemuck::cast(*pair);
                codes[place as usize] = code;
            }
        }
        section.put(out, bytemuck::cast_slice(&codes[..of_range(number)]))?;
    }
    section.end(out)
}

/// Calls `take` with each row and the number of its code, code by code.
fn for_each_row(
    job: &Job,
    rows: &Spill,
    starts: &Numbers,
    mut take: impl FnMut(u32, u32) -> Result<()>,
) -> Result<()> {
    let mut reader = rows.reader(0..rows.len(), job.budget.buffer(4));
    let mut starts = starts.reader();
    starts.next()?;
    let (mut code, mut end, mut at) = (0_u32, starts.next()?, 0_u64);
    while !reader.is_empty() {
        for row in reader.take_some(u64::MAX, 4)?.as_chunks::<4>().0 {
            // Every code has a row, so the next one begins where the rows of this one end.
            if end == Some(at) {
                code += 1;
                end = starts.next()?;
            }
            take(u32::from_le_bytes(*row), code)?;
            at += 1;
        }
    }
    Ok(())
}
