//! Checking that the contents of a segment agree with each other, on all threads and in place: no section is copied. Checksums are
//! `format.rs`'s; a search needs none of this to stay within bounds.

use std::ops::Range;

use rayon::prelude::*;

use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::error::{Error, Result};
use crate::store::segment::Segment;
use crate::table::substring::Extractor;

/// Codes or rows that one thread checks at once.
const BLOCK: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// Checks the contents of every section.
pub(crate) fn verify(segment: &Segment) -> Result<()> {
    check_codes(segment).map_err(|what| segment.corrupt(what))?;
    check_rows(segment).map_err(|what| segment.corrupt(what))?;
    if segment.ids().is_some_and(|ids| !ids.is_sorted_by(|a, b| a < b)) {
        return Err(segment.corrupt("its ids do not ascend"));
    }
    check_labels(segment)?;
    check_vectors(segment)?;
    let width = bits::bytes_per_code(segment.bits);
    (0..segment.table_count()).into_par_iter().try_for_each(|number| {
        let table = segment.table(number).verify(segment.codes(), width);
        table.map_err(|what| segment.corrupt(&format!("table {number}: {what}")))
    })?;
    let Some(whole) = segment.code_hash_table() else { return Ok(()) };
    whole.verify(segment.codes(), width).map_err(|what| segment.corrupt(what))
}

type Check = std::result::Result<(), &'static str>;

/// The numbers below `count` in blocks.
fn blocks(count: usize) -> impl ParallelIterator<Item = Range<usize>> {
    let block = move |number: usize| number * BLOCK..count.min((number + 1) * BLOCK);
    (0..count.div_ceil(BLOCK)).into_par_iter().map(block)
}

/// Codes are in order, so no two are equal, and have no unused bits.
fn check_codes(segment: &Segment) -> Check {
    let width = bits::bytes_per_code(segment.bits);
    let first = segment.substrings().next().map(Extractor::new);
    let place = |code: &[u8]| first.as_ref().map_or(0, |first| first.of(code));
    blocks(segment.distinct).try_for_each(|Range { start, end }| {
        // The first code of the next block is included, so that its order after the last code of this block is checked.
        let codes = &segment.codes()[start * width..segment.distinct.min(end + 1) * width];
        let codes = codes.chunks_exact(width);
        if !codes.clone().is_sorted_by(|a, b| (place(a), a) < (place(b), b)) {
            return Err("its codes do not ascend");
        }
        match codes.clone().all(|code| bits::padding_is_zero(segment.bits, code)) {
            true => Ok(()),
            false => Err("a code has bits beyond its length"),
        }
    })
}

/// Every code has rows, ascending, and every row is in the posting list of its code: so each is in one list, once.
fn check_rows(segment: &Segment) -> Check {
    let code_of_row = segment.code_of_row();
    if let Some(starts) = segment.starts() {
        let ends = (starts.first().copied(), starts.last().map(|&last| last as usize));
        if ends != (Some(0), Some(segment.rows)) || !starts.is_sorted_by(|a, b| a < b) {
            return Err("its posting lists do not follow each other");
        }
    }
    blocks(segment.distinct).try_for_each(|codes| {
        for code in codes.start as u32..codes.end as u32 {
            let rows = segment.rows_of(code).map_err(|_| "a posting list leaves its bounds")?;
            if !rows.is_sorted_by(|a, b| a < b) {
                return Err("a posting list does not ascend");
            }
            if rows.iter().any(|&row| code_of_row.get(row as usize) != Some(&code)) {
                return Err("a row is in the posting list of another code");
            }
        }
        Ok(())
    })
}

/// Labels are classes that have a name, where classes have names, or zeros and ones.
fn check_labels(segment: &Segment) -> Result<()> {
    let Some(bytes) = segment.labels() else { return Ok(()) };
    let classes = segment.metadata.classes.len();
    if let Some(columns) = segment.metadata.label_columns {
        if classes != 0 && classes != columns {
            return Err(segment.corrupt("its labels have another number of columns than classes"));
        }
        return match bytes.par_iter().all(|&value| value <= 1) {
            true => Ok(()),
            false => Err(segment.corrupt("a multi-hot label is neither 0 nor 1")),
        };
    }
    let labels: &[i64] = bytemuck::cast_slice(bytes);
    let inside = |label: i64| {
        label == Labels::NONE || usize::try_from(label).is_ok_and(|label| label < classes)
    };
    match labels.par_iter().position_any(|&label| classes > 0 && !inside(label)) {
        Some(row) => Err(Error::Label { row, label: labels[row], classes }),
        None => Ok(()),
    }
}

/// Vectors are finite numbers, and have the lengths that are stored with them.
fn check_vectors(segment: &Segment) -> Result<()> {
    let (Some(form), Some(bytes)) = (segment.metadata.vectors, segment.vectors()) else {
        return Ok(());
    };
    match bytes.par_chunks_exact(form.bytes()).all(|vector| form.is_sound(vector)) {
        true => Ok(()),
        false => Err(segment.corrupt("a vector is not finite, or not as long as is said")),
    }
}
