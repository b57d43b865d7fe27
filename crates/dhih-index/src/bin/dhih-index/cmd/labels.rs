//! Labels on the command line and in what is printed: names of classes, or their numbers. Searching among labelled items:
//! `search.rs`.

use std::collections::BTreeSet;

use anyhow::Result;
use dhih_index::{Filter, Index, Label, Labels};
use unicode_normalization::UnicodeNormalization;

use crate::hint::failure;

/// Classes that a message lists before it stops.
const LISTED: usize = 20;

/// The number of the class that `--label` names.
pub(crate) fn number_of(text: &str, index: &Index) -> Result<i64> {
    let classes = index.classes();
    // Names are compared in Unicode normal form C, because the name of a class folder may spell an accent as a separate character.
    let is_named = |class: &String| class.nfc().eq(text.nfc());
    let exact = classes.iter().position(|class| class == text);
    if let Some(class) = exact.or_else(|| classes.iter().position(is_named)) {
        return Ok(class as i64);
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
        Some(number) if is_known => Ok(number),
        _ => Err(refusal(text, index)),
    }
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
        let names = listed(classes.iter().enumerate().map(|(i, name)| format!("{name} ({i})")));
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
    let name = |class: usize| index.classes().get(class).cloned().unwrap_or(class.to_string());
    match index.label(id) {
        Some(Label::Single(label)) => usize::try_from(label).map_or(label.to_string(), name),
        Some(Label::MultiHot(columns)) => {
            let set = columns.iter().enumerate().filter(|(_, column)| **column != 0);
            set.map(|(class, _)| name(class)).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}
