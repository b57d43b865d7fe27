//! `dhih-serve import`: imports the pictures of a folder into index and catalogue, in batches. An interrupted or repeated import continues
//! where it was. A file is identified by the label of its folder and its path below it, and compared by its content.
//!
//! ```text
//! walk.rs: the files of a folder -> batch.rs: read, compared, decoded, encoded -> items/: added or replaced
//! sidecar.rs: their metadata     ->
//! ```

mod batch;
pub(crate) mod sidecar;
mod walk;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use dhih_model::image::{Limits, PictureReader};
use dhih_model::walk::{Entry, LeftOut, Reason};
use serde::Serialize;

use self::batch::{Importer, Input};
use self::sidecar::{Named, Sidecar};
use crate::FieldDeclaration;
use crate::items::{Access, ChangeError};
use crate::operation::cli::ImportArgs;
use crate::operation::config::index_dir;
use crate::run::Run;
use crate::{Error, Result};

/// Pictures that are decoded, encoded and written together.
const BATCH: usize = 64;

/// The settings of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportConfig {
    /// The folder.
    pub folder: PathBuf,
    /// The label of the folder for the keys of its files; by default its canonical path.
    pub source_prefix: Option<String>,
    /// Whether files are added again after their items were deleted.
    pub restore: bool,
    /// Whether a file or folder that cannot be used ends the import. Faults that are found before decoding end it before anything is added.
    pub strict: bool,
    /// Longest side of an accepted picture, in pixels; by default the limit for files.
    pub max_side: Option<u32>,
    /// Largest area of an accepted picture, in pixels; by default the limit for files.
    pub max_pixels: Option<u64>,
    /// A file with the metadata of the pictures: CSV if its name ends so, otherwise JSON Lines.
    pub metadata: Option<PathBuf>,
    /// Fields of the metadata to declare, in addition to those already declared.
    pub fields: Vec<FieldDeclaration>,
    /// Whether progress is shown in one line on a terminal.
    pub is_terminal: bool,
}

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Items that were added.
    pub added: usize,
    /// Items that were replaced, because the contents of their files have changed since they were imported.
    pub changed: usize,
    /// Files that were imported before and have not changed.
    pub known: usize,
    /// Files that were left out because their items were deleted.
    pub deleted: usize,
    /// Existing items whose metadata was replaced.
    pub described: usize,
    /// Rows of the metadata without a picture in the folder, by the name in the row.
    pub unmatched: Vec<String>,
    /// Files that cannot be used, broken links and unreadable folders, each with the reason.
    pub skipped: Vec<Skipped>,
    /// Counts of everything that was left out, by the reason. This includes entries that `skipped` does not list, such as hidden ones.
    pub left_out: LeftOut,
}

/// A file or folder that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its path below the folder. Bytes that are not UTF-8 and control characters appear as `\xFF`, and a backslash as `\\`.
    pub file: String,
    /// Why it was left out.
    pub reason: String,
}

impl Imported {
    /// Counts an entry that is left out, and lists it if the reason is a fault.
    fn leave_out(&mut self, folder: &Path, path: PathBuf, reason: Reason) {
        if reason.is_fault() {
            let file = walk::name_below(folder, &path);
            self.skipped.push(Skipped { file, reason: reason.to_string() });
        }
        self.left_out.push(path, reason);
    }
}

