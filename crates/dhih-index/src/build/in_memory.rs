//! Building a segment in memory, for items that fit: equal codes are grouped, and each table is built while the one before it is
//! written. The same items give the same bytes as `external/`, which needs less memory and more time.

use std::borrow::Cow;
use std::path::Path;

use rayon::prelude::*;

use crate::build::groups::{self, Groups};
use crate::build::layout::{self, Layout, SegmentSpec, Substrings};
use crate::build::rows::{Ascending, RowStream};
use crate::build::sample;
use crate::codes::Codes;
use crate::codes::attributes::label_bytes;
use crate::codes::items::Items;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::progress::{Reporter, Stage};
use crate::store::assembly::{Assembly, assemble};
use crate::store::disk::NewFile;
use crate::store::format::Kind;
use crate::store::manifest::Entry;
use crate::table::code_hash::CodeHashData;
use crate::table::substring;
use crate::table::{COPIED, TableData};
use crate::vectors::set::VectorSet;

/// Vectors that are written before the pages of a mapped file that they are in are given back.
const RELEASED: usize = 1 << 14;

/// Items as they were given: codes are in the order in which they were given, ids and labels in the order of the rows.
struct UnsortedItems<'a> {
    codes: &'a Codes,
    /// The item of each row; `None` where items are in the order of their ids.
    by_id: Option<Vec<u32>>,
    /// Absent where they are the numbers of the rows.
    ids: Option<Cow<'a, [u64]>>,
    labels: Cow<'a, [u8]>,
    vectors: RowVectors<'a>,
}

/// Where the vectors of items are.
enum RowVectors<'a> {
    /// As they are stored, in the order of the rows; empty where there are none.
    Stored(Vec<u8>),
    /// In a set, in the order in which items were given.
    Set(&'a VectorSet),
}

/// Bytes of memory that building a segment takes at most, the items' codes included. `vectors` is what of a vector is in memory.
pub(crate) fn memory(spec: &SegmentSpec, vectors: usize) -> Result<u64> {
    let (tables, longest) = spec.tables()?;
    let (width, labels) = (spec.width(), spec.shape.label_width());
    // A table has an entry for each code; one is written while the next is built. Sorting the entries of a partition, which may
    // hold all, copies them.
    let entry = if width <= COPIED { 4 + width.next_multiple_of(4) } else { 4 };
    let building = width + 2 * entry + (4 + entry);
    // Then the whole file may be touched when it is sampled: codes, rows, starts, code of row, ids, labels, tables, hash table.
    let copies = if width <= COPIED { width } else { 0 };
    let file = width + 4 + 4 + 4 + 8 + labels + (tables - 1) * (4 + copies) + 7;
    let row = groups::memory_of_row(width).max(building).max(file);
    // The codes as they are given, and what orders them by id.
    let row = row + width + 4 + 8 + labels + vectors;
    let directories = 4 * 4 * (1_u64 << longest);
    Ok(spec.rows as u64 * row as u64 + directories + (16 << 20))
}

/// Writes the segment of a set.
pub(crate) fn write_set(
    spec: &SegmentSpec,
    set: &CodeSet,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    let by_id = rows_by_id(set)?;
    let order = by_id.as_deref();
    let ids = set.ids.as_deref().filter(|ids| !ids.iter().copied().eq(0..ids.len() as u64));
    let ids = ids.map(|ids| in_order(ids, 1, order));
    let labels = in_order(label_bytes(set), spec.shape.label_width(), order);
    let vectors = set.vectors.as_ref().map_or(RowVectors::Stored(Vec::new()), RowVectors::Set);
    write(spec, UnsortedItems { codes: &set.codes, ids, labels, vectors, by_id }, dir, reporter)
}

