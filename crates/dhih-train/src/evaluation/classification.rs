//! Figures of the classifier that trains a network, for comparison with those of its codes. No distances and rankings are computed here.

use std::ops::Range;

use dhih_index::{CodeSet, Codes, Labels};
use rayon::prelude::*;

use super::average_precision::{Ties, average_precision};
use super::relevance::{Relevance, Relevant, order};
use super::{EvaluationConfig, QUERIES_AT_ONCE, evaluate};
use crate::error::Result;

/// The number of queries whose class scores are in memory at a time.
const QUERIES: usize = 1024;

/// The share of labelled items whose predicted class is one of their labels; `None` where no item has a label.
///
/// # Shapes
/// `predicted`: a class for each item of `labels`.
pub fn accuracy(labels: &Labels, predicted: &[u32]) -> Option<f64> {
    let (mut right, mut labelled) = (0, 0);
    for (item, class) in predicted.iter().enumerate() {
        let (has_label, is_right) = match labels {
            Labels::Single(labels) => {
                (labels[item] != Labels::NONE, labels[item] == i64::from(*class))
            }
            Labels::MultiHot { classes, values } => {
                let row = &values[item * classes..][..*classes];
                let is_right = row.get(*class as usize).is_some_and(|value| *value != 0);
                (row.iter().any(|value| *value != 0), is_right)
            }
            _ => (false, false),
        };
        labelled += usize::from(has_label);
        right += usize::from(has_label && is_right);
    }
    (labelled > 0).then(|| right as f64 / labelled as f64)
}

/// The mean average precision of predicted classes used as codes: items of the predicted class first and all others behind, with ties averaged.
/// A mere classifier reaches this on classes seen in training, so it should be reported beside every supervised result (Sablayrolles et al.,
/// arXiv 1609.06753).
///
/// # Shapes
/// `predicted`: the classes of the items of database and queries, each below `classes`, which is at most 1,024.
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

