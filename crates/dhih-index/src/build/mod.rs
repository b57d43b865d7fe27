//! Building an index: grouping equal codes, building the tables, each while the one before it is written, replacing the
//! directory's index so that the old one or the new one is there at any moment. The layout: `format.rs`.

pub(crate) mod groups;
pub(crate) mod partition;
pub(crate) mod sample;

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::build::groups::Groups;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::store::assembly::{Assembly, assemble};
use crate::store::disk::{self, NewFile};
use crate::store::format::{self, Counts, Kind, Origin};
use crate::store::lock::lock;
use crate::store::manifest::{Entry, Manifest};
use crate::store::segment::{Metadata, Segment};
use crate::store::sweep::sweep;
use crate::table::code_hash::{self, CodeHashData};
use crate::table::substring::{self, Substring};
use crate::table::{COPIED, TableData};

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
    told: Option<fn(&str, Duration)>,
}

impl IndexBuilder {
    /// A builder of indexes of this configuration.
    pub fn new(config: IndexConfig) -> Self {
        Self { config, told: None }
    }

    /// Calls `told` after each stage of a build: what was done, and the time since the build began.
    #[must_use]
    pub fn on_stage(self, told: fn(&str, Duration)) -> Self {
        Self { told: Some(told), ..self }
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
        disk::make_directory(dir).map_err(Error::io("make", dir))?;
        let _lock = lock(dir)?;
        // An index that is built in the place of another goes on counting.
        let generation = Manifest::last_generation(dir) + 1;
        let entry = self.write_segment(set, Origin { id: 0, generation }, dir)?;
        // Codes that stay in a mapped file may have been overwritten while they were sorted.
        set.check_unchanged()?;
        let origin = Segment::open(&dir.join(&entry.file))?.header.origin;
        let manifest = Manifest::new(origin, vec![entry], None);
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
    pub(crate) fn write_segment(&self, set: &CodeSet, origin: Origin, dir: &Path) -> Result<Entry> {
        let (bits, count, start) = (set.codes.bits(), set.codes.len(), Instant::now());
        let done = |what: &str| self.told.into_iter().for_each(|told| told(what, start.elapsed()));
        let by_id = rows_by_id(set.ids.as_deref(), count);
        let substrings = substring::choose(bits, set.codes.as_bytes(), self.config.substrings)?;
        let groups = Groups::of(&set.codes, by_id.as_deref(), &substrings[0]);
        let (width, distinct) = (set.codes.bytes_per_code(), groups.starts.len() - 1);
        done(&format!("sorted {count} codes, {distinct} different"));

        let ids = set.ids.as_deref().filter(|ids| !ids.iter().copied().eq(0..count as u64));
        let items = Items {
            metadata: metadata(set)?,
            ids: ids.map(|ids| in_order(ids, by_id.as_deref())),
            labels: labels(set, by_id.as_deref()),
        };
        let whole = distinct as f64 <= MOSTLY_DISTINCT * count as f64 || distinct <= FEW;
        let contents = Contents { width, distinct, substrings: &substrings, items: &items, whole };
        let new = NewFile::create(dir, "segment-").map_err(Error::io("write", dir))?;
        let counts = Counts {
            bits,
            substrings: substrings.len() as u32,
            codes: count as u64,
            distinct: distinct as u64,
        };
        let lengths = contents.lengths(&groups);
        let xxh3 =
            assemble(&new, counts, origin, lengths, |out| contents.write(groups, out, &done));
        let xxh3 = xxh3.map_err(Error::io("write", new.path()))?;

        let segment = Segment::open(new.path())?;
        let entry = Entry::new(segment.header.file_bytes, xxh3);
        let path = dir.join(&entry.file);
        let profile = new.sync_during(|| sample::profile(&segment));
        let profile = profile.map_err(Error::io("write", &path))??;
        new.rename(&path).map_err(Error::io("write", &path))?;
        done(&format!("wrote and sampled {} bytes", entry.bytes));
        Ok(Entry { profile, ..entry })
    }
}

/// What is said of the items.
struct Items<'a> {
    metadata: Vec<u8>,
    ids: Option<Cow<'a, [u64]>>,
    labels: Option<Cow<'a, [u8]>>,
}

/// What a data file will hold.
struct Contents<'a> {
    width: usize,
    distinct: usize,
    substrings: &'a [Substring],
    items: &'a Items<'a>,
    /// Whether it has a table of whole codes.
    whole: bool,
}

