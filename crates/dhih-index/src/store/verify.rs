//! Checking that the contents of a segment agree with each other. Checksums are `format.rs`; a
//! search needs none of this to stay within bounds.

use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::error::Result;
use crate::store::segment::Segment;
use crate::table::substring::Extractor;

/// Checks the contents of every section.
pub(crate) fn verify(segment: &Segment) -> Result<()> {
    codes(segment).map_err(|what| segment.corrupt(what))?;
    rows(segment).map_err(|what| segment.corrupt(what))?;
    if segment.ids().is_some_and(|ids| !ids.is_sorted_by(|a, b| a < b)) {
        return Err(segment.corrupt("its ids do not ascend"));
    }
    labels(segment)?;
    let width = bits::bytes_per_code(segment.bits);
    (0..segment.table_count()).try_for_each(|part| {
        let table = segment.table(part).verify(segment.codes(), width);
        table.map_err(|what| segment.corrupt(&format!("table {part}: {what}")))
    })?;
    let Some(whole) = segment.code_hash_table() else { return Ok(()) };
    whole.verify(segment.codes(), width).map_err(|what| segment.corrupt(what))
}

type Check = std::result::Result<(), &'static str>;

/// Codes are in order, so no two are equal, and have no unused bits.
fn codes(segment: &Segment) -> Check {
    let codes = || segment.codes().chunks_exact(bits::bytes_per_code(segment.bits));
    let first = segment.substrings().next().map(Extractor::new);
    let place = |code: &[u8]| first.as_ref().map_or(0, |first| first.of(code));
    if !codes().is_sorted_by(|a, b| (place(a), a) < (place(b), b)) {
        return Err("its codes do not ascend");
    }
    match codes().all(|code| bits::padding_is_zero(segment.bits, code)) {
        true => Ok(()),
        false => Err("a code has bits beyond its length"),
    }
}

/// Every code has rows, ascending, and every row is in the list of its code: so each is in one
/// list, once.
fn rows(segment: &Segment) -> Check {
    let code_of_row = segment.code_of_row();
    if let Some(starts) = segment.starts() {
        let ends = (starts.first().copied(), starts.last().map(|&last| last as usize));
        if ends != (Some(0), Some(segment.rows)) || !starts.is_sorted_by(|a, b| a < b) {
            return Err("its lists of rows do not follow each other");
        }
    }
    for code in 0..segment.distinct as u32 {
        let rows = segment.rows_of(code).map_err(|_| "a list of rows leaves its bounds")?;
        if !rows.is_sorted_by(|a, b| a < b) {
            return Err("a list of rows does not ascend");
        }
        if rows.iter().any(|&row| code_of_row.get(row as usize) != Some(&code)) {
            return Err("a row is in the list of another code");
        }
    }
    Ok(())
}

fn labels(segment: &Segment) -> Result<()> {
    let Some(bytes) = segment.labels() else { return Ok(()) };
    let labels = match segment.metadata.label_columns {
        Some(classes) => Labels::MultiHot { classes, values: bytes.to_vec() },
        None => Labels::Single(bytemuck::cast_slice(bytes).to_vec()),
    };
    crate::codes::labels::check_labels(&labels, segment.metadata.classes.len())
}
