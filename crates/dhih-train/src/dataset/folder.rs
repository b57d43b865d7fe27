//! The user's own images: one sub-folder a class. Files that cannot be used are skipped and listed, never fatal.

use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use super::labels::ClassLabels;
use super::pixels::Source;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};

const CURE: &str =
    "give --data-dir a folder with one sub-folder of JPEG, PNG or WebP images for each class";

pub(super) fn load(dir: &Path, shape: InputShape, memory: usize) -> Result<Raw> {
    let (mut classes, mut pictures) = (Vec::new(), Pictures::default());
    for folder in sorted_entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        let label = classes.len() as u32;
        classes.push(file_name(&folder));
        let images = sorted_entries(&folder)?.into_iter().filter(|path| path.is_file());
        images.for_each(|path| pictures.push(Source::File(path), vec![label]));
    }
    let labels = ClassLabels::Multiple(pictures.labels);
    Raw::of_pictures((pictures.sources, labels), classes, (shape, memory), (dir, CURE), None)
}

/// Entries by name, hidden ones left out: the order of labels must not depend on the file system.
fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::Data {
        path: dir.to_owned(),
        reason: error.to_string(),
        cure: CURE.to_owned(),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
