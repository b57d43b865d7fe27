//! `dhih-serve import`: the pictures of a folder into index and catalogue, in batches. What was imported is known by its path
//! below the folder, so that an import that was cut off, or repeated, goes on where it was.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use dhih_model::image::{Limits, Picture, decode};
use serde::Serialize;

use crate::items::catalogue::Record;
use crate::items::thumbnail::thumbnail;
use crate::items::{Access, ChangeError, NewItem};
use crate::operation::cli::ImportArgs;
use crate::operation::config::index_dir;
use crate::run::Run;
use crate::{Error, Result};

/// Pictures that are encoded and written together.
const BATCH: usize = 64;
/// The endings of files that are looked at.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Items added.
    pub added: usize,
    /// Files that were there already.
    pub known: usize,
    /// Files that are no pictures or cannot be used, each with the reason.
    pub skipped: Vec<Skipped>,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its path below the folder.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Imports as the flags say, and prints what came of it.
///
/// # Errors
/// A run, index or folder that cannot be opened; a disk that takes no more.
pub fn import(args: &ImportArgs) -> Result<()> {
    let run = Run::load(&args.run, &index_dir(&args.run, args.index.as_deref()), Access::Writable)?;
    let imported = import_into(&run, &args.input, io::stderr().is_terminal())?;
    let mut out = io::stdout().lock();
    let Imported { added, known, skipped } = &imported;
    // A closed stdout leaves nobody to tell.
    let _ = match (args.json, serde_json::to_string(&imported)) {
        (true, Ok(json)) => writeln!(out, "{json}"),
        _ => {
            for Skipped { file, reason } in skipped {
                let _ = writeln!(io::stderr(), "skipped {file}: {reason}");
            }
            let skipped = skipped.len();
            writeln!(
                out,
                "{added} added, {known} there already, {skipped} skipped; {} items",
                run.len()
            )
        }
    };
    Ok(())
}

/// Imports a folder into a run's index.
///
/// # Errors
/// As for [`import`].
pub fn import_into(run: &Run, folder: &Path, is_terminal: bool) -> Result<Imported> {
    let files = files(folder)?;
    let mut imported = Imported::default();
    let (started, mut told) = (Instant::now(), Instant::now());
    for (number, batch) in files.chunks(BATCH).enumerate() {
        add(run, folder, batch, &mut imported)?;
        let done = (number * BATCH + batch.len()) as f64;
        let rate = done / started.elapsed().as_secs_f64();
        let (end, pause) = if is_terminal { ('\r', 0.2) } else { ('\n', 5.0) };
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

fn add(run: &Run, folder: &Path, batch: &[String], imported: &mut Imported) -> Result<()> {
    let Ok(local) = run.items() else { return Ok(()) };
    let Some(catalogue) = local.catalogue() else { return Ok(()) };
    let (mut pixels, mut items) = (Vec::new(), Vec::new());
    for source in batch {
        if catalogue.of_source(source)?.is_some() {
            imported.known += 1;
            continue;
        }
        match picture(&folder.join(source)) {
            Ok((picture, thumbnail)) => {
                pixels.extend(run.fit(&picture));
                let labels = run.labels_of(source);
                let record = Record { code: String::new(), labels, source: Some(source.clone()) };
                items.push(NewItem { id: None, record, thumbnail, imported: true });
            }
            Err(reason) => imported.skipped.push(Skipped { file: source.clone(), reason }),
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| Error::Unusable {
        reason: format!("the network failed: {error}"),
        make: "cargo run --release -p dhih-train".into(),
    };
    let values = run.encoder().encode(&pixels).map_err(|e| failed(&e))?;
    for (item, values) in items.iter_mut().zip(values.chunks(run.bits() as usize)) {
        item.record.code = dhih_index::to_hex(&run.pack(values).map_err(|e| failed(&e))?);
    }
    let added = local.add(items).map_err(|refusal| match refusal {
        ChangeError::Failed(error) => error,
        other => failed(&other),
    })?;
    imported.added += added.len();
    Ok(())
}

fn picture(path: &Path) -> Result<(Picture, Vec<u8>), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let picture = decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    let thumbnail = thumbnail(&picture).map_err(|error| error.to_string())?;
    Ok((picture, thumbnail))
}

/// The pictures below a folder, by path, with `/` between its parts. Links are followed to files, not to folders, which may lead
/// in circles.
fn files(folder: &Path) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = folders.pop() {
        let here = folder.join(&below);
        let unreadable = |error| Error::Input { path: here.clone(), source: error };
        for entry in std::fs::read_dir(&here).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = below.join(entry.file_name());
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
                continue;
            }
            let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            if ending.is_some_and(|ending| ENDINGS.contains(&&*ending)) {
                let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
                found.push(parts.collect::<Vec<_>>().join("/"));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}
