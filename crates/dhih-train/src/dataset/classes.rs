//! The classes that occur among pictures, renumbered without the others. `class_names.rs` has names of numeric labels and removes classes;
//! `labels.rs` has the classes of each row.

use std::path::Path;

use dhih_model::walk::{Entry, text_of};

/// The classes that occur, and the labels with their new numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedClasses {
    /// Names of the classes that occur.
    pub(super) names: Vec<String>,
    /// Names of the other classes.
    pub(super) empty: Vec<String>,
    /// The classes of each picture.
    pub(super) labels: Vec<Vec<u32>>,
}

/// Removes the classes that no picture has, and renumbers the others in their order.
///
/// # Errors
/// The reason, where a label is not among the names.
pub(super) fn used_classes(
    names: Vec<String>,
    mut labels: Vec<Vec<u32>>,
) -> Result<UsedClasses, String> {
    let mut used = vec![false; names.len()];
    for class in labels.iter().flatten() {
        match used.get_mut(*class as usize) {
            Some(used) => *used = true,
            None => return Err(beyond(*class, names.len(), &labels)),
        }
    }
    let mut number = 0;
    let numbers: Vec<u32> = used
        .iter()
        .map(|is_used| {
            number += u32::from(*is_used);
            number.saturating_sub(1)
        })
        .collect();
    for class in labels.iter_mut().flatten() {
        *class = numbers[*class as usize];
    }
    let (mut kept, mut empty) = (Vec::new(), Vec::new());
    for (name, is_used) in names.into_iter().zip(used) {
        if is_used { kept.push(name) } else { empty.push(name) }
    }
    Ok(UsedClasses { names: kept, empty, labels })
}

fn beyond(class: u32, classes: usize, labels: &[Vec<u32>]) -> String {
    let begins_at_one = labels.iter().flatten().min() == Some(&1) && class as usize == classes;
    let hint = match begins_at_one {
        true => {
            " (names are counted from 0, and the labels begin at 1: subtract 1 from them, or give the class 0 a name)"
        }
        false => "",
    };
    format!("label {class}, but there are {classes} classes{hint}")
}

/// The message that there are too few classes: their number, and the first classes without a usable picture.
pub(super) fn too_few_classes(used: &UsedClasses, skipped: &[Entry], dir: &Path) -> String {
    let reason = format!("it has {} classes, at least 2 are needed", used.names.len());
    let Some(name) = used.empty.first() else { return reason };
    let first = skipped.iter().find(|entry| entry.path.starts_with(dir.join(name)));
    let first = first.or(skipped.first());
    let why =
        first.map(|Entry { path, reason }| format!(" ({}: {reason})", text_of(path.as_os_str())));
    format!("{reason}: class {name:?} has no usable image{}", why.unwrap_or_default())
}
