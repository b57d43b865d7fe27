//! The first k places of a ranking with ties: AP@k and precision@k averaged over all orders of tied items, in closed form.
//! `average_precision.rs` has the whole ranking, and [`stable_average_precisions`](super::average_precision::stable_average_precisions) a given
//! order.

use super::average_precision::{Line, sum_of_ratios};

/// Values of the first k places, averaged over all orders of items at equal distance.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Beginning {
    /// Average precision, divided by the number of relevant items among the first k; 0 in the orders that have none there.
    pub(super) by_found: f64,
    /// The share of the orders that have a relevant item among the first k.
    pub(super) has_relevant: f64,
    /// Average precision, divided by min(k, R) with R relevant items in the database; 0 where R is 0.
    pub(super) by_min_k_r: f64,
}

/// The part of a ranking before a tie: all groups of ties that are completely inside of a beginning, where their order does not matter.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    items: f64,
    relevant: f64,
    /// The sum of the precisions at the places of relevant items, averaged over orders.
    precisions: f64,
}

/// Items at one distance.
#[derive(Debug, Clone, Copy)]
struct Tie {
    items: u32,
    relevant: u32,
}

/// The [`Beginning`] of each length in `ends`.
///
/// # Shapes
/// `groups`: for each distance in ascending order, the numbers of items and of relevant items. `ends`: lengths in ascending order; a length
/// beyond the ranking means all of it.
pub(super) fn beginnings(
    groups: &[[u32; 2]],
    ends: impl Iterator<Item = usize>,
) -> impl Iterator<Item = Beginning> {
    let total: u32 = groups.iter().map(|[_, relevant]| relevant).sum();
    let mut before = Before::default();
    let mut left =
        groups.iter().map(|[items, relevant]| Tie { items: *items, relevant: *relevant });
    let mut next = left.next();
    ends.map(move |end| {
        let end = end as f64;
        while let Some(tie) = next.filter(|tie| before.items + f64::from(tie.items) <= end) {
            before.precisions += before.expected(tie, tie.items);
            before.items += f64::from(tie.items);
            before.relevant += f64::from(tie.relevant);
            next = left.next();
        }
        let reachable = end.min(f64::from(total));
        match next {
            Some(tie) if end > before.items => {
                before.with_part_of(tie, (end - before.items) as u32, reachable)
            }
            _ if before.relevant > 0.0 => Beginning {
                by_found: before.precisions / before.relevant,
                has_relevant: 1.0,
                by_min_k_r: before.precisions / reachable,
            },
            _ => Beginning::default(),
        }
    })
}

/// The number of relevant items among the first `end` places, averaged over all orders of tied items.
///
/// # Shapes
/// `groups`: as for [`beginnings`].
pub(super) fn expected_relevant(groups: &[[u32; 2]], end: usize) -> f64 {
    let (mut left, mut found) = (end as f64, 0.0);
    for [items, relevant] in groups.iter().map(|group| group.map(f64::from)) {
        if left <= items {
            return if items == 0.0 { found } else { found + relevant * left / items };
        }
        (left, found) = (left - items, found + relevant);
    }
    found
}

impl Before {
    /// The sum of the precisions at relevant items in the first `places` places of the next tie, averaged over its orders. The derivation is
    /// that of [`average_precision`](super::average_precision::average_precision): a place of the tie has a relevant item with probability p/n.
    fn expected(&self, tie: Tie, places: u32) -> f64 {
        if tie.relevant == 0 {
            return 0.0;
        }
        let (n, p) = (f64::from(tie.items), f64::from(tie.relevant));
        let slope = if tie.items > 1 { (p - 1.0) / (n - 1.0) } else { 0.0 };
        let line = Line { at_0: self.relevant + 1.0 - slope, slope };
        sum_of_ratios(line, self.items, places) * p / n
    }

    /// A beginning that ends inside a tie, after `places` of its places.
    ///
    /// The number r of relevant items among these m places has a hypergeometric distribution: m of the tie's n items are drawn, and p of the n
    /// are relevant. Given r, the places are those of a tie of m items of which r are relevant. Their precisions sum to
    /// `r/m ((P + 1) A + (r - 1)/(m - 1) B)` on average, with `A = sum_t 1/(N + t)` and `B = sum_t (t - 1)/(N + t)`, t = 1..m, behind N items of
    /// which P are relevant. Where the divisor is `P + r`, the quotient is averaged over r.
    fn with_part_of(&self, tie: Tie, places: u32, reachable: f64) -> Beginning {
        let m = f64::from(places);
        let [a, b] = [Line { at_0: 1.0, slope: 0.0 }, Line { at_0: -1.0, slope: 1.0 }]
            .map(|line| sum_of_ratios(line, self.items, places));
        let others = if places > 1 { (m - 1.0).recip() } else { 0.0 };
        let (mut weights, mut by_found, mut none) = (0.0, 0.0, 0.0);
        each_count(tie, places, |r, weight| {
            weights += weight;
            let found = self.relevant + r;
            if found == 0.0 {
                none += weight;
                return;
            }
            let inside = r / m * ((self.relevant + 1.0) * a + (r - 1.0) * others * b);
            by_found += weight * (self.precisions + inside) / found;
        });
        let expected = self.precisions + self.expected(tie, places);
        Beginning {
            by_found: by_found / weights,
            has_relevant: 1.0 - none / weights,
            by_min_k_r: if reachable > 0.0 { expected / reachable } else { 0.0 },
        }
    }
}

