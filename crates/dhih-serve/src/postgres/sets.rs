//! Whether sets of codes belong together, so that one load may have all of them.

use dhih_index::CodeSet;

use super::Error;

/// The first set, if all sets belong together.
pub(super) fn together(sets: &[CodeSet]) -> Result<&CodeSet, Error> {
    let wrong = |reason: String| Error::Codes { reason };
    let first = sets.first().ok_or_else(|| wrong("there are none".into()))?;
    if sets.iter().all(|set| set.codes.is_empty()) {
        return Err(wrong("there are none".into()));
    }
    for set in sets {
        let (expected, found) = (first.codes.bits(), set.codes.bits());
        if expected != found {
            return Err(wrong(format!("some have {expected} bits and some {found}")));
        }
        if set.model_sha256 != first.model_sha256 {
            return Err(wrong("they are of different models".into()));
        }
        if sets.len() > 1 && set.ids.is_none() {
            let reason = "they are in several files, and one has no ids: its rows' numbers would be those of others";
            return Err(wrong(reason.into()));
        }
    }
    check_classes(sets)?;
    Ok(first)
}

/// Refuses sets with different classes, because their labels are numbers of these classes. Sets without items say nothing, and neither do
/// those without labels and classes.
fn check_classes(sets: &[CodeSet]) -> Result<(), Error> {
    let has_classes =
        |set: &&CodeSet| !set.codes.is_empty() && (set.labels.is_some() || !set.classes.is_empty());
    let mut classes = sets.iter().filter(has_classes).map(|set| &set.classes);
    let Some(first) = classes.next() else { return Ok(()) };
    match classes.find(|other| *other != first) {
        Some(other) => {
            let (expected, found) = (first.join(", "), other.join(", "));
            Err(Error::Codes {
                reason: format!("some have the classes [{expected}] and some [{found}]"),
            })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhih_index::{Codes, Labels};

    #[test]
    fn codes_that_do_not_belong_together_are_refused() {
        let set = |bits: u32, ids: Option<Vec<u64>>, model: &str| {
            let codes = Codes::new(bits, vec![0; 2 * bits.div_ceil(8) as usize]).unwrap();
            CodeSet { ids, model_sha256: Some(model.into()), ..CodeSet::new(codes) }
        };
        let (one, two) = (Some(vec![1, 2]), Some(vec![3, 4]));
        let none = CodeSet::new(Codes::new(8, Vec::new()).unwrap());
        for (sets, part) in [
            (vec![], "there are none"),
            (vec![none.clone(), none], "there are none"),
            (vec![set(8, one.clone(), "a"), set(9, two.clone(), "a")], "8 bits and some 9"),
            (vec![set(8, one.clone(), "a"), set(8, two.clone(), "b")], "different models"),
            (vec![set(8, one.clone(), "a"), set(8, None, "a")], "no ids"),
        ] {
            let error = together(&sets).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(together(&[set(8, one.clone(), "a"), set(8, two.clone(), "a")]).is_ok());
        let named = |set: CodeSet, classes: &[&str]| CodeSet {
            labels: Some(Labels::Single(vec![0, 1])),
            classes: classes.iter().map(|class| class.to_string()).collect(),
            ..set
        };
        let sets = |other: &[&str]| {
            let first = named(set(8, one.clone(), "a"), &["cat", "dog"]);
            [first, named(set(8, two.clone(), "a"), other)]
        };
        for other in [&["dog", "cat"][..], &["cat"], &[]] {
            let error = together(&sets(other)).unwrap_err().to_string();
            assert!(error.contains("the classes [cat, dog] and some ["), "{error}");
        }
        assert!(together(&sets(&["cat", "dog"])).is_ok());
        let [labelled, _] = sets(&[]);
        assert!(together(&[labelled, set(8, two, "a")]).is_ok(), "one without labels");
        assert!(together(&[set(8, None, "a")]).is_ok());
    }
}
