//! Creates empty collections: of codes with a given number of bits, or like another collection, with a copy of its model or codec. Because
//! it is a copy, the other collection can be retrained or removed.

use std::fs;
use std::io;
use std::path::Path;

use dhih_index::{CodeSet, Codes, IndexBuilder};

use super::folder::{CODEC, MODEL};
use crate::run::Run;
use crate::run::coder::{Origin, TEXT_FILE, model_file};
use crate::{Error, Result};

/// Writes an empty collection of codes into a directory.
///
/// # Errors
/// When the number of bits is invalid, or the disk is full or fails.
pub(crate) fn write_codes(bits: u32, dir: &Path) -> Result<()> {
    let codes = Codes::new(bits, Vec::new());
    build(&CodeSet::new(codes.map_err(|error| Error::index(dir, error))?), dir)
}

/// Writes an empty collection into a directory. Its items will be encoded by the same model or codec as those of `other`, and have labels
/// and vectors of the same form.
///
/// # Errors
/// When files of the other collection are missing, or the disk is full or fails.
pub(crate) fn write_like(other: &Run, dir: &Path) -> Result<()> {
    let copy = |from: &Path, to: &str| {
        // Synced by the handle that wrote it: Windows syncs no file that was opened for reading.
        let copied = fs::File::open(from).and_then(|mut source| {
            let mut made = fs::File::create(dir.join(to))?;
            io::copy(&mut source, &mut made)?;
            made.sync_all()
        });
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
