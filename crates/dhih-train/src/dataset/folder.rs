//! The user's own images: one folder for each class, with images below it at any depth. Folders `train`, `val` and `test` that contain the class
//! folders, as in torchvision's layout of ImageNet, are the parts of the set. `dhih_model::walk` decides which files are images. Files that
//! cannot be used are left out and counted, and are never fatal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dhih_model::image::FORMATS;
use dhih_model::walk::{Reason, Walk, nfc, text_of};

use super::Lists;
use super::part::Part;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

fn cure() -> String {
    format!("give --data-dir a folder with one sub-folder of {FORMATS} images for each class")
}

/// An image with its class folder. The order is that of the rows of the dataset: by part, then by path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Image {
    part: Part,
    path: PathBuf,
    class: OsString,
}

pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let Walk { files, folders, left_out } = super::walked(Walk::pictures(dir), dir, &cure())?;
    let mut pictures = Pictures { left_out, ..Pictures::default() };
    let has_parts = has_parts(dir, &files);
    let mut images = Vec::with_capacity(files.len());
    for path in files {
        let (part, class) = match place_of(dir, &path, has_parts) {
            Some((part, class)) => (part, class.to_owned()),
            None => {
                pictures.left_out.push(path, Reason::NoClass);
                continue;
            }
        };
        images.push(Image { part, path, class });
    }
    images.sort_unstable();
    let Classes { names, numbers } = Classes::of(&images);
    for folder in empty_classes(dir, folders, has_parts, &numbers) {
        pictures.left_out.push(folder, Reason::EmptyClass);
    }
    if names.len() < 2 {
        let left_out = pictures.left_out.summary().map(|summary| format!(" ({summary})"));
        let (count, left_out) = (names.len(), left_out.unwrap_or_default());
        let reason = format!("it has {count} classes with images, at least 2 are needed{left_out}");
        return Err(Error::Data { path: dir.to_owned(), reason, cure: cure() });
    }
    if has_parts {
        pictures.lists = Some(lists(&images));
    }
    for Image { path, class, .. } in images {
        // Each class folder of an image has a number, so the default is never used.
        let label = numbers.get(&class).copied().unwrap_or_default();
        pictures.push(Source::File(path), vec![label]);
    }
    Raw::of_pictures(pictures, names, intake, (dir, &cure()))
}

/// The class folders of images.
struct Classes {
    /// The names of the classes, by their numbers.
    names: Vec<String>,
    /// The number of each folder's class.
    numbers: HashMap<OsString, u32>,
}

impl Classes {
    /// Numbers classes in the order of their folders' names. Folders whose names differ only in the encoding of accents are one class. A name
    /// that is not UTF-8 is escaped, so that different folders remain different classes.
    fn of(images: &[Image]) -> Self {
        let folders: BTreeSet<&OsString> = images.iter().map(|image| &image.class).collect();
        let (mut names, mut by_name) = (Vec::new(), HashMap::new());
        let mut numbers = HashMap::with_capacity(folders.len());
        for folder in folders {
            let name = text_of(folder);
            let number = *by_name.entry(nfc(&name).into_owned()).or_insert_with(|| {
                names.push(name);
                names.len() as u32 - 1
            });
            numbers.insert(folder.clone(), number);
        }
        Self { names, numbers }
    }
}

/// Whether the images below `dir` are divided into parts: all folders with images have the names of parts, one of them is the training part, and
/// that one has class folders.
fn has_parts(dir: &Path, files: &[PathBuf]) -> bool {
    let mut tops: BTreeMap<&OsStr, usize> = BTreeMap::new();
    for path in files {
        let names: Vec<&OsStr> = below(dir, path).collect();
        if let [top, .., _] = names[..] {
            let depth = tops.entry(top).or_insert(names.len());
            *depth = names.len().min(*depth);
        }
    }
    let part = |(name, depth): (&&OsStr, &usize)| Part::of_folder(name).map(|part| (part, *depth));
    let parts: Option<Vec<_>> = tops.iter().map(part).collect();
    let has_classes = |&(part, depth): &(Part, usize)| part == Part::Train && depth >= 3;
    parts.is_some_and(|parts| parts.iter().any(has_classes))
}

/// The part and the class folder of an image; `None` where it is not in a class folder.
fn place_of<'a>(dir: &Path, path: &'a Path, has_parts: bool) -> Option<(Part, &'a OsStr)> {
    let mut names = below(dir, path);
    let part = if has_parts { Part::of_folder(names.next()?)? } else { Part::Train };
    let class = names.next()?;
    // A file in place of a class folder has no class.
    names.next().map(|_| (part, class))
}

/// The names of the folders from `dir` to a file, and the name of the file.
fn below<'a>(dir: &Path, path: &'a Path) -> impl Iterator<Item = &'a OsStr> {
    path.strip_prefix(dir).unwrap_or(path).iter()
}

/// The class folders without images, in any part.
fn empty_classes(
    dir: &Path,
    folders: Vec<PathBuf>,
    has_parts: bool,
    used: &HashMap<OsString, u32>,
) -> Vec<PathBuf> {
    let depth = 1 + usize::from(has_parts);
    let is_empty = |folder: &PathBuf| {
        below(dir, folder).count() == depth
            && folder.file_name().is_some_and(|name| !used.contains_key(name))
    };
    folders.into_iter().filter(is_empty).collect()
}

/// The rows of each part. A validation part without a test part beside it serves as the test part.
fn lists(images: &[Image]) -> Lists {
    let rows = |part: Part| -> Vec<usize> {
        let rows = images.iter().enumerate().filter(|(_, image)| image.part == part);
        rows.map(|(row, _)| row).collect()
    };
    let (train, test, validation) = (rows(Part::Train), rows(Part::Test), rows(Part::Validation));
    let (queries, validation) =
        if test.is_empty() { (validation, test) } else { (test, validation) };
    Lists { database: train.clone(), train, queries, validation }
}

/// Whether a set has a training part and a part to test on. Only the names of folders are read.
pub(super) fn publishes_parts(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let (mut trains, mut tests) = (false, false);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_visible_folder = !name.as_encoded_bytes().starts_with(b".") && entry.path().is_dir();
        match Part::of_folder(&name) {
            Some(Part::Train) => trains |= has_folder(&entry.path()),
            Some(_) => tests |= has_folder(&entry.path()),
            None if is_visible_folder => return false,
            None => (),
        }
    }
    trains && tests
}

fn has_folder(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
}
