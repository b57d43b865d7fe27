//! What a new collection is like: codes of so many bits, or items like those of another collection, with a copy of what makes their codes. A
//! copy, so that the other collection can be trained anew or removed.

use std::fs;
use std::path::Path;

use dhih_index::{CodeSet, Codes, IndexBuilder};

use super::folder::{CODEC, MODEL};
use crate::run::Run;
use crate::run::coder::{Origin, TEXT_FILE, model_file};
use crate::{Error, Result};

/// Writes an empty collection of codes into a directory.
///
/// # Errors
/// A number of bits that no code has; a disk that does not take it.
pub(crate) fn write_codes(bits: u32, dir: &Path) -> Result<()> {
    let codes = Codes::new(bits, Vec::new());
    build(&CodeSet::new(codes.map_err(|error| Error::index(dir, error))?), dir)
}

/// Writes an empty collection into a directory whose items are to be like those of `other`: coded by the same model or codec, with labels and
/// vectors of the same form.
///
/// # Errors
/// Files of the other collection that are gone; a disk that does not take the copies.
pub(crate) fn write_like(other: &Run, dir: &Path) -> Result<()> {
    let copy = |from: &Path, to: &str| {
        let copied =
            fs::copy(from, dir.join(to)).and_then(|_| fs::File::open(dir.join(to))?.sync_all());
        copied.map_err(|source| match from.exists() {
            true => Error::written(dir, source),
            false => Error::Input { path: from.to_owned(), source },
        })
    };
    let copy_model = |model: &Path| {
        let text = model.with_file_name(TEXT_FILE);
        if text.exists() {
            copy(&text, TEXT_FILE)?;
        }
        copy(model, MODEL)
    };
    match other.origin() {
        Origin::Run(run) => copy_model(&model_file(run))?,
        Origin::Model(model) => copy_model(model)?,
        Origin::Codec(codec) => copy(codec, CODEC)?,
        Origin::Codes => {}
    }
    build(&other.without_items()?, dir)
}

fn build(set: &CodeSet, dir: &Path) -> Result<()> {
    let index = dir.join("index");
    IndexBuilder::default().build(set, &index).map_err(|error| Error::index(&index, error))
}
