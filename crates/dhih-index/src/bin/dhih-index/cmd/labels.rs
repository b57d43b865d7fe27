//! Labels on the command line and in what is printed: names of classes, or their numbers. Searching among labelled items:
//! `search.rs`.

use std::collections::BTreeSet;

use anyhow::Result;
use dhih_index::{Filter, Index, Label, Labels};
use unicode_normalization::UnicodeNormalization;

use crate::hint::failure;

/// Classes that a message lists before it stops.
const LISTED: usize = 20;

/// The number of the class that `--label` names, or the numbers of all classes that have this name.
pub(crate) fn numbers_of(text: &str, index: &Index) -> Result<Vec<i64>> {
    let classes = index.classes();
    let mut named: Vec<i64> = numbers_where(classes, |class| class == text);
    if named.is_empty() {
        // In Unicode normal form C, because the name of a class folder may spell an accent as a separate character.
        named = numbers_where(classes, |class| class.nfc().eq(text.nfc()));
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let number = text.parse::<i64>().ok();
    let is_known = match number {
        Some(number) if number != Labels::NONE && !classes.is_empty() => {
            usize::try_from(number).is_ok_and(|number| number < classes.len())
        }
        Some(number) => has_items(number, index)?,
        None => false,
    };
    match number {
        Some(number) if is_known => Ok(vec![number]),
        _ => Err(refusal(text, index)),
    }
}

fn numbers_where(classes: &[String], is_named: impl Fn(&str) -> bool) -> Vec<i64> {
    (0..).zip(classes).filter(|(_, class)| is_named(class)).map(|(number, _)| number).collect()
}

/// Whether an item has this label.
fn has_items(label: i64, index: &Index) -> Result<bool> {
    let any = vec![0; dhih_index::bytes_per_code(index.bits())];
    Ok(!index.select(&Filter::default().labels([label])).knn(&any, 1)?.is_empty())
}

fn refusal(text: &str, index: &Index) -> anyhow::Error {
    let message = format!("no class of the index is named or numbered {text}");
    let classes = index.classes();
    if !classes.is_empty() {
        let named = |(i, name): (usize, &String)| format!("{} ({i})", printable(name));
        let names = listed(classes.iter().enumerate().map(named));
        return failure(message, format!("give `--label` one of {names}"));
    }
    let numbers = numbers_of_items(index);
    let hint = match numbers.is_empty() {
        true => "the items of this index have no labels: leave out `--label`".to_owned(),
        false => format!("give `--label` one of {}", listed(numbers.iter().map(i64::to_string))),
    };
    failure(message, hint)
}

/// The labels that items have.
fn numbers_of_items(index: &Index) -> BTreeSet<i64> {
    let mut numbers = BTreeSet::new();
    for id in index.ids() {
        match index.label(id) {
            Some(Label::Single(number)) => {
                numbers.insert(number);
            }
            Some(Label::MultiHot(columns)) => {
                let set = (0..).zip(columns).filter(|(_, column)| **column != 0);
                numbers.extend(set.map(|(number, _)| number));
            }
            _ => {}
        }
    }
    numbers
}

fn listed(all: impl ExactSizeIterator<Item = String>) -> String {
    let count = all.len();
    let names = all.take(LISTED).collect::<Vec<_>>().join(", ");
    if count > LISTED { format!("{names}, ... ({count} in all)") } else { names }
}

/// The names of an item's classes, or their numbers where they have no names.
pub(crate) fn text_of(id: u64, index: &Index) -> String {
    let name = |class: usize| match index.classes().get(class) {
        Some(name) => printable(name),
        None => class.to_string(),
    };
    match index.label(id) {
        Some(Label::Single(label)) => usize::try_from(label).map_or(label.to_string(), name),
        Some(Label::MultiHot(columns)) => {
            let set = columns.iter().enumerate().filter(|(_, column)| **column != 0);
            set.map(|(class, _)| name(class)).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

/// A name without line breaks and other characters that would control the terminal: these are written as `\u{1b}`.
fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character.is_control() {
            true => text.extend(character.escape_unicode()),
            false => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bugs: a search by a name that two classes have left out the items of the second, and names were sent to the terminal as they are.
    #[test]
    fn equal_names_are_found_together_and_none_controls_the_terminal() {
        let classes = ["a", "caf\u{e9}", "a", "cafe\u{301}"].map(str::to_owned);
        assert_eq!(numbers_where(&classes, |class| class == "a"), [0, 2]);
        assert_eq!(numbers_where(&classes, |class| class.nfc().eq("caf\u{e9}".nfc())), [1, 3]);
        assert_eq!(printable("\u{1b}[31mré\nd"), "\\u{1b}[31mré\\u{a}d");
    }
}
