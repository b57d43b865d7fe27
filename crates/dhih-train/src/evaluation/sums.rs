//! Sums over queries, from which the metrics are computed.

use dhih_index::CodeSet;

use super::average_precision::{Ties, average_precision, stable_average_precisions};
use super::beginning::{beginnings, expected_relevant};
use super::ranking::Ranking;
use super::{Bounds, Empty, EvaluationConfig, Metrics, curves};

/// Sums over queries.
pub(super) struct Sums {
    map: [f64; 3],
    /// For each k: the sum, and the number of queries with a relevant item in their top k.
    map_at: Vec<(f64, usize)>,
    /// The same, averaged over the orders of ties; the second value is a sum of shares of orders.
    map_at_tie_aware: Vec<[f64; 2]>,
    map_at_min_k_r: Vec<f64>,
    precision_at: Vec<f64>,
    precision_at_tie_aware: Vec<f64>,
    curves: curves::Sums,
}

impl Sums {
    pub(super) fn new(config: &EvaluationConfig) -> Self {
        Self {
            map: [0.0; 3],
            map_at: vec![(0.0, 0); config.map_at.len()],
            map_at_tie_aware: vec![[0.0; 2]; config.map_at.len()],
            map_at_min_k_r: vec![0.0; config.map_at.len()],
            precision_at: vec![0.0; config.precision_at.len()],
            precision_at_tie_aware: vec![0.0; config.precision_at.len()],
            curves: curves::Sums::default(),
        }
    }

    /// Adds a ranking that `count` queries have.
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
        for (i, of_k) in beginnings(&ranking.histogram, config.map_at.iter().copied()).enumerate() {
            let [sum, found] = self.map_at_tie_aware[i];
            self.map_at_tie_aware[i] =
                [sum + times * of_k.by_found, found + times * of_k.has_relevant];
            self.map_at_min_k_r[i] += times * of_k.by_min_k_r;
        }
        for (i, at) in config.wanted(ranking.head.len()) {
            let found = head(at).iter().filter(|relevant| **relevant).count();
            self.precision_at[i] += times * found as f64 / at as f64;
            let expected = expected_relevant(&ranking.histogram, at);
            self.precision_at_tie_aware[i] += times * expected / at as f64;
        }
        self.curves.add(&ranking.histogram, ranks, times);
    }

    /// All values as a sequence, for a file.
    pub(super) fn values(&self) -> Vec<f64> {
        let pairs = self.map_at.iter().flat_map(|(sum, found)| [*sum, *found as f64]);
        self.map
            .iter()
            .copied()
            .chain(pairs)
            .chain(self.map_at_tie_aware.iter().flatten().copied())
            .chain(self.map_at_min_k_r.iter().copied())
            .chain(self.precision_at.iter().copied())
            .chain(self.precision_at_tie_aware.iter().copied())
            .chain(self.curves.values())
            .collect()
    }

    /// Restores what [`values`](Self::values) returned, for codes of `bits` bits; `None` where there are too few or too many.
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
        let (tie_aware, rest) = rest.split_at_checked(2 * sums.map_at_tie_aware.len())?;
        sums.map_at_tie_aware.copy_from_slice(tie_aware.as_chunks::<2>().0);
        let mut rest = rest;
        for own in
            [&mut sums.map_at_min_k_r, &mut sums.precision_at, &mut sums.precision_at_tie_aware]
        {
            let (values, others) = rest.split_at_checked(own.len())?;
            own.copy_from_slice(values);
            rest = others;
        }
        sums.curves = curves::Sums::of_values(rest, (bits as usize + 1, ranks))?;
        Some(sums)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [f64], others: &[f64]| {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        };
        add(&mut self.map, &other.map);
        add(&mut self.map_at_min_k_r, &other.map_at_min_k_r);
        add(&mut self.precision_at, &other.precision_at);
        add(&mut self.precision_at_tie_aware, &other.precision_at_tie_aware);
        for (sums, others) in self.map_at_tie_aware.iter_mut().zip(&other.map_at_tie_aware) {
            *sums = [sums[0] + others[0], sums[1] + others[1]];
        }
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
        // Where queries are left out, both sums are means over orders, and the result is their ratio.
        let tie_aware =
            config.map_at.iter().zip(&self.map_at_tie_aware).map(|(k, [sum, found])| {
                let value = match config.empty {
                    Empty::Omit if *found > 0.0 => sum / found,
                    Empty::Zero | Empty::Omit => mean(*sum),
                };
                ((*k).min(n), value)
            });
        let min_k_r = config.map_at.iter().zip(&self.map_at_min_k_r);
        let precisions =
            |sums: &[f64]| config.wanted(n).map(|(i, at)| (at, mean(sums[i]))).collect();
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
            map_at_tie_aware: tie_aware.collect(),
            map_at_min_k_r: min_k_r.map(|(k, sum)| ((*k).min(n), mean(*sum))).collect(),
            precision_at: precisions(&self.precision_at),
            precision_at_tie_aware: precisions(&self.precision_at_tie_aware),
            precision_radius_2,
            recall_radius_2,
            curves,
            distinct_codes,
        }
    }
}