/// Collects a stream, and writes the segment of its items.
pub(crate) fn write_stream(
    spec: &SegmentSpec,
    rows: &mut dyn RowStream,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    let (mut batch, mut ascending) = (Items::default(), Ascending::default());
    let mut ids = Vec::with_capacity(spec.rows);
    let mut codes = Vec::with_capacity(spec.rows * spec.width());
    let mut labels = Vec::with_capacity(spec.rows * spec.shape.label_width());
    let mut vectors = Vec::with_capacity(spec.rows * spec.shape.vector_width());
    while rows.next(&mut batch)? {
        ascending.check(&batch.ids)?;
        let [mut of_labels, mut of_vectors] = batch.take_attributes(spec.shape);
        ids.append(&mut batch.ids);
        codes.append(&mut batch.codes);
        labels.append(&mut of_labels);
        vectors.append(&mut of_vectors);
    }
    ascending.check_count(spec.rows)?;
    let codes = Codes::new(spec.shape.bits, codes)?;
    let ids = Some(ids).filter(|ids| !ids.iter().copied().eq(0..ids.len() as u64));
    let (ids, labels) = (ids.map(Cow::Owned), Cow::Owned(labels));
    let vectors = RowVectors::Stored(vectors);
    write(spec, UnsortedItems { codes: &codes, ids, labels, vectors, by_id: None }, dir, reporter)
}

fn write(
    spec: &SegmentSpec,
    items: UnsortedItems,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    let chosen;
    let substrings = match &spec.substrings {
        Substrings::Keep(substrings) => substrings,
        Substrings::Choose(count) => {
            chosen = substring::choose(spec.shape.bits, items.codes.as_bytes(), *count)?;
            &chosen
        }
    };
    let groups = Groups::of(items.codes, items.by_id.as_deref(), &substrings[0]);
    let (distinct, has_ids) = (groups.distinct(), items.ids.is_some());
    reporter.complete(Stage::Sorted { distinct: distinct as u64 }, spec.rows as u64)?;
    let layout = Layout { spec, substrings, distinct, has_ids };
    let new = NewFile::create(dir, "segment-").map_err(Error::io("write", dir))?;
    let outline = layout.outline();
    let xxh3 =
        assemble(&new, outline, |out| write_sections(&layout, &items, groups, out, reporter))?;
    layout::finish(new, xxh3, sample::profile, reporter)
}

/// A section, or a table, that is complete in memory and waits to be written.
enum Pending {
    CodeOfRow(Vec<u32>),
    Table { data: TableData, table: u32 },
}

impl Pending {
    /// Writes it. Returns the memory of a table, to be used again.
    fn write(self, out: &mut Assembly) -> Result<Option<TableData>> {
        match self {
            Self::CodeOfRow(codes) => out.bytes(Kind::CodeOfRow, 0, words(&codes)).map(|()| None),
            Self::Table { data, table } => write_table(&data, table, out).map(|()| Some(data)),
        }
    }
}

/// Builds tables, and writes each while the next is built. What was written is dropped.
fn write_sections(
    layout: &Layout,
    items: &UnsortedItems,
    groups: Groups,
    out: &mut Assembly,
    reporter: &Reporter,
) -> Result<()> {
    let (written, code_of_row) = rayon::join(
        || layout.write_head(out).and_then(|()| write_items(layout, items, &groups, out)),
        || groups.code_of_row(),
    );
    written?;
    let Groups { codes, starts, rows, directory } = groups;
    drop((starts, rows, directory));
    let width = layout.spec.width();
    let (mut pending, mut room) = (Pending::CodeOfRow(code_of_row), None);
    for (table, substring) in (0..).zip(layout.substrings).skip(1) {
        let build = || TableData::build(substring, &codes, width, room.take());
        let (written, data) = rayon::join(|| pending.write(out), build);
        room = written?;
        let stage = Stage::Table { table: table + 1, tables: layout.tables() };
        reporter.complete(stage, layout.distinct as u64)?;
        pending = Pending::Table { data, table };
    }
    drop(room);
    if !layout.has_code_hash() {
        return pending.write(out).map(drop);
    }
    let (written, code_hash) =
        rayon::join(|| pending.write(out).map(drop), || CodeHashData::build(&codes, width));
    written?;
    reporter.complete(Stage::CodeHash, layout.distinct as u64)?;
    out.bytes(Kind::Tags, 0, &code_hash.tags)?;
    out.bytes(Kind::Slots, 0, words(&code_hash.slots))
}

