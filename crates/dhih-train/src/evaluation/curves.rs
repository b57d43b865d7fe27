//! Values along the ranking, averaged over queries.

use serde::{Deserialize, Serialize};

/// Values along the ranking.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// `[precision, recall]` within each Hamming radius 0..=bits. The precision of an empty ball is 0.
    pub precision_recall_by_radius: Vec<[f64; 2]>,
    /// `[rank, precision, recall]` of the first `rank` items, with ties averaged, at the ranks 1, 2, 5, 10 and so on up to all items.
    #[serde(default)]
    pub precision_recall_by_rank: Vec<[f64; 3]>,
    /// For each distance 0..=bits: the share of all relevant pairs of query and item at this distance, and the share of all other pairs.
    #[serde(default)]
    pub distances: Vec<[f64; 2]>,
}

/// Sums over queries.
#[derive(Default)]
pub(super) struct Sums {
    queries: f64,
    by_radius: Vec<[f64; 2]>,
    by_rank: Vec<[f64; 2]>,
    pairs: Vec<[f64; 2]>,
}

/// The ranks 1, 2, 5, 10, 20, 50 and so on below `n`, and `n`.
pub(super) fn ranks(n: usize) -> Vec<usize> {
    let decades = std::iter::successors(Some(1usize), |decade| decade.checked_mul(10));
    let steps = decades.flat_map(|decade| [1, 2, 5].map(|step| step * decade));
    steps.take_while(|rank| *rank < n).chain([n]).collect()
}

impl Sums {
    /// Adds a ranking that `times` queries have.
    ///
    /// # Shapes
    /// `histogram`: for each distance, the numbers of items and of relevant items.
    pub(super) fn add(&mut self, histogram: &[[u32; 2]], ranks: &[usize], times: f64) {
        let total: u32 = histogram.iter().map(|bin| bin[1]).sum();
        let total = f64::from(total);
        let share = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        self.queries += times;
        self.by_radius.resize(histogram.len(), [0.0; 2]);
        self.pairs.resize(histogram.len(), [0.0; 2]);
        self.by_rank.resize(ranks.len(), [0.0; 2]);
        let (mut items, mut relevant) = (0.0, 0.0);
        let mut ranks = ranks.iter().zip(&mut self.by_rank).peekable();
        for (i, bin) in histogram.iter().enumerate() {
            let [n, p] = bin.map(f64::from);
            // Within a tie, relevant items are spread evenly on average.
            while let Some((rank, at)) = ranks.next_if(|(rank, _)| **rank as f64 <= items + n) {
                let rank = *rank as f64;
                let found = relevant + share(p, n) * (rank - items);
                *at = [at[0] + times * found / rank, at[1] + times * share(found, total)];
            }
            (items, relevant) = (items + n, relevant + p);
            let radius = &mut self.by_radius[i];
            let shares = [share(relevant, items), share(relevant, total)];
            *radius = [radius[0] + times * shares[0], radius[1] + times * shares[1]];
            let pairs = &mut self.pairs[i];
            *pairs = [pairs[0] + times * p, pairs[1] + times * (n - p)];
        }
    }

    /// Adds the sums over other queries.
    pub(super) fn merge(&mut self, other: &Self) {
        let add = |sums: &mut Vec<[f64; 2]>, others: &[[f64; 2]]| {
            sums.resize(sums.len().max(others.len()), [0.0; 2]);
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum = [sum[0] + other[0], sum[1] + other[1]];
            }
        };
        self.queries += other.queries;
        add(&mut self.by_radius, &other.by_radius);
        add(&mut self.by_rank, &other.by_rank);
        add(&mut self.pairs, &other.pairs);
    }

    /// All values as a sequence, for a file.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        let pairs = self.by_radius.iter().chain(&self.by_rank).chain(&self.pairs);
        std::iter::once(self.queries).chain(pairs.flatten().copied())
    }

    /// Restores what [`values`](Self::values) returned; `None` where there are too few or too many.
    pub(super) fn of_values(values: &[f64], (radii, ranks): (usize, usize)) -> Option<Self> {
        let (queries, pairs) = values.split_first()?;
        let (pairs, rest) = pairs.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != 2 * radii + ranks {
            return None;
        }
        let (by_radius, pairs) = pairs.split_at(radii);
        let (by_rank, pairs) = pairs.split_at(ranks);
        let [by_radius, by_rank, pairs] = [by_radius, by_rank, pairs].map(<[_]>::to_vec);
        Some(Self { queries: *queries, by_radius, by_rank, pairs })
    }

    /// Means over the queries.
    pub(super) fn means(&self, ranks: &[usize]) -> Curves {
        let mean = |[a, b]: [f64; 2]| [a / self.queries.max(1.0), b / self.queries.max(1.0)];
        let by_rank = ranks.iter().zip(&self.by_rank).map(|(rank, sums)| {
            let [precision, recall] = mean(*sums);
            [*rank as f64, precision, recall]
        });
        let totals = [0, 1].map(|i| self.pairs.iter().map(|pairs| pairs[i]).sum::<f64>().max(1.0));
        Curves {
            precision_recall_by_radius: self.by_radius.iter().copied().map(mean).collect(),
            precision_recall_by_rank: by_rank.collect(),
            distances: self.pairs.iter().map(|[a, b]| [a / totals[0], b / totals[1]]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_go_up_to_all() {
        assert_eq!(ranks(1), [1]);
        assert_eq!(ranks(10), [1, 2, 5, 10]);
        assert_eq!(ranks(70), [1, 2, 5, 10, 20, 50, 70]);
    }

    #[test]
    fn means_of_two_queries_by_hand() {
        // At the distances 0, 1 and 2, the first query finds 1 of 2 relevant items at once. The second has nothing near, and nothing relevant.
        let [first, second] = [[[1, 1], [2, 1], [1, 0]], [[0, 0], [0, 0], [4, 0]]];
        let ranks = ranks(4);
        let (mut sums, mut other) = (Sums::default(), Sums::default());
        sums.add(&first, &ranks, 1.0);
        other.add(&second, &ranks, 1.0);
        sums.merge(&other);
        let curves = sums.means(&ranks);
        let third = 1.0 / 3.0;
        assert_eq!(curves.precision_recall_by_radius, [[0.5, 0.25], [third, 0.5], [0.25, 0.5]]);
        let by_rank = [[1.0, 0.5, 0.25], [2.0, 0.375, 0.375], [4.0, 0.25, 0.5]];
        assert_eq!(curves.precision_recall_by_rank, by_rank);
        assert_eq!(curves.distances, [[0.5, 0.0], [0.5, 1.0 / 6.0], [0.0, 5.0 / 6.0]]);
    }
}
