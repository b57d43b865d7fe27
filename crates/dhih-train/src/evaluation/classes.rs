//! Makes the class numbers of two sets of codes agree by the names of the classes. Two exports of one dataset may number its classes
//! differently, and comparing numbers would then silently give a wrong figure. `relevance.rs` decides which items are relevant.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dhih_index::{CodeSet, Labels};
use dhih_model::walk::nfc;

use super::labels;
use crate::error::{Error, Result};

/// The most class names that a message lists.
const LISTED: usize = 5;

/// The labels of the queries, with the class numbers of the database; names are compared in normal form NFC. They do not change where the names
/// are equal, or where one of the two sets has no names. They are renumbered where the same names are in another order.
///
/// # Errors
/// [`Error::Codes`] where the queries have no labels, or the classes have different names.
pub(super) fn query_labels<'a>(
    database: &CodeSet,
    queries: &'a CodeSet,
) -> Result<Cow<'a, Labels>> {
    let own = labels(queries, "queries")?;
    if database.classes.is_empty()
        || queries.classes.is_empty()
        || database.classes == queries.classes
    {
        return Ok(Cow::Borrowed(own));
    }
    let numbers: BTreeMap<Cow<'_, str>, usize> =
        database.classes.iter().enumerate().map(|(class, name)| (nfc(name), class)).collect();
    let renumbered: Option<Vec<usize>> =
        queries.classes.iter().map(|name| numbers.get(&nfc(name)).copied()).collect();
    let is_permutation = numbers.len() == database.classes.len()
        && queries.classes.len() == database.classes.len()
        && renumbered.as_ref().is_some_and(|classes| {
            let mut seen = classes.clone();
            seen.sort_unstable();
            seen.windows(2).all(|pair| pair[0] != pair[1])
        });
    match renumbered.filter(|_| is_permutation) {
        Some(renumbered) => Ok(Cow::Owned(renumber(own, &renumbered))),
        None => Err(Error::Codes {
            reason: format!(
                "the classes of the database are {}, those of the queries {}; encode both with one model, or give both the same \
                 class names",
                listed(&database.classes),
                listed(&queries.classes)
            ),
        }),
    }
}

/// Labels with new class numbers: class `c` becomes `renumbered[c]`. A label that is not a class does not change.
fn renumber(labels: &Labels, renumbered: &[usize]) -> Labels {
    match labels {
        Labels::Single(labels) => {
            let of = |label: &i64| {
                let class = usize::try_from(*label).ok();
                class.and_then(|class| renumbered.get(class)).map_or(*label, |class| *class as i64)
            };
            Labels::Single(labels.iter().map(of).collect())
        }
        Labels::MultiHot { classes, values } if *classes == renumbered.len() => {
            let mut moved = vec![0; values.len()];
            for (from, to) in values.chunks_exact(*classes).zip(moved.chunks_exact_mut(*classes)) {
                from.iter().zip(renumbered).for_each(|(value, class)| to[*class] = *value);
            }
            Labels::MultiHot { classes: *classes, values: moved }
        }
        other => other.clone(),
    }
}

fn listed(names: &[String]) -> String {
    let first = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(LISTED) {
        Some(more) if more > 0 => format!("{first} and {more} more"),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EvaluationConfig, evaluate};
    use super::*;
    use dhih_index::Codes;

    fn set(labels: Labels, classes: &[&str]) -> CodeSet {
        let codes = Codes::new(8, (0..labels.len() as u8).collect()).unwrap();
        let mut set = CodeSet::new(codes);
        set.labels = Some(labels);
        set.classes = classes.iter().map(|name| (*name).to_owned()).collect();
        set
    }

    #[test]
    fn classes_in_another_order_are_compared_by_name() {
        let config = EvaluationConfig::default();
        let hot = |values: &[u8]| Labels::MultiHot { classes: 3, values: values.to_vec() };
        let names = ["cat", "dog", "owl"];
        let other_names = ["owl", "cat", "dog"];
        for (ours, theirs) in [
            (Labels::Single(vec![0, 1, 2, -1]), Labels::Single(vec![1, 2, 0, -1])),
            (hot(&[1, 1, 0, 0, 0, 1]), hot(&[0, 1, 1, 1, 0, 0])),
        ] {
            let database = set(ours, &names);
            let expected = evaluate(&database, &database, &config).unwrap();
            let queries = set(theirs, &other_names);
            assert_eq!(evaluate(&database, &queries, &config).unwrap(), expected);
            // The same names with composed and decomposed accents.
            let [composed, decomposed] =
                [["caf\u{e9}", "dog", "owl"], ["cafe\u{301}", "dog", "owl"]];
            let database = set(database.labels.clone().unwrap(), &composed);
            let queries = set(database.labels.clone().unwrap(), &decomposed);
            assert_eq!(evaluate(&database, &queries, &config).unwrap(), expected);
            let unnamed = set(database.labels.clone().unwrap(), &[]);
            assert_eq!(evaluate(&database, &unnamed, &config).unwrap(), expected);
        }
    }

    #[test]
    fn other_names_of_classes_are_refused() {
        let labels = || Labels::Single(vec![0, 1]);
        let database = set(labels(), &["cat", "dog"]);
        for names in [&["cat", "owl"][..], &["cat"], &["dog", "dog"], &["dog", "cat", "owl"]] {
            let queries = set(labels(), names);
            let error = evaluate(&database, &queries, &EvaluationConfig::default()).unwrap_err();
            assert!(error.to_string().contains("cat, dog, those of the queries"), "{error}");
        }
        let many: Vec<String> = (0..9).map(|class| class.to_string()).collect();
        assert_eq!(listed(&many), "0, 1, 2, 3, 4 and 4 more");
    }
}
