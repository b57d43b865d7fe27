//! Retrieval metrics of a set of queries against a database of codes, by Hamming distance. An item is relevant where it shares at least one
//! label with the query; an item without a label is relevant to no query. Every query is compared with every item.

mod asymmetric;
mod average_precision;
mod beginning;
mod classes;
mod classification;
mod curves;
mod distinct;
mod leave_one_out;
mod partial;
mod ranking;
mod relevance;
mod sums;

use std::collections::BTreeMap;

use dhih_index::{CodeSet, Labels, Shard};
use rayon::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use distinct::Distinct;
use ranking::Ranking;
use relevance::{Relevance, Relevant, alike, order};
use sums::Sums;

pub use asymmetric::asymmetric_map;
pub use classification::{accuracy, class_code_map, posterior_map};
pub use curves::Curves;
pub use leave_one_out::leave_one_out_map;
pub use partial::{evaluate_part, merge_parts};

/// What is computed beside the metrics that are always there.
#[derive(Debug, Clone)]
pub struct EvaluationConfig {
    /// The values of k of mAP@k. Those larger than the database are reduced to its size.
    pub map_at: Vec<usize>,
    /// The values of N of precision@N. Those larger than the database are left out.
    pub precision_at: Vec<usize>,
    /// What a query without a relevant item in its top k contributes to mAP@k.
    pub empty: Empty,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        let (map_at, precision_at) = (vec![100, 1000, 5000], vec![1, 10, 100, 1000]);
        Self { map_at, precision_at, empty: Empty::Zero }
    }
}

/// How mAP@k treats queries without a relevant item in their top k.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// They score 0 and count.
    #[default]
    Zero,
    /// They are left out, as in HashNet's code.
    Omit,
}

/// The metrics; all are means over the queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Code length.
    pub bits: u32,
    /// The number of queries.
    pub queries: usize,
    /// The number of items of the database.
    pub database: usize,
    /// Mean average precision over the whole ranking, averaged over all orders of ties. A query without relevant items scores 0 and counts.
    pub map: f64,
    /// The same with the best and the worst order of ties.
    pub map_bounds: Bounds,
    /// mAP@k with ties in database order, divided by the number of relevant items in the top k, as most published code computes it.
    #[serde(deserialize_with = "by_number")]
    pub map_at: BTreeMap<usize, f64>,
    /// mAP@k with the same divisor, averaged over all orders of tied items, so that it does not depend on the order of the database. Where
    /// queries without a relevant item are left out, it is the ratio of two such means. Evaluations of older programs lack it.
    #[serde(default, deserialize_with = "by_number")]
    pub map_at_tie_aware: BTreeMap<usize, f64>,
    /// mAP@k averaged over all orders of tied items, divided by min(k, R) with R relevant items in the database: a query that finds less than it
    /// could in its top k scores less. A query without a relevant item scores 0 and counts.
    #[serde(default, deserialize_with = "by_number")]
    pub map_at_min_k_r: BTreeMap<usize, f64>,
    /// Share of relevant items among the first N, ties in database order.
    #[serde(deserialize_with = "by_number")]
    pub precision_at: BTreeMap<usize, f64>,
    /// The same, averaged over all orders of tied items.
    #[serde(default, deserialize_with = "by_number")]
    pub precision_at_tie_aware: BTreeMap<usize, f64>,
    /// The share of relevant items within Hamming radius 2. An empty ball scores 0 and counts.
    pub precision_radius_2: f64,
    /// The share of the relevant items that are within Hamming radius 2.
    pub recall_radius_2: f64,
    /// Values along the ranking.
    pub curves: Curves,
    /// The number of different codes in the database.
    pub distinct_codes: usize,
}

/// Reads a map with numbers as keys, which are strings in JSON, also where the map is part of a flattened structure.
fn by_number<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<usize, f64>, D::Error> {
    let entries = BTreeMap::<String, f64>::deserialize(from)?.into_iter();
    let parse = |(key, value): (String, f64)| Ok((key.parse().map_err(D::Error::custom)?, value));
    entries.map(parse).collect()
}

/// Best and worst case over ties.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Relevant items are last among ties.
    pub pessimistic: f64,
    /// Relevant items are first among ties.
    pub optimistic: f64,
}

/// Evaluates labelled queries against a labelled database.
///
/// # Errors
/// [`Error::Codes`] where lengths, models, kinds of labels or names of classes differ, labels are missing, or one side is empty.
pub fn evaluate(
    database: &CodeSet,
    queries: &CodeSet,
    config: &EvaluationConfig,
) -> Result<Metrics> {
    let work = Work::new(database, queries, config)?;
    Ok(work.metrics(&work.sums(Shard::WHOLE)))
}

