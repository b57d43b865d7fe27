//! Equal codes together: each once, with the rows that have it, in the order of the first table. What is built of them:
//! `builder.rs`.

use rayon::prelude::*;

use crate::codes::Codes;
use crate::substring::{Extractor, Substring};

/// The different codes of a set. Rows are items by ascending id.
pub(crate) struct Groups {
    /// Packed, by the value of a substring, then as byte strings.
    pub(crate) codes: Vec<u8>,
    /// Where each code's rows start, and the end.
    pub(crate) starts: Vec<u32>,
    /// The rows, ascending for each code.
    pub(crate) rows: Vec<u32>,
    pub(crate) code_of_row: Vec<u32>,
}

impl Groups {
    /// `by_id` says which item is which row; `None` where they are the same.
    pub(crate) fn of(codes: &Codes, by_id: Option<&[u32]>, first: &Substring) -> Self {
        let code = |row: u32| codes.get(by_id.map_or(row, |order| order[row as usize]) as usize);
        let rows = sorted_rows(codes, first, code);
        let (mut distinct, mut starts) = (Vec::with_capacity(codes.as_bytes().len()), Vec::new());
        let mut code_of_row = vec![0; rows.len()];
        let mut last: &[u8] = &[];
        for (at, &row) in rows.iter().enumerate() {
            let code = code(row);
            if code != last {
                distinct.extend_from_slice(code);
                starts.push(at as u32);
                last = code;
            }
            code_of_row[row as usize] = starts.len() as u32 - 1;
        }
        starts.push(rows.len() as u32);
        Self { codes: distinct, starts, rows, code_of_row }
    }
}

/// The rows by the value of the substring, then by code as a byte string, then by number.
fn sorted_rows<'a>(
    codes: &Codes,
    first: &Substring,
    code: impl Fn(u32) -> &'a [u8] + Sync,
) -> Vec<u32> {
    let rows = 0..codes.len() as u32;
    let extractor = Extractor::new(first);
    if codes.bytes_per_code() > 8 {
        // The first bytes beside the row: most comparisons need no look at the code.
        let begin = |code: &[u8]| {
            code.iter().take(16).fold(0_u128, |word, &byte| (word << 8) | u128::from(byte))
        };
        let key = |row| (extractor.of(code(row)), begin(code(row)), row);
        let mut keys: Vec<(u32, u128, u32)> = rows.into_par_iter().map(key).collect();
        match codes.bytes_per_code() {
            ..=16 => keys.par_sort_unstable(),
            _ => keys.par_sort_unstable_by(|a, b| {
                let codes = || code(a.2).cmp(code(b.2)).then(a.2.cmp(&b.2));
                (a.0, a.1).cmp(&(b.0, b.1)).then_with(codes)
            }),
        }
        return keys.into_par_iter().map(|(.., row)| row).collect();
    }
    // Short codes are sorted as numbers: value of the substring, code with its first byte highest, row.
    let number = |row| {
        let code = code(row);
        let word = code.iter().fold(0_u64, |word, &byte| (word << 8) | u64::from(byte));
        (u128::from(extractor.of(code)) << 96) | (u128::from(word) << 32) | u128::from(row)
    };
    let mut numbers: Vec<u128> = rows.into_par_iter().map(number).collect();
    numbers.par_sort_unstable();
    numbers.into_par_iter().map(|number| number as u32).collect()
}
