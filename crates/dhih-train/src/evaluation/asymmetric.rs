//! Asymmetric reranking: items at the same Hamming distance are ordered by the query's real values, which a search service has anyway and which
//! need no memory in the database.

use dhih_index::{CodeSet, Codes, hamming};
use rayon::prelude::*;

use super::average_precision::{Ties, average_precision};
use super::distinct::Distinct;
use super::relevance::{Relevance, Relevant, order};
use super::{QUERIES_AT_ONCE, check};
use crate::error::{Error, Result};

/// The mean average precision where items are ranked by Hamming distance, and those at the same distance by the inner product of the query's
/// real values and the item's code of +1 and -1, largest first. Items with the same code still tie, and their orders are averaged.
///
/// # Shapes
/// `values`: `[queries, bits]`, whose signs are the codes of the queries.
///
/// # Errors
/// As [`evaluate`](super::evaluate), and where `values` do not belong to the queries.
pub fn asymmetric_map(database: &CodeSet, queries: &CodeSet, values: &[f32]) -> Result<f64> {
    check(database, queries)?;
    let bits = queries.codes.bits();
    let signs = Codes::from_real(bits, values)?;
    if signs != queries.codes {
        let reason = "the queries' codes are not the signs of their real values".to_owned();
        return Err(Error::Codes { reason });
    }
    let relevance = Relevance::new(database, queries)?;
    let distinct = Distinct::of(&database.codes);
    let order = order(&relevance, &queries.codes, 0..queries.codes.len());
    let scores: Vec<f64> = order
        .par_chunks(QUERIES_AT_ONCE)
        .map(|rows| {
            let mut relevant = Relevant::new(&relevance, Some(&distinct));
            let score = |row: &usize| {
                let values = &values[row * bits as usize..][..bits as usize];
                score(&distinct.codes, (queries.codes.get(*row), values), &relevant.to(*row).counts)
            };
            rows.iter().map(score).sum()
        })
        .collect();
    Ok(scores.iter().sum::<f64>() / queries.codes.len() as f64)
}

/// The average precision of one query, given its code and its values.
///
/// # Shapes
/// `counts`: for each distinct code, the numbers of items and of relevant items.
fn score(codes: &Codes, (query, values): (&[u8], &[f32]), counts: &[[u32; 2]]) -> f64 {
    let mut distances = vec![0; codes.len()];
    hamming::distances_into(query, codes.as_bytes(), &mut distances);
    let table = Table::new(values);
    let of_code = |(code, (distance, count)): (&[u8], (&u32, &[u32; 2]))| {
        (*distance, table.product(code), *count)
    };
    let mut groups: Vec<(u32, f32, [u32; 2])> =
        codes.iter().zip(distances.iter().zip(counts)).map(of_code).collect();
    let key = |a: &(u32, f32, [u32; 2]), b: &(u32, f32, [u32; 2])| {
        a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))
    };
    groups.sort_unstable_by(key);
    let ties = groups.chunk_by(|a, b| key(a, b).is_eq());
    let sums =
        ties.map(|tie| tie.iter().fold([0, 0], |sum, (_, _, [n, p])| [sum[0] + n, sum[1] + p]));
    average_precision(sums, Ties::Averaged)
}

/// For each byte of a code and each value of that byte, its contribution to the inner product.
struct Table(Vec<[f32; 256]>);

impl Table {
    fn new(values: &[f32]) -> Self {
        let part = |values: &[f32]| {
            std::array::from_fn(|byte| {
                let signed = |(bit, x): (usize, &f32)| if byte >> bit & 1 == 1 { *x } else { -x };
                values.iter().enumerate().map(signed).sum()
            })
        };
        Self(values.chunks(8).map(part).collect())
    }

    fn product(&self, code: &[u8]) -> f32 {
        self.0.iter().zip(code).map(|(table, byte)| table[usize::from(*byte)]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhih_index::Labels;

    fn set(bits: u32, values: &[f32], labels: &[i64]) -> CodeSet {
        let mut set = CodeSet::new(Codes::from_real(bits, values).unwrap());
        set.labels = Some(Labels::Single(labels.to_vec()));
        set
    }

    #[test]
    fn real_values_order_what_hamming_distance_cannot() {
        // Both items differ from the query in one bit. The value of that bit is nearest to 0 for the relevant item.
        let values = [0.1, 2.0, 3.0];
        let queries = set(3, &values, &[7]);
        let database = set(3, &[1.0, -1.0, 1.0, -1.0, 1.0, 1.0], &[0, 7]);
        assert_eq!(asymmetric_map(&database, &queries, &values).unwrap(), 1.0);
        let unlucky = [2.0, 0.1, 3.0];
        let queries = set(3, &unlucky, &[7]);
        assert_eq!(asymmetric_map(&database, &queries, &unlucky).unwrap(), 0.5);
    }

    #[test]
    fn items_of_one_code_tie_and_foreign_values_are_refused() {
        let values = [1.0, 2.0];
        let queries = set(2, &values, &[7]);
        let database = set(2, &[1.0, 1.0, 1.0, 1.0], &[0, 7]);
        assert_eq!(asymmetric_map(&database, &queries, &values).unwrap(), 0.75);
        let error = asymmetric_map(&database, &queries, &[-1.0, 2.0]).unwrap_err().to_string();
        assert!(error.contains("signs"), "{error}");
    }
}
