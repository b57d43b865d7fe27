//! What is proposed in place of a name that is not known: the names that it may be meant for, in place of all that there are.

/// So many names are proposed at most.
const PROPOSED: usize = 3;
/// Names that differ in more characters, or in more than a third of their own and than two, are not proposed.
const FARTHEST: usize = 4;

/// The known names that are most like `got`, as the end of a message: ", did you mean `bits`?", or nothing where none is like it.
pub fn did_you_mean<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = nearest(got, known).iter().map(|name| format!("`{name}`")).collect();
    match &names[..] {
        [] => String::new(),
        [names @ .., last] if !names.is_empty() => {
            format!(", did you mean {} or {last}?", names.join(", "))
        }
        _ => format!(", did you mean {}?", names.join("")),
    }
}

/// The known names that are most like `got`, all of them as much, at most three and in the order of the alphabet.
pub fn nearest<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(name, got), name))
        .filter(|(far, name)| *far <= FARTHEST.min((name.chars().count() / 3).max(2)))
        .collect();
    near.sort_unstable();
    let least = near.first().map(|(far, _)| *far);
    let near = near.into_iter().filter(|(far, _)| Some(*far) == least);
    near.map(|(_, name)| name).take(PROPOSED).collect()
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_proposed_and_none_that_is_far() {
        let known = ["bits", "epochs", "hi_alpha", "hi_mode", "batch_size"];
        assert_eq!(did_you_mean("bitz", known), ", did you mean `bits`?");
        assert_eq!(did_you_mean("btis", known), ", did you mean `bits`?");
        assert_eq!(did_you_mean("hi_alph", known), ", did you mean `hi_alpha`?");
        assert_eq!(did_you_mean("batchsize", known), ", did you mean `batch_size`?");
        assert_eq!(did_you_mean("abc", ["abd", "abe", "xyz"]), ", did you mean `abd` or `abe`?");
        let many = ["aba", "abd", "abe", "abf"];
        assert_eq!(did_you_mean("abc", many), ", did you mean `aba`, `abd` or `abe`?");
        assert_eq!(did_you_mean("colour", known), "");
    }

    #[test]
    fn the_distance_counts_insertions_deletions_and_substitutions() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("cifar10", "cifar-10", 1),
            ("hi", "csq", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
