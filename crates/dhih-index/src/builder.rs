//! Building an index: grouping equal codes, building the tables, writing the directory so that the
//! old index or the new one is there at any moment. The layout: `format.rs`.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use rayon::prelude::*;

use crate::code_set::{CodeSet, Labels};
use crate::disk::{self, TEMPORARY};
use crate::error::{Error, Result};
use crate::format::{self, Content, Counts, Kind};
use crate::groups::Groups;
use crate::manifest::{self, Entry, Manifest};
use crate::sample;
use crate::segment::{Metadata, Segment};
use crate::substring::{self, Substring};
use crate::table::{COPIED, TableData};
use crate::whole::WholeData;

/// How an index is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexConfig {
    /// Number of substrings, a table for each; `None` chooses it from the number and the length of
    /// the codes.
    pub substrings: Option<u32>,
}

/// Where more than this part of the items have a code of their own, near neighbours are rarely so near that looking up whole
/// codes finds them.
const MOSTLY_DISTINCT: f64 = 0.95;
/// So few codes can all be looked up, whatever they are like.
const FEW: usize = 100_000;

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
        self.check(set)?;
        fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
        let _lock = lock(dir)?;
        let entry = self.write_segment(set, dir)?;
        let manifest = Manifest::new(vec![entry], None);
        manifest.write(dir)?;
        sweep(dir, &manifest);
        Ok(())
    }

    /// Refuses what cannot be built.
    fn check(&self, set: &CodeSet) -> Result<()> {
        set.check()?;
        if set.codes.len() >= u32::MAX as usize {
            return Err(Error::TooMany { codes: set.codes.len() });
        }
        match self.config.substrings {
            Some(count) => substring::choose(set.codes.bits(), &[], Some(count)).map(drop),
            None => Ok(()),
        }
    }

    /// Writes a data file, under a name that no manifest knows yet.
    pub(crate) fn write_segment(&self, set: &CodeSet, dir: &Path) -> Result<Entry> {
        let (bits, width) = (set.codes.bits(), set.codes.bytes_per_code());
        let by_id = rows_by_id(set.ids.as_deref(), set.codes.len());
        let substrings = substring::choose(bits, set.codes.as_bytes(), self.config.substrings)?;
        let groups = Groups::of(&set.codes, by_id.as_deref(), &substrings[0]);
        let distinct = groups.codes.len() / width;
        let table = |(part, substring): (usize, &Substring)| match part {
            0 => TableData::of_sorted(substring, &groups.codes, width),
            _ => TableData::build(substring, &groups.codes, width),
        };
        let tables: Vec<TableData> =
            substrings.par_iter().enumerate().map(|(i, s)| table((i, s))).collect();
        let whole = (distinct as f64 <= MOSTLY_DISTINCT * set.codes.len() as f64
            || distinct <= FEW)
            .then(|| WholeData::build(&groups.codes, width));

        let (metadata, labels) = (metadata(set)?, labels(set, by_id.as_deref()));
        let ids = set.ids.as_ref().map(|ids| in_order(ids, by_id.as_deref()));
        let ids = ids.filter(|ids| !ids.iter().copied().eq(0..ids.len() as u64));
        let list: Vec<u8> = substrings.iter().flat_map(entry).collect();

        let mut contents = vec![
            whole_section(Kind::Metadata, &metadata),
            whole_section(Kind::Codes, &groups.codes),
            whole_section(Kind::Rows, bytes(&groups.rows)),
            whole_section(Kind::CodeOfRow, bytes(&groups.code_of_row)),
            whole_section(Kind::Substrings, &list),
        ];
        if distinct < set.codes.len() {
            contents.push(whole_section(Kind::Starts, bytes(&groups.starts)));
        }
        contents
            .extend(ids.as_ref().map(|ids| whole_section(Kind::Ids, bytemuck::cast_slice(ids))));
        contents.extend(labels.as_ref().map(|labels| whole_section(Kind::Labels, labels)));
        for (part, table) in (0..).zip(&tables) {
            contents.push(Content { kind: Kind::Directory, part, bytes: bytes(&table.directory) });
            if part > 0 {
                contents.push(Content {
                    kind: Kind::Postings,
                    part,
                    bytes: bytes(&table.postings),
                });
                if width <= COPIED {
                    contents.push(Content { kind: Kind::TableCodes, part, bytes: &table.codes });
                }
            }
        }
        if let Some(whole) = &whole {
            contents.push(whole_section(Kind::Tags, &whole.tags));
            contents.push(whole_section(Kind::Slots, bytes(&whole.slots)));
        }
        contents.sort_by_key(|content| (content.kind, content.part));

        let (codes, distinct) = (set.codes.len() as u64, distinct as u64);
        let counts = Counts { bits, substrings: substrings.len() as u32, codes, distinct };
        let (head, header) = format::encode(counts, &contents);
        let entry = Entry::new(header.file_bytes, header.xxh3);
        let path = dir.join(&entry.file);
        disk::write(&path, |out| format::write(out, &head, &header, &contents))?;
        let profile = sample::profile(&Segment::open(&path)?)?;
        Ok(Entry { profile, ..entry })
    }
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

/// A substring as it is written: its length, then its bits, then zeros.
fn entry(substring: &Substring) -> [u8; format::SUBSTRING] {
    let mut words = [0_u16; format::SUBSTRING / 2];
    words[0] = substring.bits() as u16;
    words[1..=substring.positions().len()].copy_from_slice(substring.positions());
    bytemuck::cast(words)
}

fn whole_section(kind: Kind, bytes: &[u8]) -> Content<'_> {
    Content { kind, part: 0, bytes }
}

fn bytes(words: &[u32]) -> &[u8] {
    bytemuck::cast_slice(words)
}

/// Keeps other writers out until the file is closed, by whatever end.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(cause)) => Err(Error::io("lock", &path)(cause)),
    }
}

/// Removes data files and logs that the manifest does not name and what was interrupted left. What cannot be removed now is
/// harmless and goes another time.
pub(crate) fn sweep(dir: &Path, manifest: &Manifest) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = ["segment-", "log-"].iter().any(|start| name.starts_with(start));
        let stale = ours && name.ends_with(".dhih") && !manifest.names(name);
        let begun = [".segment-", ".log-", &format!(".{}.", manifest::FILE)];
        let left = name.ends_with(TEMPORARY) && begun.iter().any(|start| name.starts_with(start));
        if stale || left {
            disk::remove(&entry.path());
        }
    }
}