/// The mean average precision where items are ranked by the query's score for the class that each item was classified as, the most likely class
/// first. Items of one class, and of classes with equal scores, are ties and averaged. An item takes log2 C bits, and a query a score for each
/// class: this is what a classifier reaches that keeps its second guesses, and so harder to beat than [`class_code_map`].
///
/// # Shapes
/// `predicted`: a class for each item of the database, below `classes`. `scores_of`: the scores of a range of queries, `[queries, classes]`.
///
/// # Errors
/// As [`evaluate`], and those of `scores_of`.
pub fn posterior_map(
    (database, queries): (&CodeSet, &CodeSet),
    predicted: &[u32],
    classes: usize,
    scores_of: impl Fn(Range<usize>) -> Result<Vec<f32>>,
) -> Result<f64> {
    let relevance = Relevance::new(database, queries)?;
    let mut sum = 0.0;
    for first in (0..queries.codes.len()).step_by(QUERIES) {
        let rows = first..queries.codes.len().min(first + QUERIES);
        let scores = scores_of(rows.clone())?;
        // Queries with equal labels follow each other, so that their relevant items are counted once.
        let ordered = order(&relevance, &queries.codes, rows);
        // The parts do not depend on the number of threads, and so the last digits of the sum do not either.
        let sums = ordered.par_chunks(QUERIES_AT_ONCE).map(|rows| {
            let mut relevant = Relevant::new(&relevance, None);
            let mut ranked: Vec<usize> = (0..classes).collect();
            let mut sum = 0.0;
            for labels in rows.chunk_by(|a, b| relevance.labels_of(*a) == relevance.labels_of(*b)) {
                let mut counts = vec![[0u32; 2]; classes];
                for (class, is_relevant) in predicted.iter().zip(&relevant.to(labels[0]).items) {
                    let [items, found] = &mut counts[*class as usize];
                    (*items, *found) = (*items + 1, *found + u32::from(*is_relevant));
                }
                for row in labels {
                    let scores = &scores[(row - first) * classes..][..classes];
                    ranked.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                    let groups = ranked.chunk_by(|a, b| scores[*a] == scores[*b]);
                    let groups = groups.map(|classes| {
                        classes.iter().fold([0, 0], |[items, found], class| {
                            [items + counts[*class][0], found + counts[*class][1]]
                        })
                    });
                    sum += average_precision(groups, Ties::Averaged);
                }
            }
            sum
        });
        sum += sums.collect::<Vec<f64>>().into_iter().sum::<f64>();
    }
    Ok(sum / queries.codes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: Labels) -> CodeSet {
        let mut set = CodeSet::new(Codes::new(8, vec![0; labels.len()]).unwrap());
        set.labels = Some(labels);
        set
    }

    #[test]
    fn items_are_ranked_by_the_querys_scores_of_their_classes() {
        let database = set(Labels::Single(vec![0, 0, 1, 2, 2]));
        let queries = set(Labels::Single(vec![0, 2]));
        // One item of class 0 is classified as class 2.
        let predicted = [0, 2, 1, 2, 2];
        let of = |scores: [f32; 6]| {
            let rows = |rows: Range<usize>| Ok(scores[rows.start * 3..rows.end * 3].to_vec());
            posterior_map((&database, &queries), &predicted, 3, rows).unwrap()
        };
        // The first query finds the item of class 0, that of class 1, and then three items of which one is relevant, at rank 3, 4 or 5.
        let first = (1.0 + 2.0 * (1.0 / 3.0 + 1.0 / 4.0 + 1.0 / 5.0) / 3.0) / 2.0;
        // The second query finds two of three items relevant at each of the first three ranks.
        let orders = [(1.0, 1.0), (1.0, 2.0 / 3.0), (0.5, 2.0 / 3.0)];
        let second = orders.iter().map(|(a, b)| (a + b) / 2.0).sum::<f64>() / 3.0;
        let got = of([0.9, 0.8, 0.1, -3.0, 0.5, 2.0]);
        assert!((got - (first + second) / 2.0).abs() < 1e-12, "{got}");
        // Without a preference all orders are averaged, as for equal codes.
        let flat = evaluate(&database, &queries, &EvaluationConfig::default()).unwrap().map;
        assert!((of([0.0; 6]) - flat).abs() < 1e-12);
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_digit() {
        let labels: Vec<i64> = (0..400).map(|item| item * item % 7).collect();
        let [database, queries] =
            [&labels[..], &labels[..333]].map(|l| set(Labels::Single(l.to_vec())));
        let predicted: Vec<u32> = (0..400).map(|item| item * 5 % 7).collect();
        let scores = |rows: Range<usize>| {
            Ok(rows
                .flat_map(|row| (0..7).map(move |class| (row * (class + 3) % 11) as f32))
                .collect())
        };
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| posterior_map((&database, &queries), &predicted, 7, scores).unwrap())
        };
        let one = of(1);
        assert!((2..9).all(|threads| of(threads) == one), "{one}");
    }

    #[test]
    fn certain_scores_give_what_class_codes_give() {
        let labels: Vec<i64> = (0..5000).map(|item| item * item % 7).collect();
        let database = set(Labels::Single(labels.clone()));
        let predicted: Vec<u32> =
            (0..5000).map(|item| item * item % 7 * (item % 11).min(1)).collect();
        // There are more queries than are scored at a time.
        let queries = set(Labels::Single(labels[..3000].to_vec()));
        let classified = &predicted[..3000];
        let scores = |rows: Range<usize>| {
            let one_hot = |class: &u32| {
                (0..7).map(|other| if other == *class { 1.0 } else { 0.0 }).collect::<Vec<f32>>()
            };
            Ok(classified[rows].iter().flat_map(one_hot).collect())
        };
        let posterior = posterior_map((&database, &queries), &predicted, 7, scores).unwrap();
        let codes = class_code_map((&database, &queries), (&predicted, classified), 7).unwrap();
        assert!((posterior - codes).abs() < 1e-12, "{posterior} {codes}");
    }

    #[test]
    fn items_without_a_label_are_no_part_of_the_accuracy() {
        let single = Labels::Single(vec![0, 1, Labels::NONE, 2]);
        assert_eq!(accuracy(&single, &[0, 0, 2, 2]), Some(2.0 / 3.0));
        let hot = Labels::MultiHot { classes: 2, values: vec![1, 1, 0, 1, 0, 0] };
        assert_eq!(accuracy(&hot, &[1, 0, 0]), Some(0.5));
        assert_eq!(accuracy(&Labels::Single(vec![Labels::NONE]), &[0]), None);
    }
}
