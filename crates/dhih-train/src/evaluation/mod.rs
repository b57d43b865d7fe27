//! Retrieval metrics of a set of queries against a database of codes, under Hamming distance. An item is relevant where it
//! shares at least one label with the query. Every query is compared with every item.

mod average_precision;
mod relevance;

use std::collections::BTreeMap;

use dhih_index::{CodeSet, Codes, Labels, hamming};
use rayon::prelude::*;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use average_precision::{Ties, average_precision, stable_average_precision};
use relevance::Relevance;

/// What to measure beside the metrics that are always there.
#[derive(Debug, Clone)]
pub struct EvaluationConfig {
    /// The k of mAP@k; those larger than the database are cut to it.
    pub map_at: Vec<usize>,
    /// The N of precision@N; those larger than the database are left out.
    pub precision_at: Vec<usize>,
    /// What a query without a relevant item in its top k adds to mAP@k.
    pub empty: Empty,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        let (map_at, precision_at) = (vec![100, 1000, 5000], vec![1, 10, 100, 1000]);
        Self { map_at, precision_at, empty: Empty::Zero }
    }
}

/// What becomes of queries without a relevant item in the top k of mAP@k.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// They score 0 and count.
    #[default]
    Zero,
    /// They are left out, as HashNet's code does.
    Omit,
}

/// The metrics; all are means over the queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Code length.
    pub bits: u32,
    /// Number of queries.
    pub queries: usize,
    /// Number of items searched.
    pub database: usize,
    /// Mean average precision over the whole ranking, ties averaged over all their orders; a query without relevant items
    /// scores 0 and counts.
    pub map: f64,
    /// The same with the best and the worst order of ties.
    pub map_bounds: Bounds,
    /// mAP@k with ties in database order, divided by the relevant items inside the top k: what most published code computes.
    #[serde(deserialize_with = "by_number")]
    pub map_at: BTreeMap<usize, f64>,
    /// Share of relevant items among the first N, ties in database order.
    #[serde(deserialize_with = "by_number")]
    pub precision_at: BTreeMap<usize, f64>,
    /// Share of relevant items within Hamming radius 2; an empty ball scores 0 and counts.
    pub precision_radius_2: f64,
    /// Share of the relevant items that lie within Hamming radius 2.
    pub recall_radius_2: f64,
    /// Values along the ranking.
    pub curves: Curves,
    /// Different codes in the database.
    pub distinct_codes: usize,
}

/// Reads numbers as keys, which are texts in JSON, also where the map is part of a flattened structure.
fn by_number<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<usize, f64>, D::Error> {
    let entries = BTreeMap::<String, f64>::deserialize(from)?.into_iter();
    let parse = |(key, value): (String, f64)| Ok((key.parse().map_err(D::Error::custom)?, value));
    entries.map(parse).collect()
}

/// Best and worst case over ties.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Relevant items last among equals.
    pub pessimistic: f64,
    /// Relevant items first among equals.
    pub optimistic: f64,
}

/// Values along the ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// `[precision, recall]` within each Hamming radius 0..=bits.
    pub precision_recall_by_radius: Vec<[f64; 2]>,
}

/// Measures labelled queries against a labelled database.
///
/// # Errors
/// [`Error::Codes`] where lengths, models or kinds of labels differ, labels are missing, or a side is empty.
pub fn evaluate(
    database: &CodeSet,
    queries: &CodeSet,
    config: &EvaluationConfig,
) -> Result<Metrics> {
    check(database, queries)?;
    let relevance = Relevance::new(labels(database, "database")?, labels(queries, "queries")?)?;
    let rows = 0..queries.codes.len();
    let scores: Vec<Score> = rows
        .into_par_iter()
        .map_init(Scratch::default, |scratch, query| {
            scratch.rank(&database.codes, queries.codes.get(query), &relevance, query);
            scratch.score(config)
        })
        .collect();
    Ok(summarize(database, &scores, config))
}

