//! Average precision of a whole ranking: from histograms of distances where ties matter, from a list where items are ordered. `beginning.rs` has
//! that of the beginning of a ranking with ties.

/// The order of items at equal distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ties {
    /// The mean over all orders, in closed form.
    Averaged,
    /// Relevant items first.
    Optimistic,
    /// Relevant items last.
    Pessimistic,
}

/// The average precision over the whole ranking; 0 without relevant items.
///
/// Let n items be at a distance, p of them relevant, behind N items of which P are relevant. If the t-th of the n places has a relevant item,
/// the precision there is on average `(P + 1 + (t - 1)(p - 1)/(n - 1)) / (N + t)`, and it has one with probability p/n (McSherry and Najork,
/// ECIR 2008).
///
/// # Shapes
/// `groups`: for each distance in ascending order, the numbers of items and of relevant items.
pub(super) fn average_precision(groups: impl Iterator<Item = [u32; 2]>, ties: Ties) -> f64 {
    let (mut before, mut relevant_before, mut sum) = (0.0, 0.0, 0.0);
    for [items, relevant] in groups {
        let (n, p) = (f64::from(items), f64::from(relevant));
        if relevant > 0 {
            sum += match ties {
                Ties::Averaged => {
                    let others = if items > 1 { (p - 1.0) / (n - 1.0) } else { 0.0 };
                    let line = Line { at_0: relevant_before + 1.0 - others, slope: others };
                    sum_of_ratios(line, before, items) * p / n
                }
                Ties::Optimistic => {
                    sum_of_ratios(Line { at_0: relevant_before, slope: 1.0 }, before, relevant)
                }
                Ties::Pessimistic => {
                    let line = Line { at_0: relevant_before, slope: 1.0 };
                    sum_of_ratios(line, before + n - p, relevant)
                }
            };
        }
        before += n;
        relevant_before += p;
    }
    if relevant_before == 0.0 { 0.0 } else { sum / relevant_before }
}

/// The values `at_0 + slope t` at t = 1, 2 and so on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) at_0: f64,
    pub(super) slope: f64,
}

/// `sum_{t = 1..count} (a + b t) / (before + t)` for the line `a + b t`, which is
/// `b count + (a - b before) (H(before + count) - H(before))` with the harmonic numbers H.
pub(super) fn sum_of_ratios(line: Line, before: f64, count: u32) -> f64 {
    let Line { at_0: a, slope: b } = line;
    if count <= 16 {
        let ratio = |t: u32| (a + b * f64::from(t)) / (before + f64::from(t));
        return (1..=count).map(ratio).sum();
    }
    let count = f64::from(count);
    b * count + (a - b * before) * harmonic_difference(before, before + count)
}

/// `H(last) - H(first)` for integers that are at least 16 apart, to 15 digits.
fn harmonic_difference(first: f64, last: f64) -> f64 {
    // The error of the expansion falls with the 8th power of its argument, so that the terms below 16 are added one by one.
    let start = first.max(16.0);
    let mut sum = 0.0;
    let mut at = first + 1.0;
    while at <= start {
        sum += at.recip();
        at += 1.0;
    }
    sum + ((last - start) / start).ln_1p() + tail(last) - tail(start)
}

/// The difference between the n-th harmonic number and `ln n` plus Euler's constant, by the Euler-Maclaurin formula.
fn tail(n: f64) -> f64 {
    let square = (n * n).recip();
    0.5 / n
        - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square * (1.0 / 252.0 - square / 240.0)))
}

/// The average precision of each beginning of an ordered list, divided by the number of relevant items in it; `None` without any.
///
/// # Shapes
/// `ends`: the lengths of the beginnings in ascending order. A length beyond the list means all of it.
pub(super) fn stable_average_precisions(
    ranked: &[bool],
    ends: impl Iterator<Item = usize>,
) -> impl Iterator<Item = Option<f64>> {
    let (mut at, mut found, mut sum) = (0, 0u32, 0.0);
    ends.map(move |end| {
        let end = end.min(ranked.len());
        for (i, _) in (at..end).zip(&ranked[at..end]).filter(|(_, relevant)| **relevant) {
            found += 1;
            sum += f64::from(found) / (i + 1) as f64;
        }
        at = end;
        (found > 0).then(|| sum / f64::from(found))
    })
}