impl Contents<'_> {
    /// Kind, part and bytes of each section.
    fn lengths(&self, groups: &Groups) -> Vec<(Kind, u32, usize)> {
        let (count, distinct) = (groups.rows.len(), self.distinct);
        let mut lengths = vec![
            (Kind::Metadata, 0, self.items.metadata.len()),
            (Kind::Codes, 0, groups.codes.len()),
            (Kind::Rows, 0, 4 * count),
            (Kind::CodeOfRow, 0, 4 * count),
            (Kind::Substrings, 0, format::SUBSTRING * self.substrings.len()),
        ];
        if distinct < count {
            lengths.push((Kind::Starts, 0, 4 * (distinct + 1)));
        }
        lengths.extend(self.items.ids.as_ref().map(|ids| (Kind::Ids, 0, 8 * ids.len())));
        lengths.extend(self.items.labels.as_ref().map(|labels| (Kind::Labels, 0, labels.len())));
        for (part, substring) in (0..).zip(self.substrings) {
            lengths.push((Kind::Directory, part, 4 * ((1 << substring.bits()) + 1)));
            if part > 0 {
                lengths.push((Kind::Postings, part, 4 * distinct));
                if self.width <= COPIED {
                    lengths.push((Kind::TableCodes, part, self.width * distinct));
                }
            }
        }
        if self.whole {
            let places = code_hash::places(distinct);
            lengths.extend([(Kind::Tags, 0, places), (Kind::Slots, 0, 4 * places)]);
        }
        lengths
    }

    /// Makes tables, and writes each while the next is made. What was written is forgotten.
    fn write(
        &self,
        groups: Groups,
        out: &mut Assembly,
        done: &(impl Fn(&str) + Sync),
    ) -> io::Result<()> {
        let (of_items, of_rows) =
            rayon::join(|| self.write_items(&groups, out), || groups.code_of_row());
        of_items?;
        let Groups { codes, .. } = groups;
        // What was made comes to be written while the next table is made in the memory of the one before.
        type Made = Box<dyn FnOnce(&mut Assembly) -> io::Result<Option<TableData>> + Send>;
        let mut made: Made =
            Box::new(move |out| out.bytes(Kind::CodeOfRow, 0, words(&of_rows)).map(|()| None));
        let (width, mut room) = (self.width, None);
        for (part, substring) in (0..).zip(self.substrings).skip(1) {
            let build = || TableData::build(substring, &codes, width, room.take());
            let (written, table) = rayon::join(|| made(out), build);
            room = written?;
            done(&format!("made table {} of {}", part + 1, self.substrings.len()));
            made = Box::new(move |out| write_table(&table, part, width, out).map(|()| Some(table)));
        }
        drop(room);
        if !self.whole {
            return made(out).map(drop);
        }
        let (written, whole) =
            rayon::join(|| made(out).map(drop), || CodeHashData::build(&codes, width));
        written?;
        done("made the table of whole codes");
        out.bytes(Kind::Tags, 0, &whole.tags)?;
        out.bytes(Kind::Slots, 0, words(&whole.slots))
    }

    fn write_items(&self, groups: &Groups, out: &mut Assembly) -> io::Result<()> {
        let substrings: Vec<u8> = self.substrings.iter().flat_map(entry).collect();
        out.bytes(Kind::Metadata, 0, &self.items.metadata)?;
        out.bytes(Kind::Substrings, 0, &substrings)?;
        out.bytes(Kind::Codes, 0, &groups.codes)?;
        out.bytes(Kind::Rows, 0, words(&groups.rows))?;
        out.bytes(Kind::Directory, 0, words(&groups.directory))?;
        if self.distinct < groups.rows.len() {
            out.bytes(Kind::Starts, 0, words(&groups.starts))?;
        }
        if let Some(ids) = &self.items.ids {
            out.bytes(Kind::Ids, 0, bytemuck::cast_slice(ids))?;
        }
        self.items.labels.iter().try_for_each(|labels| out.bytes(Kind::Labels, 0, labels))
    }
}

fn write_table(table: &TableData, part: u32, width: usize, out: &mut Assembly) -> io::Result<()> {
    out.bytes(Kind::Directory, part, words(&table.directory))?;
    out.items(Kind::Postings, part, table.len(), |places, bytes| table.postings(places, bytes))?;
    match width <= COPIED {
        true => out
            .items(Kind::TableCodes, part, table.len(), |places, bytes| table.codes(places, bytes)),
        false => Ok(()),
    }
}

/// Which item is which row: rows ascend by id. `None` where items do already.
fn rows_by_id(ids: Option<&[u64]>, count: usize) -> Option<Vec<u32>> {
    let ids = ids.filter(|ids| !ids.is_sorted())?;
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.par_sort_unstable_by_key(|&item| ids[item as usize]);
    Some(order)
}

fn in_order<'a, T: Copy>(values: &'a [T], order: Option<&[u32]>) -> Cow<'a, [T]> {
    match order {
        Some(order) => order.iter().map(|&item| values[item as usize]).collect(),
        None => Cow::Borrowed(values),
    }
}

fn labels<'a>(set: &'a CodeSet, order: Option<&[u32]>) -> Option<Cow<'a, [u8]>> {
    match (set.labels.as_ref()?, order) {
        (Labels::MultiHot { values, .. }, None) => Some(Cow::Borrowed(values)),
        (Labels::MultiHot { classes, values }, order) => {
            let rows: Vec<&[u8]> = values.chunks_exact(*classes).collect();
            Some(in_order(&rows, order).concat().into())
        }
        (Labels::Single(labels), None) => Some(Cow::Borrowed(bytemuck::cast_slice(labels))),
        (Labels::Single(labels), order) => {
            Some(bytemuck::cast_slice(&in_order(labels, order)).to_vec().into())
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

fn words(words: &[u32]) -> &[u8] {
    bytemuck::cast_slice(words)
}