fn write_items(
    layout: &Layout,
    items: &UnsortedItems,
    groups: &Groups,
    out: &mut Assembly,
) -> Result<()> {
    out.bytes(Kind::Codes, 0, &groups.codes)?;
    out.bytes(Kind::Rows, 0, words(&groups.rows))?;
    out.bytes(Kind::Directory, 0, words(&groups.directory))?;
    if layout.has_starts() {
        out.bytes(Kind::Starts, 0, words(&groups.starts))?;
    }
    if let Some(ids) = &items.ids {
        out.bytes(Kind::Ids, 0, bytemuck::cast_slice(ids))?;
    }
    if layout.spec.shape.label_width() > 0 {
        out.bytes(Kind::Labels, 0, &items.labels)?;
    }
    write_vectors(layout, items, out)
}

fn write_vectors(layout: &Layout, items: &UnsortedItems, out: &mut Assembly) -> Result<()> {
    let Some(form) = layout.spec.shape.vectors else { return Ok(()) };
    let set = match &items.vectors {
        RowVectors::Stored(bytes) => return out.bytes(Kind::Vectors, 0, bytes),
        RowVectors::Set(set) => set,
    };
    let (mut section, mut reader) = (out.begin(Kind::Vectors, 0)?, set.reader(form));
    let mut vector = Vec::with_capacity(form.bytes());
    for row in 0..set.len() {
        let item = items.by_id.as_ref().map_or(row, |by_id| by_id[row] as usize);
        vector.clear();
        reader.append(item, &mut vector)?;
        section.put(out, &vector)?;
        if (row + 1).is_multiple_of(RELEASED) {
            set.release(0..set.len());
        }
    }
    section.end(out)
}

/// Writes a table but the first.
pub(crate) fn write_table(data: &TableData, table: u32, out: &mut Assembly) -> Result<()> {
    out.bytes(Kind::Directory, table, words(&data.directory))?;
    out.items(Kind::Postings, table, data.len(), |places, bytes| data.postings(places, bytes))?;
    match data.has_codes() {
        true => out
            .items(Kind::TableCodes, table, data.len(), |places, bytes| data.codes(places, bytes)),
        false => Ok(()),
    }
}

/// The item of each row, rows being the items by ascending id; `None` where they are in this order already.
///
/// # Errors
/// Two items of one id.
fn rows_by_id(set: &CodeSet) -> Result<Option<Vec<u32>>> {
    let Some(ids) = set.ids.as_deref() else { return Ok(None) };
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(None);
    }
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    // The item's number is a part of the key, so that the error always names the same two items if an id occurs twice.
    order.par_sort_unstable_by_key(|&item| (ids[item as usize], item));
    let id = |item: u32| ids[item as usize];
    match order.array_windows().find(|[a, b]| id(*a) == id(*b)) {
        Some(&[first, second]) => Err(Error::DuplicateId {
            id: id(first),
            first: first as usize,
            second: second as usize,
        }),
        None => Ok(Some(order)),
    }
}

/// Values of items, `per_item` each, in the order of the rows.
fn in_order<'a, T: Copy>(values: &'a [T], per_item: usize, order: Option<&[u32]>) -> Cow<'a, [T]> {
    let Some(order) = order else { return Cow::Borrowed(values) };
    let mut out = Vec::with_capacity(order.len() * per_item);
    for &item in order {
        out.extend_from_slice(&values[item as usize * per_item..][..per_item]);
    }
    Cow::Owned(out)
}

fn words(words: &[u32]) -> &[u8] {
    bytemuck::cast_slice(words)
}