/// Every order of the items at each distance: the oracle for averages over ties. Orders that put relevant items into the same places are counted
/// once, because each such set of places belongs to the same number of orders.
#[cfg(test)]
pub(super) fn orders(groups: &[(usize, usize)]) -> Vec<Vec<bool>> {
    let mut lists = vec![Vec::new()];
    for &(n, p) in groups {
        let subsets = (0u32..1 << n).filter(|set| set.count_ones() as usize == p);
        let group: Vec<Vec<bool>> =
            subsets.map(|set| (0..n).map(|i| set >> i & 1 == 1).collect()).collect();
        let extend = |list: &Vec<bool>| {
            group.iter().map(|g| [list.clone(), g.clone()].concat()).collect::<Vec<_>>()
        };
        lists = lists.iter().flat_map(extend).collect();
    }
    lists
}

/// The numbers of items and of relevant items at each distance, as for [`average_precision`].
#[cfg(test)]
pub(super) fn histogram_of(groups: &[(usize, usize)]) -> Vec<[u32; 2]> {
    groups.iter().map(|&(n, p)| [n as u32, p as u32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable_average_precision(ranked: &[bool]) -> Option<f64> {
        stable_average_precisions(ranked, [ranked.len()].into_iter()).next().unwrap()
    }

    #[test]
    fn agrees_with_the_enumeration_of_all_orders() {
        for groups in [
            vec![(1, 1)],
            vec![(3, 0), (2, 1)],
            vec![(4, 2), (1, 0), (5, 3)],
            vec![(6, 6), (3, 1)],
            vec![(1, 0), (1, 1), (7, 2)],
        ] {
            let histogram = histogram_of(&groups);
            let lists = orders(&groups);
            let each: Vec<f64> =
                lists.iter().map(|list| stable_average_precision(list).unwrap()).collect();
            let mean = each.iter().sum::<f64>() / each.len() as f64;
            let best = each.iter().copied().fold(0.0, f64::max);
            let worst = each.iter().copied().fold(1.0, f64::min);
            let close = |ties, expected: f64| {
                let got = average_precision(histogram.iter().copied(), ties);
                assert!((got - expected).abs() < 1e-12, "{groups:?} {ties:?}: {got} {expected}");
            };
            close(Ties::Averaged, mean);
            close(Ties::Optimistic, best);
            close(Ties::Pessimistic, worst);
        }
    }

    #[test]
    fn closed_forms_are_their_sums() {
        for before in [0u32, 1, 7, 15, 16, 17, 1000, 9_999_000] {
            for count in [17, 18, 100, 1000, 50_000] {
                let sum: f64 = (1..=count).map(|t| 1.0 / f64::from(before + t)).sum();
                let got = harmonic_difference(before.into(), (before + count).into());
                assert!((got / sum - 1.0).abs() < 1e-12, "{before} {count}: {got}, {sum}");
                let (a, b) = (f64::from(before) * 0.3, 0.7);
                let ratio = |t: u32| (a + b * f64::from(t)) / f64::from(before + t);
                let sum: f64 = (1..=count).map(ratio).sum();
                let got = sum_of_ratios(Line { at_0: a, slope: b }, before.into(), count);
                assert!((got / sum - 1.0).abs() < 1e-8, "{before} {count}: {got}, {sum}");
            }
        }
    }

    #[test]
    fn nothing_relevant_scores_0() {
        assert_eq!(average_precision([[3, 0], [2, 0]].into_iter(), Ties::Averaged), 0.0);
        assert_eq!(stable_average_precision(&[false, false]), None);
    }

    #[test]
    fn beginnings_of_a_list_by_hand() {
        let list = [false, true, true, false, true];
        let scores = stable_average_precisions(&list, [1, 2, 2, 4, 9].into_iter());
        let third = (1.0 / 2.0 + 2.0 / 3.0) / 2.0;
        let last = (1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0;
        assert!(scores.eq([None, Some(0.5), Some(0.5), Some(third), Some(last)]));
    }
}
