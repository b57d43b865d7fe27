//! A folder of part files, read as one set of codes: Spark and pyarrow write `part-*.parquet`, `--shard` writes
//! `part-00003-of-00016.*`. The files are joined in the natural order of their names, which is the order of the rows that their
//! writer divided: `part-2` comes before `part-10`. What a single file holds: `mod.rs` and the modules of the formats.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
#[cfg(not(feature = "parquet"))]
use crate::io::disabled::parquet;
use crate::io::fault::Fault;
#[cfg(feature = "parquet")]
use crate::io::parquet;
use crate::io::shard::Shard;
use crate::io::{CodesFormat, check_file, natural_order};

/// The ends of the names of the lists of images that `dhih-train encode` writes beside their codes.
const IMAGE_NAMES: [&str; 2] = [".files.txt", ".files.jsonl"];

/// A part file, and its rows among the rows of all files.
struct PartFile {
    file: PathBuf,
    rows: Range<usize>,
}

/// Reads one part of a job over the rows of all files, and no more files than hold some of these rows. Items without ids are
/// numbered over all files.
pub(crate) fn read(folder: &Path, bits: Option<u32>, shard: Shard) -> Result<CodeSet> {
    let paths = paths(folder)?;
    paths.iter().try_for_each(|path| check_file(path))?;
    // All results are collected, instead of the first error of any thread, so that the same folder always gives the same error.
    let counts: Vec<Result<usize>> = paths.par_iter().map(|file| count_rows(file, bits)).collect();
    let (mut files, mut end) = (Vec::new(), 0);
    for (file, count) in paths.into_iter().zip(counts) {
        let count = count?;
        // A damaged file may claim any number of rows, which is compared with what is read of it.
        let rows = end..usize::saturating_add(end, count);
        end = rows.end;
        files.push(PartFile { file, rows });
    }
    let wanted = shard.range(end);
    // A part of no rows has the kind of codes of the first file. Where all rows are read, the files without rows are read as
    // well, so that a file that does not belong to the job is found.
    let is_needed = |(number, file): &(usize, &PartFile)| {
        *number == 0 || shard == Shard::WHOLE || !overlap(&file.rows, &wanted).is_empty()
    };
    let needed = files.iter().enumerate().filter(is_needed);
    let needed: Vec<&PartFile> = needed.map(|(_, file)| file).collect();
    let mut joined = Joined::default();
    for needed in needed.chunks(rayon::current_num_threads()) {
        let read = |file: &&PartFile| file.read(bits, &wanted);
        let sets: Vec<Result<CodeSet>> = needed.par_iter().map(read).collect();
        for (file, set) in needed.iter().zip(sets) {
            joined.append(&file.file, set?)?;
        }
    }
    let Some((_, mut set)) = joined.0 else {
        return Err(unusable(folder, "it has no file `part-*.parquet` or `part-*.safetensors`"));
    };
    if set.ids.is_none() && shard != Shard::WHOLE {
        set.ids = Some(wanted.map(|row| row as u64).collect());
    }
    set.check().map(|()| set)
}

impl PartFile {
    /// Reads those rows of the file that are wanted of all rows.
    fn read(&self, bits: Option<u32>, wanted: &Range<usize>) -> Result<CodeSet> {
        let set = CodeSet::map(&self.file, bits)?;
        if set.codes.len() != self.rows.len() {
            let reason = "a job is still writing it: wait for the job to end";
            return Err(Fault::from(reason).at(&self.file));
        }
        let rows = overlap(&self.rows, wanted);
        Ok(set.slice(rows.start - self.rows.start..rows.end - self.rows.start))
    }
}

/// The codes that were joined so far, and the file that the next files are compared with: the first that has items, or the
/// first of all while none has.
#[derive(Default)]
struct Joined(Option<(PathBuf, CodeSet)>);