/// Imports as the flags say, and prints the result.
///
/// # Errors
/// When a run, index or folder cannot be opened, or the disk is full.
pub fn import(args: &ImportArgs) -> Result<()> {
    let run = Run::load(&args.run, &index_dir(&args.run, args.index.as_deref()), Access::Writable)?;
    let imported = import_into(
        &run,
        &ImportConfig {
            folder: args.input.clone(),
            source_prefix: args.source_prefix.clone(),
            restore: args.restore,
            strict: args.strict,
            max_side: args.max_side,
            max_pixels: args.max_pixels,
            metadata: args.metadata.clone(),
            fields: args.fields.clone(),
            is_terminal: io::stderr().is_terminal(),
        },
    )?;
    let mut out = io::stdout().lock();
    let Imported { added, changed, known, deleted, described, unmatched, skipped, left_out } =
        &imported;
    if let Some(summary) = left_out.summary() {
        let _ = writeln!(io::stderr(), "{summary}");
    }
    // A closed stdout is not an error.
    let _ = match (args.json, serde_json::to_string(&imported)) {
        (true, Ok(json)) => writeln!(out, "{json}"),
        _ => {
            for Skipped { file, reason } in skipped {
                let _ = writeln!(io::stderr(), "skipped {file}: {reason}");
            }
            for name in unmatched {
                let _ = writeln!(io::stderr(), "no picture {name}, which the metadata names");
            }
            let (skipped, items) = (skipped.len(), run.len());
            let described = match args.metadata {
                Some(_) => format!(" of which {described} got other metadata,"),
                None => String::new(),
            };
            writeln!(
                out,
                "{added} added, {changed} changed, {known} there already,{described} {deleted} deleted before, {skipped} skipped; {items} items"
            )
        }
    };
    Ok(())
}

/// Imports a folder into the index of a run.
///
/// # Errors
/// As for [`import`].
pub fn import_into(run: &Run, config: &ImportConfig) -> Result<Imported> {
    let ImportConfig { folder, source_prefix, max_side, max_pixels, is_terminal, .. } = config;
    let limits = Limits::of_files(
        max_side.unwrap_or(Limits::FILE_SIDE),
        max_pixels.unwrap_or(Limits::FILE_PIXELS),
    );
    let reader = PictureReader::new(limits);
    let (files, left_out) = walk::files(folder)?;
    let root = match source_prefix {
        Some(name) => name.clone(),
        None => resolved_name(folder)?,
    };
    let sidecar = sidecar(run, config)?;
    let importer =
        Importer::new(run, config, Input { root: &root, reader: &reader, sidecar: &sidecar })?;
    let unmatched = sidecar.unmatched(files.iter().map(|file| &*file.name));
    let mut imported = Imported { unmatched, ..Imported::default() };
    for Entry { path, reason } in left_out.faults() {
        imported
            .skipped
            .push(Skipped { file: walk::name_below(folder, path), reason: reason.to_string() });
    }
    imported.left_out = left_out;
    if config.strict {
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        imported.left_out.refuse_faults_and(&paths).map_err(Error::LeftOut)?;
        if let (Some(name), Some(path)) = (imported.unmatched.first(), &config.metadata) {
            let reason = format!("there is no picture {name:?} in the folder (--strict)");
            return Err(Error::Metadata { path: path.clone(), reason });
        }
    }
    let (started, mut told) = (Instant::now(), Instant::now());
    for (number, batch) in files.chunks(BATCH).enumerate() {
        importer.import(batch, &mut imported)?;
        let done = (number * BATCH + batch.len()) as f64;
        let rate = done / started.elapsed().as_secs_f64();
        let (end, pause) = if *is_terminal { ('\r', 0.2) } else { ('\n', 5.0) };
        if told.elapsed().as_secs_f64() > pause {
            told = Instant::now();
            let left = (files.len() as f64 - done) / rate;
            let _ = write!(
                io::stderr(),
                "{done} of {} files, {rate:.0} files/s, {left:.0} s left   {end}",
                files.len()
            );
        }
    }
    Ok(imported)
}

/// Declares the given fields, then reads the metadata of the pictures. Without a metadata file, the result is empty.
fn sidecar(run: &Run, config: &ImportConfig) -> Result<Sidecar> {
    let items = run.items().map_err(batch::refused)?;
    let declared = || items.catalogue().map(|catalogue| catalogue.fields()).unwrap_or_default();
    if !config.fields.is_empty() {
        let fields = declared().with(&config.fields).map_err(ChangeError::from);
        fields.and_then(|fields| items.declare(&fields)).map_err(batch::refused)?;
    }
    match &config.metadata {
        Some(path) => Sidecar::read(path, Named::ByFile, &declared()),
        None => Ok(Sidecar::default()),
    }
}

fn resolved_name(folder: &Path) -> Result<String> {
    let resolved = folder.canonicalize();
    let resolved = resolved.map_err(|source| Error::Input { path: folder.into(), source })?;
    Ok(walk::name_of(&resolved))
}