/// Calls `f` with each possible number of relevant items in `places` places of a tie, and a weight proportional to its hypergeometric
/// probability. It goes from the most probable number outwards and stops at negligible weights.
fn each_count(tie: Tie, places: u32, mut f: impl FnMut(f64, f64)) {
    /// Smaller weights do not change any digit. The weight of the most probable number is 1.
    const NEGLIGIBLE: f64 = 1e-18;
    let [n, p, m] = [tie.items, tie.relevant, places].map(f64::from);
    let (least, most) = ((m - (n - p)).max(0.0), p.min(m));
    let mode = ((m + 1.0) * (p + 1.0) / (n + 2.0)).floor().clamp(least, most);
    f(mode, 1.0);
    let (mut r, mut weight) = (mode, 1.0);
    while r < most && weight > NEGLIGIBLE {
        weight *= (p - r) * (m - r) / ((r + 1.0) * (n - p - m + r + 1.0));
        r += 1.0;
        f(r, weight);
    }
    (r, weight) = (mode, 1.0);
    while r > least && weight > NEGLIGIBLE {
        weight *= r * (n - p - m + r) / ((p - r + 1.0) * (m - r + 1.0));
        r -= 1.0;
        f(r, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::super::average_precision::{histogram_of, orders, stable_average_precisions};
    use super::*;

    #[test]
    fn beginnings_are_the_means_over_all_orders() {
        for groups in [
            vec![(1, 1)],
            vec![(3, 0), (2, 1)],
            vec![(4, 2), (1, 0), (5, 3)],
            vec![(6, 6), (3, 1)],
            vec![(1, 0), (1, 1), (7, 2)],
            vec![(2, 0), (9, 1), (3, 3)],
            vec![(12, 5)],
            vec![(4, 0), (3, 0)],
        ] {
            let histogram = histogram_of(&groups);
            let lists = orders(&groups);
            let (all, count) = (lists[0].len(), lists.len() as f64);
            let total = groups.iter().map(|(_, p)| p).sum::<usize>();
            let got: Vec<Beginning> = beginnings(&histogram, 1..=all + 2).collect();
            for k in 1..=all + 2 {
                let mut expected = Beginning::default();
                let mut relevant = 0.0;
                for list in &lists {
                    let found = list.iter().take(k).filter(|is_relevant| **is_relevant).count();
                    let score = stable_average_precisions(list, [k].into_iter()).next().unwrap();
                    let score = score.unwrap_or(0.0);
                    expected.by_found += score / count;
                    expected.has_relevant += f64::from(u8::from(found > 0)) / count;
                    expected.by_min_k_r +=
                        score * found as f64 / k.min(total).max(1) as f64 / count;
                    relevant += found as f64 / count;
                }
                let got = got[k - 1];
                for (got, expected) in [
                    (got.by_found, expected.by_found),
                    (got.has_relevant, expected.has_relevant),
                    (got.by_min_k_r, expected.by_min_k_r),
                    (expected_relevant(&histogram, k), relevant),
                ] {
                    assert!((got - expected).abs() < 1e-12, "{groups:?} {k}: {got}, {expected}");
                }
            }
        }
    }

    #[test]
    fn large_ties_are_summed_as_far_as_they_count() {
        // Every item has the same code: AP@k is a mean over draws of k items, and tends to the share of relevant items.
        let groups = [[1_000_000, 100_000]];
        let [first, large] =
            [1, 5000].map(|k| beginnings(&groups, [k].into_iter()).next().unwrap());
        assert!((first.by_found - 0.1).abs() < 1e-12 && (first.has_relevant - 0.1).abs() < 1e-12);
        assert!((large.by_found - 0.1).abs() < 2e-3, "{large:?}");
        assert!(large.has_relevant > 1.0 - 1e-12 && large.by_min_k_r < 0.011);
        let mut sum = 0.0;
        each_count(Tie { items: 1_000_000, relevant: 100_000 }, 5000, |r, weight| {
            assert!((0.0..=5000.0).contains(&r) && weight <= 1.0);
            sum += weight;
        });
        // The mode of a distribution of variance 450 has the probability 1 / sqrt(2 pi 450).
        let variance = 5000.0f64 * 0.1 * 0.9 * (995_000.0 / 999_999.0);
        assert!((sum / (std::f64::consts::TAU * variance).sqrt() - 1.0).abs() < 1e-3, "{sum}");
    }
}
