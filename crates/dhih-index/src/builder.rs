//! Building an index: grouping equal codes, building the tables, writing the directory so that the
//! old index or the new one is there at any moment. The layout: `format.rs`.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use rayon::prelude::*;

use crate::atomic_file::{self, TEMPORARY};
use crate::code_set::{CodeSet, Labels};
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::format::{self, Content, Counts, Kind};
use crate::manifest::{self, Entry, Manifest};
use crate::segment::Metadata;
use crate::substring;
use crate::table::TableData;

/// How an index is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexConfig {
    /// Number of substrings, a table for each; `None` chooses it from the number and the length of
    /// the codes.
    pub substrings: Option<u32>,
}

/// Builds index directories.
#[derive(Debug, Clone, Default)]
pub struct IndexBuilder {
    config: IndexConfig,
}

impl IndexBuilder {
    /// A builder of indexes of this configuration.
    pub fn new(config: IndexConfig) -> Self {
        Self { config }
    }

    /// Builds an index of these codes in `dir`, which is made where it is missing and whose index,
    /// if it has one, is replaced in one step. The same codes give the same bytes.
    ///
    /// # Errors
    /// What [`CodeSet::check`] refuses, 2^32 - 1 codes or more, a number of substrings that does
    /// not suit the codes' length, a directory that cannot be written or that another process is
    /// writing.
    pub fn build(&self, set: &CodeSet, dir: &Path) -> Result<()> {
        set.check()?;
        if set.codes.len() >= u32::MAX as usize {
            return Err(Error::TooMany { codes: set.codes.len() });
        }
        if let Some(count) = self.config.substrings {
            substring::split(set.codes.bits(), count)?;
        }
        fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
        let _lock = lock(dir)?;
        let segment = self.write_segment(set, dir)?;
        let file = segment.file.clone();
        Manifest::new(segment).write(dir)?;
        sweep(dir, &file);
        Ok(())
    }

    fn write_segment(&self, set: &CodeSet, dir: &Path) -> Result<Entry> {
        let (bits, width) = (set.codes.bits(), set.codes.bytes_per_code());
        let by_id = rows_by_id(set.ids.as_deref(), set.codes.len());
        let groups = Groups::of(&set.codes, by_id.as_deref());
        let distinct = groups.codes.len() / width;
        let count = self.config.substrings.unwrap_or_else(|| substring::choose(bits, distinct));
        let substrings = substring::split(bits, count)?;
        let tables: Vec<TableData> = substrings
            .into_par_iter()
            .map(|substring| TableData::build(substring, &groups.codes, width))
            .collect();

        let (metadata, labels) = (metadata(set)?, labels(set, by_id.as_deref()));
        let ids = set.ids.as_ref().map(|ids| in_order(ids, by_id.as_deref()));
        let ids = ids.filter(|ids| !ids.iter().copied().eq(0..ids.len() as u64));
        let list: Vec<[u32; 4]> = tables.iter().map(entry).collect();

        let mut contents = vec![
            whole(Kind::Metadata, &metadata),
            whole(Kind::Codes, &groups.codes),
            whole(Kind::Starts, bytes(&groups.starts)),
            whole(Kind::Rows, bytes(&groups.rows)),
            whole(Kind::CodeOfRow, bytes(&groups.code_of_row)),
        ];
        contents.extend(ids.as_ref().map(|ids| whole(Kind::Ids, bytemuck::cast_slice(ids))));
        contents.extend(labels.as_ref().map(|labels| whole(Kind::Labels, labels)));
        contents.push(whole(Kind::Substrings, bytemuck::cast_slice(&list)));
        for (part, table) in (0..).zip(&tables) {
            let mut push = |kind, words| contents.push(Content { kind, part, bytes: bytes(words) });
            push(Kind::Directory, &table.directory);
            if table.prefix_bits < table.substring.bits {
                push(Kind::Keys, &table.keys);
                push(Kind::KeyStarts, &table.key_starts);
            }
            push(Kind::Postings, &table.postings);
        }
        contents.sort_by_key(|content| (content.kind, content.part));

        let (codes, distinct) = (set.codes.len() as u64, distinct as u64);
        let counts = Counts { bits, substrings: count, codes, distinct };
        let (head, header) = format::encode(counts, &contents);
        let entry = Entry::new(header.file_bytes, header.xxh3);
        let path = dir.join(&entry.file);
        atomic_file::write(&path, |out| format::write(out, &head, &header, &contents))?;
        Ok(entry)
    }
}

