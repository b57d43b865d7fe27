//! Figures of the classifier that trains a network, to be read beside those of its codes. Distances and rankings are not computed here.

use dhih_index::{CodeSet, Codes, Labels};

use super::{EvaluationConfig, evaluate};
use crate::error::Result;

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

/// Mean average precision of single-label predictions taken as codes: items of the predicted class first, all others
/// after, ties averaged. It is what a mere classifier reaches on classes seen in training, and is to be reported beside every
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_without_a_label_are_no_part_of_the_accuracy() {
        let single = Labels::Single(vec![0, 1, Labels::NONE, 2]);
        assert_eq!(accuracy(&single, &[0, 0, 2, 2]), Some(2.0 / 3.0));
        let hot = Labels::MultiHot { classes: 2, values: vec![1, 1, 0, 1, 0, 0] };
        assert_eq!(accuracy(&hot, &[1, 0, 0]), Some(0.5));
        assert_eq!(accuracy(&Labels::Single(vec![Labels::NONE]), &[0]), None);
    }
}
