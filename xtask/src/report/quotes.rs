//! Figures that documents quote from the results. A document may round a figure; it may not have one that the results lack.

use std::collections::BTreeSet;

/// The documents that quote figures, and the headings under which they do so.
pub(super) const SECTIONS: [(&str, &str); 2] =
    [("README.md", "## Results"), ("COMPARE.md", "## Figures")];

/// The text under a heading, up to the next heading of the same level.
pub(super) fn section<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    let start = text.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &text[start..];
    Some(&rest[..rest.find("\n## ").unwrap_or(rest.len())])
}

/// The measured figures of a text that the results have neither as they are nor with more digits. Figures are numbers with a decimal
/// point or a comma: whole numbers such as "48 bits" are settings.
pub(super) fn not_in(text: &str, results: &str) -> Vec<String> {
    let known: BTreeSet<String> = numbers(results).collect();
    let quoted = numbers(text).filter(|number| number.contains(['.', ',']));
    quoted.filter(|number| !is_known(number, &known)).collect()
}

fn is_known(quoted: &str, known: &BTreeSet<String>) -> bool {
    let plain = quoted.replace(',', "");
    let digits = plain.split_once('.').map_or(0, |(_, digits)| digits.len());
    known.iter().any(|number| {
        let number = number.replace(',', "");
        let value: Option<f64> = number.parse().ok();
        number == plain || value.is_some_and(|value| format!("{value:.digits$}") == plain)
    })
}

/// The numbers of a text, with the points and commas inside them.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || "._,".contains(c)));
    let words = words.map(|word| word.trim_matches(|c: char| "._,".contains(c)));
    let number = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || ".,".contains(c))
    };
    words.filter(number).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_may_be_rounded_and_may_not_be_made_up() {
        let results = "takes 9379 us, 0.9574 (v1.25) and 15,716 codes";
        let quote = "9,379 us with 48 bits: 0.957, 15,716 and f16.";
        assert_eq!(not_in(quote, results), [""; 0]);
        assert_eq!(not_in("0.958, 1.25 or 9,380", results), ["0.958", "1.25", "9,380"]);
    }

    #[test]
    fn a_section_ends_at_the_next_of_its_level() {
        let text = "# A\n\n## Results\n\none\n\n### More\n\ntwo\n\n## Next\n\nthree\n";
        assert_eq!(section(text, "## Results"), Some("\none\n\n### More\n\ntwo\n"));
        assert_eq!(section(text, "## Figures"), None);
    }
}
