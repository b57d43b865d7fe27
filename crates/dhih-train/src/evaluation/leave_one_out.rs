//! Compares items among themselves, each with all others except itself. With few items in a class, the item itself would be most of what is
//! found. [`evaluate`](super::evaluate) compares queries with a separate database.

use dhih_index::CodeSet;
use rayon::prelude::*;

use super::average_precision::{Ties, average_precision};
use super::ranking::Ranking;
use super::relevance::{Relevance, Relevant, order};
use super::{QUERIES_AT_ONCE, check};
use crate::error::Result;

/// The mean average precision over the whole ranking where each item in turn is the query and the others are the database, with ties averaged.
/// An item that shares no label with others scores 0 and counts.
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub fn leave_one_out_map(items: &CodeSet) -> Result<f64> {
    check(items, items)?;
    let relevance = Relevance::new(items, items)?;
    let order = order(&relevance, &items.codes, 0..items.codes.len());
    let of_chunk = |ranking: &mut Ranking, rows: &[usize]| -> f64 {
        let mut relevant = Relevant::new(&relevance, None);
        let score = |row: &usize| {
            let relevant = &relevant.to(*row).items;
            ranking.rank(&items.codes, items.codes.get(*row), relevant, 0);
            // The item itself is at distance 0. It is relevant unless it has no label.
            let [found, found_relevant] = ranking.histogram[0];
            ranking.histogram[0] = [found - 1, found_relevant - u32::from(relevant[*row])];
            average_precision(ranking.histogram.iter().copied(), Ties::Averaged)
        };
        rows.iter().map(score).sum()
    };
    // Chunks are summed in order, so that the result does not depend on the number of threads.
    let sums: Vec<f64> =
        order.par_chunks(QUERIES_AT_ONCE).map_init(Ranking::new, of_chunk).collect();
    Ok(sums.iter().sum::<f64>() / items.codes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{EvaluationConfig, evaluate};
    use super::*;
    use dhih_index::{Codes, Labels};

    fn set(rows: &[(u8, i64)]) -> CodeSet {
        let mut set = CodeSet::new(Codes::new(8, rows.iter().map(|row| row.0).collect()).unwrap());
        set.labels = Some(Labels::Single(rows.iter().map(|row| row.1).collect()));
        set
    }

    #[test]
    fn an_item_is_not_found_by_itself() {
        // Two items in each class, where the other one is always farther than an item of another class. The item itself would be at rank 1.
        let rows = [(0b0000, 0), (0b0001, 1), (0b1110, 0), (0b1111, 1), (0b0111, Labels::NONE)];
        let all = set(&rows);
        let mut expected = 0.0;
        for row in 0..rows.len() {
            let mut others = rows.to_vec();
            let query = others.remove(row);
            let metrics = evaluate(&set(&others), &set(&[query]), &EvaluationConfig::default());
            expected += metrics.unwrap().map / rows.len() as f64;
        }
        let got = leave_one_out_map(&all).unwrap();
        assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        assert!(evaluate(&all, &all, &EvaluationConfig::default()).unwrap().map > got);
    }
}
