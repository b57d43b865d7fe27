//! Pascal VOC (Everingham et al., 2010) as unpacked: the pictures in `JPEGImages`, and for each class and part a list
//! `ImageSets/Main/CLASS_PART.txt`. A line has a picture with 1 (it shows the class), -1 (it does not) or 0 (hard to see, which counts as -1).
//! Boxes and their XML files are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::file_name;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

const CURE: &str = "give --data-dir the folder of one year, such as VOCdevkit/VOC2007, with ImageSets/Main and JPEGImages";

/// Reads a year. `trainval` trains and `test` is the test part. In a year without a published `test`, `train` trains and `val` is the test part.
pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let root = year(dir)?;
    let lists = root.join("ImageSets/Main");
    let names: BTreeSet<String> =
        sorted_entries(&lists)?.iter().map(|path| file_name(path)).collect();
    let classes_of = |part: &str| -> Vec<String> {
        let end = format!("_{part}.txt");
        names.iter().filter_map(|name| name.strip_suffix(&end)).map(str::to_owned).collect()
    };
    let has = |part: &str| !classes_of(part).is_empty();
    let (train, test) = match (has("trainval"), has("test")) {
        (true, true) => ("trainval", "test"),
        (false, true) => ("train", "test"),
        (_, false) => ("train", "val"),
    };
    let classes = classes_of(train);
    let mut pictures = Pictures::default();
    for part in [train, test] {
        let mut labels: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (class, number) in classes.iter().zip(0..) {
            read_list(&lists.join(format!("{class}_{part}.txt")), number, &mut labels)?;
        }
        for (picture, labels) in labels {
            let path = root.join("JPEGImages").join(format!("{picture}.jpg"));
            pictures.push(Source::File(path), labels);
        }
        pictures.official_train.get_or_insert(pictures.len());
    }
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}

/// The entries of a folder, sorted by name.
fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(|error| Error::Data {
        path: dir.to_owned(),
        reason: error.to_string(),
        cure: CURE.to_owned(),
    })?;
    entries.sort();
    Ok(entries)
}

/// The folder of the year: `dir`, or the only year in it or in its `VOCdevkit`.
fn year(dir: &Path) -> Result<PathBuf> {
    let is_year = |path: &PathBuf| path.join("ImageSets/Main").is_dir();
    if is_year(&dir.to_owned()) {
        return Ok(dir.to_owned());
    }
    let mut years = Vec::new();
    for folder in [dir.to_owned(), dir.join("VOCdevkit")] {
        if folder.is_dir() {
            years.extend(sorted_entries(&folder)?.into_iter().filter(is_year));
        }
    }
    let wrong =
        |reason: String| Error::Data { path: dir.to_owned(), reason, cure: CURE.to_owned() };
    match &years[..] {
        [year] => Ok(year.clone()),
        [] => Err(wrong("it has no folder ImageSets/Main".to_owned())),
        years => {
            let names: Vec<String> = years.iter().map(|year| file_name(year)).collect();
            Err(wrong(format!("it has several years: {}", names.join(", "))))
        }
    }
}

/// Adds class `number` to the pictures that a list marks; the other pictures of the list get no class from it.
fn read_list(path: &Path, number: u32, labels: &mut BTreeMap<String, Vec<u32>>) -> Result<()> {
    let bytes = super::read_file(path, CURE)?;
    let text = String::from_utf8_lossy(&bytes);
    for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_there = match words[..] {
            [_, "1" | "+1"] => true,
            [_, "0" | "-1"] => false,
            _ => {
                return Err(Error::Data {
                    path: path.to_owned(),
                    reason: format!(
                        "line {} is {text:?}, expected a picture and 1, 0 or -1",
                        line + 1
                    ),
                    cure: CURE.to_owned(),
                });
            }
        };
        let labels = labels.entry(words[0].to_owned()).or_default();
        if is_there {
            labels.push(number);
        }
    }
    Ok(())
}