/// Equal codes together: each once, with the rows that have it.
struct Groups {
    codes: Vec<u8>,
    starts: Vec<u32>,
    rows: Vec<u32>,
    code_of_row: Vec<u32>,
}

impl Groups {
    fn of(codes: &Codes, by_id: Option<&[u32]>) -> Self {
        let code = |row: u32| codes.get(by_id.map_or(row, |order| order[row as usize]) as usize);
        let rows = sorted_rows(codes, code);
        let (mut distinct, mut starts) = (Vec::new(), Vec::new());
        let mut code_of_row = vec![0; rows.len()];
        for (at, &row) in rows.iter().enumerate() {
            if at == 0 || code(row) != code(rows[at - 1]) {
                distinct.extend_from_slice(code(row));
                starts.push(at as u32);
            }
            code_of_row[row as usize] = starts.len() as u32 - 1;
        }
        starts.push(rows.len() as u32);
        Self { codes: distinct, starts, rows, code_of_row }
    }
}

/// The rows by code (as a byte string), then by number.
fn sorted_rows<'a>(codes: &Codes, code: impl Fn(u32) -> &'a [u8] + Sync) -> Vec<u32> {
    let rows = 0..codes.len() as u32;
    if codes.bytes_per_code() > 8 {
        let mut rows: Vec<u32> = rows.collect();
        rows.par_sort_unstable_by(|&a, &b| code(a).cmp(code(b)).then(a.cmp(&b)));
        return rows;
    }
    // Short codes are sorted as numbers, first byte highest.
    let number = |row| code(row).iter().fold(0_u64, |word, &byte| (word << 8) | u64::from(byte));
    let mut pairs: Vec<(u64, u32)> = rows.map(|row| (number(row), row)).collect();
    pairs.par_sort_unstable();
    pairs.into_iter().map(|(_, row)| row).collect()
}

/// Which item is which row: rows ascend by id. `None` where items do already.
fn rows_by_id(ids: Option<&[u64]>, count: usize) -> Option<Vec<u32>> {
    let ids = ids.filter(|ids| !ids.is_sorted())?;
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.par_sort_unstable_by_key(|&item| ids[item as usize]);
    Some(order)
}

fn in_order<T: Copy>(values: &[T], order: Option<&[u32]>) -> Vec<T> {
    match order {
        Some(order) => order.iter().map(|&item| values[item as usize]).collect(),
        None => values.to_vec(),
    }
}

fn labels(set: &CodeSet, order: Option<&[u32]>) -> Option<Vec<u8>> {
    match set.labels.as_ref()? {
        Labels::Single(labels) => Some(bytemuck::cast_slice(&in_order(labels, order)).to_vec()),
        Labels::MultiHot { classes, values } => {
            let rows: Vec<&[u8]> = values.chunks_exact(*classes).collect();
            Some(in_order(&rows, order).concat())
        }
    }
}

fn metadata(set: &CodeSet) -> Result<Vec<u8>> {
    let label_columns = match &set.labels {
        Some(Labels::MultiHot { classes, .. }) => Some(*classes),
        _ => None,
    };
    let (model_sha256, classes) = (set.model_sha256.clone(), set.classes.clone());
    let metadata = Metadata { model_sha256, classes, label_columns };
    serde_json::to_vec(&metadata)
        .map_err(|error| Error::io("encode metadata for", Path::new("index"))(error.into()))
}

fn entry(table: &TableData) -> [u32; 4] {
    let TableData { substring, prefix_bits, keys, .. } = table;
    [substring.start, substring.bits, *prefix_bits, keys.len() as u32]
}

fn whole(kind: Kind, bytes: &[u8]) -> Content<'_> {
    Content { kind, part: 0, bytes }
}

fn bytes(words: &[u32]) -> &[u8] {
    bytemuck::cast_slice(words)
}

/// Keeps other writers out until the file is closed, by whatever end.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(cause)) => Err(Error::io("lock", &path)(cause)),
    }
}

/// Removes data files that the manifest no longer names and what an interrupted build left. What
/// cannot be removed now is harmless and goes with the next build.
fn sweep(dir: &Path, current: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let segment = name.starts_with("segment-") && name.ends_with(".dhih") && name != current;
        let ours = [".segment-", &format!(".{}.", manifest::FILE)];
        let left = name.ends_with(TEMPORARY) && ours.iter().any(|start| name.starts_with(start));
        if segment || left {
            let _ = fs::remove_file(entry.path());
        }
    }
}
