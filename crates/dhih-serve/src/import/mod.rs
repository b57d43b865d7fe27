//! `dhih-serve import`: the pictures of a folder into index and catalogue, in batches, so that an import that was cut off, or is repeated,
//! goes on where it was. A file is known by the folder it is in and by its path below it, and is compared by its content.
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
use dhih_model::walk::{Entry, LeftOut, Reason, faults_of};
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

/// What is imported, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportConfig {
    /// The folder.
    pub folder: PathBuf,
    /// The name by which the folder's files are known; by default its path, with links resolved.
    pub source_prefix: Option<String>,
    /// Whether files are added again whose items were deleted.
    pub restore: bool,
    /// Whether a file or folder that cannot be used ends the import, before anything is added where it is seen by then.
    pub strict: bool,
    /// Longest side of a picture that is taken, in pixels; by default that of files.
    pub max_side: Option<u32>,
    /// Largest area of a picture that is taken, in pixels; by default that of files.
    pub max_pixels: Option<u64>,
    /// A file with the metadata of the pictures: CSV by its name, otherwise JSON Lines.
    pub metadata: Option<PathBuf>,
    /// Fields of the metadata that filters may name, beside those that are declared already.
    pub fields: Vec<FieldDeclaration>,
    /// Whether progress is told to a terminal, in one line.
    pub is_terminal: bool,
}

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Items added.
    pub added: usize,
    /// Items replaced, because their files have other contents than when they were imported.
    pub changed: usize,
    /// Files that were there already.
    pub known: usize,
    /// Files that were left out because their items were deleted.
    pub deleted: usize,
    /// Items that were there already and got other metadata.
    pub described: usize,
    /// Rows of the metadata that name no picture of the folder, by the name that they give.
    pub unmatched: Vec<String>,
    /// Files that cannot be used, links that lead nowhere and folders that cannot be read, each with the reason.
    pub skipped: Vec<Skipped>,
    /// All that was left out, counted by the reason: hidden names, for example, beside what `skipped` lists.
    pub left_out: LeftOut,
}

/// A file or folder that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its path below the folder. Bytes that are no UTF-8 and control characters are written `\xFF`, and a backslash `\\`.
    pub file: String,
    /// Why.
    pub reason: String,
}

impl Imported {
    /// Counts what is left out, and lists it where that is a fault.
    fn leave_out(&mut self, folder: &Path, path: PathBuf, reason: Reason) {
        if reason.is_fault() {
            let file = walk::name_below(folder, &path);
            self.skipped.push(Skipped { file, reason: reason.to_string() });
        }
        self.left_out.push(path, reason);
    }
}

/// Imports as the flags say, and prints what came of it.
///
/// # Errors
/// A run, index or folder that cannot be opened; a disk that takes no more.
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
    // A closed stdout leaves nobody to tell.
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

/// Imports a folder into a run's index.
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
        imported.left_out.append(faults_of(&paths));
        imported.left_out.refuse_faults().map_err(Error::LeftOut)?;
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

/// The metadata of the pictures, read once the fields are declared that are to be; of no picture where there is no file.
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