/// Mean average precision of single-label predictions taken as codes: items of the predicted class first, all others
/// after, ties averaged. What a mere classifier reaches on classes seen in training; to be reported beside every
/// supervised result (Sablayrolles et al., arXiv 1609.06753).
///
/// # Shapes
/// `predicted`: classes of the database's and of the queries' items, each below `classes`, which is at most 1,024.
///
/// # Errors
/// As [`evaluate`].
pub fn class_code_map(
    (database, queries): (&CodeSet, &CodeSet),
    predicted: (&[u32], &[u32]),
    classes: usize,
) -> Result<f64> {
    let one_hot = |labels: Option<&Labels>, predicted: &[u32]| -> Result<CodeSet> {
        let width = classes.div_ceil(8);
        let mut bytes = vec![0u8; predicted.len() * width];
        for (code, class) in bytes.chunks_exact_mut(width).zip(predicted) {
            code[*class as usize / 8] |= 1 << (class % 8);
        }
        let mut set = CodeSet::new(Codes::new(classes as u32, bytes)?);
        set.labels = labels.cloned();
        Ok(set)
    };
    let database = one_hot(database.labels.as_ref(), predicted.0)?;
    let queries = one_hot(queries.labels.as_ref(), predicted.1)?;
    Ok(evaluate(&database, &queries, &EvaluationConfig::default())?.map)
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

/// One query's ranking, in buffers that are used again.
#[derive(Default)]
struct Scratch {
    distances: Vec<u32>,
    relevant: Vec<bool>,
    /// Per distance: items and relevant items.
    histogram: Vec<[u32; 2]>,
    /// Relevance along the ranking, ties in database order.
    ranked: Vec<bool>,
    starts: Vec<usize>,
}

/// One query's metrics.
struct Score {
    map: [f64; 3],
    map_at: Vec<Option<f64>>,
    precision_at: Vec<f64>,
    by_radius: Vec<[f64; 2]>,
}

impl Scratch {
    fn rank(&mut self, database: &Codes, query: &[u8], relevance: &Relevance<'_>, row: usize) {
        let n = database.len();
        self.distances.resize(n, 0);
        hamming::distances_into(query, database.as_bytes(), &mut self.distances);
        relevance.fill(row, &mut self.relevant);

        self.histogram.clear();
        self.histogram.resize(database.bits() as usize + 1, [0; 2]);
        for (distance, relevant) in self.distances.iter().zip(&self.relevant) {
            let bin = &mut self.histogram[*distance as usize];
            bin[0] += 1;
            bin[1] += u32::from(*relevant);
        }
        // Counting sort: stable, so ties stay in database order.
        self.starts.clear();
        let mut start = 0;
        for [items, _] in &self.histogram {
            self.starts.push(start);
            start += *items as usize;
        }
        self.ranked.resize(n, false);
        for (distance, relevant) in self.distances.iter().zip(&self.relevant) {
            let at = &mut self.starts[*distance as usize];
            self.ranked[*at] = *relevant;
            *at += 1;
        }
    }

    fn score(&self, config: &EvaluationConfig) -> Score {
        let ties = [Ties::Averaged, Ties::Pessimistic, Ties::Optimistic];
        let n = self.ranked.len();
        let head = |k: usize| &self.ranked[..k.min(n)];
        let precision = |ranked: &[bool]| {
            ranked.iter().filter(|relevant| **relevant).count() as f64 / ranked.len() as f64
        };
        let wanted = config.precision_at.iter().filter(|at| (1..=n).contains(*at));
        Score {
            map: ties.map(|ties| average_precision(&self.histogram, ties)),
            map_at: config.map_at.iter().map(|k| stable_average_precision(head(*k))).collect(),
            precision_at: wanted.map(|at| precision(head(*at))).collect(),
            by_radius: self.by_radius(),
        }
    }

    fn by_radius(&self) -> Vec<[f64; 2]> {
        let total: u32 = self.histogram.iter().map(|bin| bin[1]).sum();
        let share = |part: u32, whole: u32| match whole {
            0 => 0.0,
            _ => f64::from(part) / f64::from(whole),
        };
        let mut inside = [0u32; 2];
        let at = |bin: &[u32; 2]| {
            inside = [inside[0] + bin[0], inside[1] + bin[1]];
            [share(inside[1], inside[0]), share(inside[1], total)]
        };
        self.histogram.iter().map(at).collect()
    }
}

fn summarize(database: &CodeSet, scores: &[Score], config: &EvaluationConfig) -> Metrics {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
        sum / count.max(1) as f64
    };
    let map = [0, 1, 2].map(|i| mean(&mut scores.iter().map(|score| score.map[i])));
    let map_at = config.map_at.iter().enumerate().map(|(i, k)| {
        let each = scores.iter().map(|score| score.map_at[i]);
        let value = match config.empty {
            Empty::Zero => mean(&mut each.map(|ap| ap.unwrap_or(0.0))),
            Empty::Omit => mean(&mut each.flatten()),
        };
        ((*k).min(database.codes.len()), value)
    });
    let wanted = config.precision_at.iter().filter(|at| (1..=database.codes.len()).contains(*at));
    let precision_at = wanted
        .enumerate()
        .map(|(i, at)| (*at, mean(&mut scores.iter().map(|score| score.precision_at[i]))));
    let radii = 0..=database.codes.bits() as usize;
    let curve: Vec<[f64; 2]> = radii
        .map(|r| [0, 1].map(|i| mean(&mut scores.iter().map(|score| score.by_radius[r][i]))))
        .collect();
    let [precision_radius_2, recall_radius_2] = curve[curve.len().min(3) - 1];
    Metrics {
        bits: database.codes.bits(),
        queries: scores.len(),
        database: database.codes.len(),
        map: map[0],
        map_bounds: Bounds { pessimistic: map[1], optimistic: map[2] },
        map_at: map_at.collect(),
        precision_at: precision_at.collect(),
        precision_radius_2,
        recall_radius_2,
        curves: Curves { precision_recall_by_radius: curve },
        distinct_codes: database.codes.distinct(),
    }
}
