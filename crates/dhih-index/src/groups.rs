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
        let (rows, width) = (0..codes.len() as u32, codes.bytes_per_code());
        let extractor = Extractor::new(first);
        let begin = |code: &[u8]| {
            code.iter().take(16).fold(0_u128, |word, &byte| (word << 8) | u128::from(byte))
        };
        // Rows are sorted by the value of the substring, then by code as a byte string, then by number. What is compared lies beside
        // the row, so that memory is read in order.
        if width <= 8 {
            let number = |row| {
                let code = code(row);
                (u128::from(extractor.of(code)) << 96) | (begin(code) << 32) | u128::from(row)
            };
            let mut numbers: Vec<u128> = rows.into_par_iter().map(number).collect();
            numbers.par_sort_unstable();
            return Self::collect(codes, &numbers, |&number| {
                let bytes = ((number >> 32) as u64).to_be_bytes();
                (number as u32, bytes, 8 - width)
            });
        }
        let key = |row| (extractor.of(code(row)), begin(code(row)), row);
        let mut keys: Vec<(u32, u128, u32)> = rows.into_par_iter().map(key).collect();
        if width <= 16 {
            keys.par_sort_unstable();
            let bytes =
                |&(_, begin, row): &(u32, u128, u32)| (row, begin.to_be_bytes(), 16 - width);
            return Self::collect(codes, &keys, bytes);
        }
        keys.par_sort_unstable_by(|a, b| {
            let codes = || code(a.2).cmp(code(b.2)).then(a.2.cmp(&b.2));
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(codes)
        });
        Self::collect(codes, &keys, |&(.., row)| (row, code(row), 0))
    }

    /// From sorted keys: of each the row, and bytes at whose end, from a place on, its code is.
    fn collect<K, B: AsRef<[u8]>>(
        codes: &Codes,
        keys: &[K],
        item: impl Fn(&K) -> (u32, B, usize),
    ) -> Self {
        let mut distinct: Vec<u8> = Vec::with_capacity(codes.as_bytes().len());
        let (mut starts, mut rows) = (Vec::new(), Vec::with_capacity(keys.len()));
        let mut code_of_row = vec![0; keys.len()];
        let width = codes.bytes_per_code();
        for key in keys {
            let (row, bytes, from) = item(key);
            let code = &bytes.as_ref()[from..];
            let last = distinct.len().checked_sub(width).map(|at| &distinct[at..]);
            if last != Some(code) {
                distinct.extend_from_slice(code);
                starts.push(rows.len() as u32);
            }
            code_of_row[row as usize] = starts.len() as u32 - 1;
            rows.push(row);
        }
        starts.push(rows.len() as u32);
        Self { codes: distinct, starts, rows, code_of_row }
    }
}