impl Joined {
    fn append(&mut self, file: &Path, set: CodeSet) -> Result<()> {
        let Some((first, all)) = &mut self.0 else {
            self.0 = Some((file.to_owned(), set));
            return Ok(());
        };
        let differ = |what: &'static str, a: &dyn ToString, b: &dyn ToString| {
            let (first, file) = (first.as_path().into(), file.into());
            let (expected, found) = (a.to_string().into(), b.to_string().into());
            Err(Error::PartsDiffer { what, first, expected, file, found })
        };
        let model = |set: &CodeSet| set.model_sha256.clone().unwrap_or_else(|| "none named".into());
        if all.codes.bits() != set.codes.bits() {
            return differ("bits", &all.codes.bits(), &set.codes.bits());
        }
        if all.model_sha256 != set.model_sha256 {
            return differ("model", &model(all), &model(&set));
        }
        let precision = |set: &CodeSet| set.precision.clone().unwrap_or_else(|| "f32".into());
        if all.precision != set.precision {
            return differ("precision", &precision(all), &precision(&set));
        }
        // A file without rows says nothing about ids and labels: it has none of any kind.
        if set.codes.is_empty() {
            return Ok(());
        }
        if all.codes.is_empty() {
            self.0 = Some((file.to_owned(), set));
            return Ok(());
        }
        let ids = |set: &CodeSet| if set.ids.is_some() { "some" } else { "none" };
        if all.ids.is_some() != set.ids.is_some() {
            return differ("ids", &ids(all), &ids(&set));
        }
        let (a, b) = (kind(all.labels.as_ref()), kind(set.labels.as_ref()));
        if a != b {
            return differ("labels", &a, &b);
        }
        if all.classes != set.classes {
            return differ("classes", &all.classes.join(", "), &set.classes.join(", "));
        }
        all.append(set);
        Ok(())
    }
}

fn kind(labels: Option<&Labels>) -> String {
    match labels {
        None => "none".to_owned(),
        Some(Labels::Single(_)) => "a number for each item".to_owned(),
        Some(Labels::MultiHot { classes, .. }) => format!("rows of {classes} columns"),
    }
}

/// The rows that are in both ranges; an empty range within `a` where there are none.
fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start).min(a.end);
    start..a.end.min(b.end).max(start)
}

fn count_rows(file: &Path, bits: Option<u32>) -> Result<usize> {
    match CodesFormat::of_file(file) {
        CodesFormat::Parquet => parquet::count_rows(file),
        _ => Ok(CodeSet::map(file, bits)?.codes.len()),
    }
}

fn unusable(folder: &Path, reason: impl Into<String>) -> Error {
    Error::PartFiles { folder: folder.to_owned(), reason: reason.into() }
}

/// The part files in the natural order of their names. If the names tell how many there are, a missing file is an error.
fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Spark gives such names to files that are not data, as do file systems and editors.
        let hidden = name.starts_with(['_', '.']);
        if name == "_temporary" {
            let reason = "its job has not ended: wait for it, or run it again if it was stopped";
            return Err(unusable(folder, reason));
        }
        if !hidden && entry.path().is_dir() {
            let reason = format!(
                "it has the folder {name}, and folders within are not read: name that folder, or write the codes without \
                 `partitionBy`"
            );
            return Err(unusable(folder, reason));
        }
        let names_images = IMAGE_NAMES.iter().any(|end| name.ends_with(end));
        if hidden || !name.starts_with("part-") || names_images {
            continue;
        }
        if !name.ends_with(".parquet") && !name.ends_with(".safetensors") {
            return Err(unusable(
                folder,
                format!("{name} is neither a .parquet nor a .safetensors file"),
            ));
        }
        names.push(name);
    }
    names.sort_by(|a, b| natural_order::compare(a, b));
    let shards: Vec<Shard> = names.iter().filter_map(|name| Shard::of_file_name(name)).collect();
    if !shards.is_empty() {
        let others = names.len() - shards.len();
        check_shards(&shards, others).map_err(|reason| unusable(folder, reason))?;
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Refuses part files that are not all parts of one job, each once. `shards` are in their order, and `others` is the number of part
/// files whose names do not tell which part they are.
fn check_shards(shards: &[Shard], others: usize) -> std::result::Result<(), String> {
    let count = shards.first().map_or(0, |first| first.count());
    if others > 0 || shards.iter().any(|part| part.count() != count) {
        return Err("its files are parts of different jobs: leave the files of one job".to_owned());
    }
    let numbers = shards.iter().map(|part| part.number()).chain([count + 1]);
    for (number, expected) in numbers.zip(1..) {
        if number < expected {
            return Err(format!(
                "part {number}/{count} is there twice: leave one of the two files"
            ));
        }
        if number > expected {
            return Err(format!("part {expected}/{count} is missing: run that part of the job"));
        }
    }
    Ok(())
}
