//! Average precision of one ranking: from histograms of distances where ties matter, from a list where they are ordered.

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

/// Average precision over the whole ranking; 0 without relevant items.
///
/// With n items at a distance, p of them relevant, behind N items of which P are relevant, the precision at the t-th of
/// the n places, given that it holds a relevant item, is on average `(P + 1 + (t - 1)(p - 1)/(n - 1)) / (N + t)`, and it
/// holds one with probability p/n (McSherry and Najork, ECIR 2008).
///
/// # Shapes
/// `histogram`: per distance, items and relevant items.
pub(super) fn average_precision(histogram: &[[u32; 2]], ties: Ties) -> f64 {
    let (mut before, mut relevant_before, mut sum) = (0.0, 0.0, 0.0);
    for [items, relevant] in histogram {
        let (n, p) = (f64::from(*items), f64::from(*relevant));
        if *relevant > 0 {
            sum += match ties {
                Ties::Averaged => {
                    let others = if *items > 1 { (p - 1.0) / (n - 1.0) } else { 0.0 };
                    let place = |t: u32| {
                        let t = f64::from(t);
                        (relevant_before + 1.0 + (t - 1.0) * others) / (before + t)
                    };
                    (1..=*items).map(place).sum::<f64>() * p / n
                }
                Ties::Optimistic | Ties::Pessimistic => {
                    let skipped = if ties == Ties::Optimistic { 0.0 } else { n - p };
                    let place = |t: u32| {
                        let t = f64::from(t);
                        (relevant_before + t) / (before + skipped + t)
                    };
                    (1..=*relevant).map(place).sum::<f64>()
                }
            };
        }
        before += n;
        relevant_before += p;
    }
    if relevant_before == 0.0 { 0.0 } else { sum / relevant_before }
}

/// Average precision of an ordered list, divided by the relevant items inside it; `None` without any.
pub(super) fn stable_average_precision(ranked: &[bool]) -> Option<f64> {
    let (mut found, mut sum) = (0u32, 0.0);
    for (i, _) in ranked.iter().enumerate().filter(|(_, relevant)| **relevant) {
        found += 1;
        sum += f64::from(found) / (i + 1) as f64;
    }
    (found > 0).then(|| sum / f64::from(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of the items of each distance, one after the other.
    fn orders(groups: &[(usize, usize)]) -> Vec<Vec<bool>> {
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

    #[test]
    fn agrees_with_the_enumeration_of_all_orders() {
        for groups in [
            vec![(1, 1)],
            vec![(3, 0), (2, 1)],
            vec![(4, 2), (1, 0), (5, 3)],
            vec![(6, 6), (3, 1)],
            vec![(1, 0), (1, 1), (7, 2)],
        ] {
            let histogram: Vec<[u32; 2]> =
                groups.iter().map(|&(n, p)| [n as u32, p as u32]).collect();
            let lists = orders(&groups);
            let each: Vec<f64> =
                lists.iter().map(|list| stable_average_precision(list).unwrap()).collect();
            let mean = each.iter().sum::<f64>() / each.len() as f64;
            let best = each.iter().copied().fold(0.0, f64::max);
            let worst = each.iter().copied().fold(1.0, f64::min);
            let close = |ties, expected: f64| {
                let got = average_precision(&histogram, ties);
                assert!((got - expected).abs() < 1e-12, "{groups:?} {ties:?}: {got} {expected}");
            };
            close(Ties::Averaged, mean);
            close(Ties::Optimistic, best);
            close(Ties::Pessimistic, worst);
        }
    }

    #[test]
    fn nothing_relevant_scores_0() {
        assert_eq!(average_precision(&[[3, 0], [2, 0]], Ties::Averaged), 0.0);
        assert_eq!(stable_average_precision(&[false, false]), None);
    }
}
