//! A folder of part files read as one set of codes, as Spark (`part-*.parquet`) and `--shard` (`part-00003-of-00016.*`) write them.
//! The parts follow each other by name. What one file holds is `code_set.rs`'s.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::parquet;
use crate::io::shard::Shard;

/// The names of images that `dhih-train encode` writes beside their codes.
const NAMES: &str = ".files.txt";

/// A part file, and which of all rows are its own.
struct PartFile {
    file: PathBuf,
    rows: Range<usize>,
}

/// Reads a part of the rows of all files: no more files than hold some of them. Items without ids are numbered over all files.
pub(crate) fn read(folder: &Path, bits: Option<u32>, shard: Shard) -> Result<CodeSet> {
    let files = files(folder)?;
    let counts: Result<Vec<usize>> = files.par_iter().map(|file| count(file, bits)).collect();
    let (mut parts, mut end) = (Vec::new(), 0);
    for (file, count) in files.into_iter().zip(counts?) {
        parts.push(PartFile { file, rows: end..end + count });
        end += count;
    }
    let wanted = shard.range(end);
    // The first file tells what codes those of no rows would be. Where all rows are read, empty files are, too, and checked.
    let holds_some = |part: &PartFile| !common(&part.rows, &wanted).is_empty();
    let needed = parts.iter().enumerate();
    let needed = needed.filter(|(i, part)| *i == 0 || shard == Shard::WHOLE || holds_some(part));
    let needed: Vec<&PartFile> = needed.map(|(_, part)| part).collect();
    let mut joined = Joined::default();
    for needed in needed.chunks(rayon::current_num_threads()) {
        let read = |part: &&PartFile| part.read(bits, &wanted);
        let sets: Result<Vec<CodeSet>> = needed.par_iter().map(read).collect();
        for (part, set) in needed.iter().zip(sets?) {
            joined.append(&part.file, set)?;
        }
    }
    let Some((_, mut set)) = joined.0 else {
        return Err(wrong(folder, "it has no file `part-*.parquet` or `part-*.safetensors`"));
    };
    if set.ids.is_none() && shard != Shard::WHOLE {
        set.ids = Some(wanted.map(|row| row as u64).collect());
    }
    set.check().map(|()| set)
}

impl PartFile {
    fn read(&self, bits: Option<u32>, wanted: &Range<usize>) -> Result<CodeSet> {
        let set = CodeSet::map(&self.file, bits)?;
        if set.codes.len() != self.rows.len() {
            return Err(Error::codes_file(&self.file, "it is being written: wait for its job"));
        }
        let rows = common(&self.rows, wanted);
        Ok(set.slice(rows.start - self.rows.start..rows.end - self.rows.start))
    }
}

/// The files that were joined: the first with items, else the first of all, and their codes.
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
        // What has no rows has no labels of any kind either.
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
        Some(Labels::Single(_)) => "one an item".to_owned(),
        Some(Labels::MultiHot { classes, .. }) => format!("rows of {classes} columns"),
    }
}

fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start).min(a.end);
    start..a.end.min(b.end).max(start)
}

fn count(file: &Path, bits: Option<u32>) -> Result<usize> {
    match parquet::is_one(file) {
        true => parquet::rows_of(file),
        false => Ok(CodeSet::map(file, bits)?.codes.len()),
    }
}

fn wrong(folder: &Path, reason: impl Into<String>) -> Error {
    Error::PartFiles { folder: folder.to_owned(), reason: reason.into() }
}

/// The part files, by name, none of them missing as far as their names tell.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // As Spark names them: what begins with these is no data.
        let hidden = name.starts_with(['_', '.']);
        if name == "_temporary" {
            let reason = "its job has not ended: wait for it, or run it again where it was stopped";
            return Err(wrong(folder, reason));
        }
        if !hidden && entry.path().is_dir() {
            let reason = format!(
                "it has the folder {name}, which is not searched: name that one, or write the codes without `partitionBy`"
            );
            return Err(wrong(folder, reason));
        }
        if hidden || !name.starts_with("part-") || name.ends_with(NAMES) {
            continue;
        }
        if !name.ends_with(".parquet") && !name.ends_with(".safetensors") {
            return Err(wrong(folder, format!("{name} is no .parquet and no .safetensors file")));
        }
        names.push(name);
    }
    names.sort();
    let shards: Vec<Shard> = names.iter().filter_map(|name| Shard::of_file_name(name)).collect();
    if !shards.is_empty() {
        let others = names.len() - shards.len();
        check_shards(&shards, others).map_err(|reason| wrong(folder, reason))?;
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Refuses parts in their order that are not each of one job once, or that have other files between them.
fn check_shards(shards: &[Shard], others: usize) -> std::result::Result<(), String> {
    let count = shards.first().map_or(0, |first| first.count());
    if others > 0 || shards.iter().any(|part| part.count() != count) {
        return Err("its files are parts of different jobs: leave those of one of them".to_owned());
    }
    let numbers = shards.iter().map(|part| part.number()).chain([count + 1]);
    for (number, expected) in numbers.zip(1..) {
        if number < expected {
            return Err(format!("part {number}/{count} is there twice: leave one of its files"));
        }
        if number > expected {
            return Err(format!("part {expected}/{count} is missing: run that part"));
        }
    }
    Ok(())
}
