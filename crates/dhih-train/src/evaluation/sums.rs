//! Sums over queries, of which the metrics are made.

use dhih_index::CodeSet;

use super::average_precision::{Ties, average_precision, stable_average_precisions};
use super::ranking::Ranking;
use super::{Bounds, Empty, EvaluationConfig, Metrics, curves};

/// Sums over queries.
pub(super) struct Sums {
    map: [f64; 3],
    /// Of each k: the sum, and how many queries have a relevant item in their top k.
    map_at: Vec<(f64, usize)>,
    precision_at: Vec<f64>,
    curves: curves::Sums,
}

impl Sums {
    pub(super) fn new(config: &EvaluationConfig) -> Self {
        Self {
            map: [0.0; 3],
            map_at: vec![(0.0, 0); config.map_at.len()],
            precision_at: vec![0.0; config.precision_at.len()],
            curves: curves::Sums::default(),
        }
    }

    /// Adds the ranking that `count` queries have.
    pub(super) fn add(
        &mut self,
        ranking: &Ranking,
        config: &EvaluationConfig,
        ranks: &[usize],
        count: usize,
    ) {
        let times = count as f64;
        let ties = [Ties::Averaged, Ties::Pessimistic, Ties::Optimistic];
        for (sum, ties) in self.map.iter_mut().zip(ties) {
            *sum += times * average_precision(ranking.histogram.iter().copied(), ties);
        }
        let head = |k: usize| &ranking.head[..k.min(ranking.head.len())];
        let scores = stable_average_precisions(&ranking.head, config.map_at.iter().copied());
        for ((sum, found), score) in self.map_at.iter_mut().zip(scores) {
            if let Some(score) = score {
                (*sum, *found) = (*sum + times * score, *found + count);
            }
        }
        for (i, at) in config.wanted(ranking.head.len()) {
            let found = head(at).iter().filter(|relevant| **relevant).count();
            self.precision_at[i] += times * found as f64 / at as f64;
        }
        self.curves.add(&ranking.histogram, ranks, times);
    }

    /// All values in a row, for a file.
    pub(super) fn values(&self) -> Vec<f64> {
        let pairs = self.map_at.iter().flat_map(|(sum, found)| [*sum, *found as f64]);
        let head = self.map.iter().copied().chain(pairs).chain(self.precision_at.iter().copied());
        head.chain(self.curves.values()).collect()
    }

    /// What has these [`values`](Self::values), for codes of `bits` bits; `None` where they are too few or too many.
    pub(super) fn of_values(
        values: &[f64],
        config: &EvaluationConfig,
        (bits, ranks): (u32, usize),
    ) -> Option<Self> {
        let mut sums = Self::new(config);
        let (map, rest) = values.split_at_checked(sums.map.len())?;
        sums.map.copy_from_slice(map);
        let (map_at, rest) = rest.split_at_checked(2 * sums.map_at.len())?;
        for (pair, [sum, found]) in sums.map_at.iter_mut().zip(map_at.as_chunks::<2>().0) {
            *pair = (*sum, *found as usize);
        }
        let (precision_at, rest) = rest.split_at_checked(sums.precision_at.len())?;
        sums.precision_at.copy_from_slice(precision_at);
        sums.curves = curves::Sums::of_values(rest, (bits as usize + 1, ranks))?;
        Some(sums)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [f64], others: &[f64]| {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        };
        add(&mut self.map, &other.map);
        add(&mut self.precision_at, &other.precision_at);
        for ((sum, found), (other, others)) in self.map_at.iter_mut().zip(&other.map_at) {
            (*sum, *found) = (*sum + other, *found + others);
        }
        self.curves.merge(&other.curves);
    }

    pub(super) fn metrics(
        &self,
        database: &CodeSet,
        (queries, distinct_codes): (usize, usize),
        config: &EvaluationConfig,
        ranks: &[usize],
    ) -> Metrics {
        let (n, mean) = (database.codes.len(), |sum: f64| sum / queries as f64);
        let map = self.map.map(mean);
        let map_at = config.map_at.iter().zip(&self.map_at).map(|(k, (sum, found))| {
            let value = match config.empty {
                Empty::Zero => mean(*sum),
                Empty::Omit => sum / (*found).max(1) as f64,
            };
            ((*k).min(n), value)
        });
        let curves = self.curves.means(ranks);
        let by_radius = &curves.precision_recall_by_radius;
        let [precision_radius_2, recall_radius_2] = by_radius[by_radius.len().min(3) - 1];
        Metrics {
            bits: database.codes.bits(),
            queries,
            database: n,
            map: map[0],
            map_bounds: Bounds { pessimistic: map[1], optimistic: map[2] },
            map_at: map_at.collect(),
            precision_at: config
                .wanted(n)
                .map(|(i, at)| (at, mean(self.precision_at[i])))
                .collect(),
            precision_radius_2,
            recall_radius_2,
            curves,
            distinct_codes,
        }
    }
}
