//! Figures that documents quote from the results. A document may round a figure; it may not have one that its source lacks.
//!
//! A comment `<!-- figures: SOURCE .. -->` on a line of its own names the sources of the figures that follow, up to the next such comment. A
//! source is a table of `docs/results/tables`, the prefix of recorded runs, or a file of the repository. Figures before the first comment have
//! none, so there may be none.

use anyhow::{Result, bail};

/// The documents that quote figures.
pub(super) const DOCUMENTS: [&str; 2] = ["README.md", "COMPARE.md"];

const COMMENT: (&str, &str) = ("<!-- figures: ", " -->");
/// What follows a whole number that was measured. Other whole numbers, such as in "48 bits", are settings.
const UNITS: [&str; 10] =
    ["us", "ms", "s", "times", "minutes", "MiB", "GiB", "MB", "GB", "images/s"];

/// The figures of a document that their sources have neither as they are nor with more digits. `source` returns the text of a source.
pub(super) fn without_source(
    text: &str,
    source: impl Fn(&str) -> Result<String>,
) -> Result<Vec<String>> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let names = line.strip_prefix(COMMENT.0).and_then(|line| line.strip_suffix(COMMENT.1));
        if let Some(names) = names {
            known.clear();
            for name in names.split_whitespace() {
                known.extend(numbers(&source(name)?).map(|(number, _)| number));
            }
        } else if line.contains(COMMENT.0.trim_end()) {
            bail!("{line:?}: a comment that names sources stands on a line of its own");
        } else {
            let figures = numbers(line).filter(|(number, unit)| is_figure(number, unit));
            unknown.extend(figures.map(|(number, _)| number).filter(|it| !is_in(it, &known)));
        }
    }
    Ok(unknown)
}

/// Whether a number was measured: whether it has a decimal point, a comma or a unit.
fn is_figure(number: &str, unit: &str) -> bool {
    number.contains(['.', ',']) || UNITS.contains(&unit)
}

/// Whether a figure is one of the known numbers, or one of these rounded.
fn is_in(quoted: &str, known: &[String]) -> bool {
    let plain = quoted.replace(',', "");
    let digits = digits_behind_point(&plain);
    known.iter().any(|number| {
        let number = number.replace(',', "");
        let value: Option<f64> = number.parse().ok();
        let rounded = value.filter(|_| digits < digits_behind_point(&number));
        number == plain || rounded.is_some_and(|value| format!("{value:.digits$}") == plain)
    })
}

fn digits_behind_point(number: &str) -> usize {
    number.split_once('.').map_or(0, |(_, digits)| digits.len())
}

/// The numbers of a text, with the points and commas inside them, and the word behind each. Addresses and versions of three parts are no
/// numbers.
fn numbers(text: &str) -> impl Iterator<Item = (String, String)> {
    let within = |c: char| c.is_alphanumeric() || "._,/".contains(c);
    let trimmed = |word: &str| word.trim_matches(|c: char| "._,/".contains(c)).to_owned();
    let words: Vec<String> = text.split(|c| !within(c)).map(trimmed).collect();
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let units = words.clone().into_iter().skip(1).chain([String::new()]);
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.replace(',', "").parse::<f64>().is_ok()
    };
    words.into_iter().zip(units).filter(move |(word, _)| is_number(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    fn source(name: &str) -> Result<String> {
        let text = match name {
            "speed" => "| 9379 | 466.43 us, 0.9574 (v1.25.3) and 15,716 codes",
            "other" => "0.5",
            _ => return None.context("no such source"),
        };
        Ok(text.to_owned())
    }

    fn unknown(text: &str) -> Vec<String> {
        without_source(&format!("48 bits\n<!-- figures: speed -->\n{text}\n"), source).unwrap()
    }

    #[test]
    fn a_figure_may_be_rounded_and_may_not_be_made_up() {
        assert_eq!(
            unknown("9,379 us with 48 bits: 0.957, 466 us, 15,716, 127.0.0.1 and f16."),
            [""; 0]
        );
        assert_eq!(unknown("0.958, 1.25 or 9,380"), ["0.958", "1.25", "9,380"]);
        assert_eq!(unknown("it takes 46 us, 46 times"), ["46", "46"]);
    }

    #[test]
    fn a_figure_has_no_digits_that_its_source_lacks() {
        assert_eq!(unknown("0.95740 and 466.430"), ["0.95740", "466.430"]);
    }

    #[test]
    fn a_figure_is_in_the_source_that_is_named_before_it() {
        assert_eq!(without_source("it takes 0.5 s", source).unwrap(), ["0.5"]);
        assert_eq!(unknown("0.957\n<!-- figures: other -->\n0.5 and 0.957"), ["0.957"]);
        assert_eq!(unknown("<!-- figures: other speed -->\n0.5 and 0.957"), [""; 0]);
        assert!(without_source("<!-- figures: absent -->", source).is_err());
        assert!(without_source("| 0.5 <!-- figures: other --> |", source).is_err());
    }
}