/// A prepared evaluation, with what all queries share.
struct Work<'a> {
    database: &'a CodeSet,
    queries: &'a CodeSet,
    /// The settings, with each k of mAP@k once, in ascending order.
    config: EvaluationConfig,
    relevance: Relevance<'a>,
    distinct: Distinct,
    ranks: Vec<usize>,
    /// The first of equivalent queries, and the number of them.
    alike: Vec<(usize, usize)>,
}

impl<'a> Work<'a> {
    fn new(database: &'a CodeSet, queries: &'a CodeSet, config: &EvaluationConfig) -> Result<Self> {
        check(database, queries)?;
        let config = config.ascending();
        let relevance = Relevance::new(database, queries)?;
        let order = order(&relevance, &queries.codes, 0..queries.codes.len());
        let alike = alike(&relevance, &queries.codes, &order);
        let (distinct, ranks) =
            (Distinct::of(&database.codes), curves::ranks(database.codes.len()));
        Ok(Self { database, queries, config, relevance, distinct, ranks, alike })
    }

    /// The sums of each chunk of queries, in order, for one part of the chunks.
    fn sums(&self, shard: Shard) -> Vec<Sums> {
        let Self { database, queries, config, relevance, distinct, ranks, alike } = self;
        let places = config.places(database.codes.len());
        let repeating = distinct.pays().then_some(distinct);
        let chunks: Vec<_> = alike.chunks(QUERIES_AT_ONCE).collect();
        let chunks = &chunks[shard.range(chunks.len())];
        let of_chunk = |ranking: &mut Ranking, chunk: &&[(usize, usize)]| {
            let (mut relevant, mut sums) = (Relevant::new(relevance, repeating), Sums::new(config));
            for (row, count) in *chunk {
                let (query, relevant) = (queries.codes.get(*row), relevant.to(*row));
                match repeating {
                    Some(distinct) => ranking.rank_distinct(distinct, query, relevant, places),
                    None => ranking.rank(&database.codes, query, &relevant.items, places),
                }
                sums.add(ranking, config, ranks, *count);
            }
            sums
        };
        chunks.par_iter().map_init(Ranking::new, of_chunk).collect()
    }

    /// The metrics from the sums of all chunks.
    fn metrics(&self, chunks: &[Sums]) -> Metrics {
        let mut sums = Sums::new(&self.config);
        // They are added in order, so that the last digit does not depend on the number of threads or parts.
        chunks.iter().for_each(|chunk| sums.merge(chunk));
        let counts = (self.queries.codes.len(), self.distinct.codes.len());
        sums.metrics(self.database, counts, &self.config, &self.ranks)
    }
}

fn check(database: &CodeSet, queries: &CodeSet) -> Result<()> {
    let wrong = |reason: String| Err(Error::Codes { reason });
    let (a, b) = (database.codes.bits(), queries.codes.bits());
    if a != b {
        return wrong(format!("the database has {a} bits, the queries have {b}"));
    }
    if database.codes.is_empty() || queries.codes.is_empty() {
        return wrong("the database or the queries are empty".to_owned());
    }
    match (&database.model_sha256, &queries.model_sha256) {
        (Some(a), Some(b)) if a != b => {
            wrong(format!("the database was encoded by model {a}, the queries by {b}"))
        }
        _ => Ok(()),
    }
}

fn labels<'a>(set: &'a CodeSet, what: &str) -> Result<&'a Labels> {
    let missing = || Error::Codes { reason: format!("the {what} has no labels") };
    set.labels.as_ref().ok_or_else(missing)
}

/// The number of queries that one thread handles at a time.
const QUERIES_AT_ONCE: usize = 64;

impl EvaluationConfig {
    /// The same settings with each k of mAP@k once, in ascending order.
    fn ascending(&self) -> Self {
        let mut config = self.clone();
        config.map_at.sort_unstable();
        config.map_at.dedup();
        config
    }

    /// The number of places of a ranking of `n` items that must be listed.
    fn places(&self, n: usize) -> usize {
        let precision = self.precision_at.iter().filter(|at| **at <= n);
        self.map_at.iter().chain(precision).copied().max().unwrap_or(0).min(n)
    }

    /// The values of N of precision@N for a database of `n` items.
    fn wanted(&self, n: usize) -> impl Iterator<Item = (usize, usize)> {
        let wanted = self.precision_at.iter().copied().enumerate();
        wanted.filter(move |(_, at)| (1..=n).contains(at))
    }
}
