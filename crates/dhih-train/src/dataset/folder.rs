//! The user's own images: one sub-folder a class. Files that cannot be used are skipped and listed, never fatal.

use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::{self, Limits};
use rayon::prelude::*;

use super::Raw;
use crate::error::{Error, Result};

const CURE: &str =
    "give --data-dir a folder with one sub-folder of JPEG, PNG or WebP images for each class";

pub(super) fn load(dir: &Path, shape: InputShape) -> Result<Raw> {
    let wrong =
        |reason: String| Error::Data { path: dir.to_owned(), reason, cure: CURE.to_owned() };
    let mut classes = Vec::new();
    let mut files = Vec::new();
    for folder in sorted_entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        let label = classes.len() as u32;
        classes.push(file_name(&folder));
        let images = sorted_entries(&folder)?.into_iter().filter(|path| path.is_file());
        files.extend(images.map(|path| (path, label)));
    }
    if classes.len() < 2 {
        return Err(wrong(format!("it has {} classes, at least 2 are needed", classes.len())));
    }
    let decode = |(path, label): &(PathBuf, u32)| (read_image(path, shape), path.clone(), *label);
    let (mut images, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (pixels, path, label) in files.par_iter().map(decode).collect::<Vec<_>>() {
        match pixels {
            Ok(pixels) => {
                images.extend(pixels);
                labels.push(label);
            }
            Err(reason) => skipped.push((path, reason)),
        }
    }
    for (label, class) in classes.iter().enumerate() {
        if !labels.contains(&(label as u32)) {
            let reason = format!("class {class:?} has no usable image");
            let first = skipped.iter().find(|(path, _)| path.starts_with(dir.join(class)));
            let first = first.map(|(path, why)| format!(" ({}: {why})", path.display()));
            return Err(wrong(reason + &first.unwrap_or_default()));
        }
    }
    Ok(Raw { shape, images, labels, classes, official_train: None, skipped, files: Vec::new() })
}

fn read_image(path: &Path, shape: InputShape) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let picture = image::decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(picture.fit(shape))
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
