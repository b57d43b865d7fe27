//! The user's own images: one sub-folder a class. Files that cannot be used are skipped and listed, never fatal.

use std::path::Path;

use super::raw::{Pictures, Raw};
use super::{file_name, sorted_entries};
use crate::error::Result;
use crate::intake::pixels::{Intake, Source};

const CURE: &str =
    "give --data-dir a folder with one sub-folder of JPEG, PNG or WebP images for each class";

pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let (mut classes, mut pictures) = (Vec::new(), Pictures::default());
    for folder in sorted_entries(dir, CURE)?.into_iter().filter(|path| path.is_dir()) {
        let label = classes.len() as u32;
        classes.push(file_name(&folder));
        let images = sorted_entries(&folder, CURE)?.into_iter().filter(|path| path.is_file());
        images.for_each(|path| pictures.push(Source::File(path), vec![label]));
    }
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}
