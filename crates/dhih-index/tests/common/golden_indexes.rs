//! The golden indexes of a format version: how each comes about, and what it holds. `examples/compat_gen.rs` writes them once for
//! each release, `tests/golden.rs` reads those of all releases.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use dhih_index::{
    Batch, CodeSet, Index, IndexBuilder, IndexWriter, Label, Labels, VectorSet, VectorType, to_hex,
};
use serde_json::{Value, json};

use crate::common::{Numbers, small_set};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Writes an index into a folder and gives what it should hold.
type Write = fn(&Path) -> Result<Items>;

/// Writes every golden index into a folder of its own below `out`, and beside the folder `NAME` the file `NAME.jsonl`, which says what
/// the index holds. The same program writes the same bytes.
///
/// The contents follow from the changes that were made, not from reading the index back.
pub fn write_all(out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let indexes: [(&str, Write); 4] =
        [("built", built), ("wal", wal), ("segments", segments), ("vectors", vectors)];
    for (name, write) in indexes {
        let dir = out.join(name);
        let items = write(&dir)?;
        // The lock file is empty, and whoever opens a writer makes it anew.
        fs::remove_file(dir.join("lock"))?;
        fs::write(out.join(format!("{name}.jsonl")), items.to_json_lines())?;
    }
    Ok(())
}

/// An index as it was built: one segment, no WAL.
fn built(dir: &Path) -> Result<Items> {
    let set = small_set();
    IndexBuilder::default().build(&set, dir)?;
    Ok(Items::of(&set))
}

/// An index with a WAL of several records: items that are added, removed, replaced by others of the same id, and added without ids.
fn wal(dir: &Path) -> Result<Items> {
    let set = small_set();
    IndexBuilder::default().build(&set, dir)?;
    let (mut items, mut writer) = (Items::of(&set), IndexWriter::open(dir)?);
    let numbers = &mut Numbers(2);
    let mut some = |ids: Vec<u64>| CodeSet {
        codes: numbers.codes(20, ids.len()),
        labels: Some(Labels::Single(ids.iter().map(|id| (id % 4) as i64 - 1).collect())),
        ids: Some(ids),
        ..small_set()
    };
    let built: Vec<u64> = items.by_id.keys().copied().collect();

    items.add(&mut writer, some(vec![7, 3, 5]))?;
    items.remove(&mut writer, &[built[0], 5])?;
    items.add(&mut writer, some(vec![1 << 40, 6]))?;
    let replaced = [built[3], 3, 1 << 40];
    let upserted = some(replaced.to_vec());
    items.insert(&upserted);
    writer.upsert(&upserted)?;
    // A batch that removes, replaces and adds.
    let (added, again) = (some(vec![40, 41]), some(vec![6, 42]));
    writer.apply(&Batch::new().remove([built[5], 7]).add(added.clone()).upsert(again.clone()))?;
    [built[5], 7].iter().for_each(|id| drop(items.by_id.remove(id)));
    items.insert(&added);
    items.insert(&again);
    // The writer numbers items without ids from one after the greatest id.
    let numbered = some(vec![(1 << 40) + 1, (1 << 40) + 2]);
    writer.add(&CodeSet { ids: None, ..numbered.clone() })?;
    items.insert(&numbered);
    items.remove(&mut writer, &[(1 << 40) + 1, built[11]])?;
    Ok(items)
}

/// An index of three segments of long codes with multi-hot labels, each with tombstones, and a WAL behind them.
fn segments(dir: &Path) -> Result<Items> {
    let numbers = &mut Numbers(3);
    let mut some = |ids: std::ops::Range<u64>| {
        let values = (0..3 * (ids.end - ids.start)).map(|_| (numbers.next() % 2) as u8).collect();
        CodeSet {
            codes: numbers.codes(130, (ids.end - ids.start) as usize),
            ids: Some(ids.collect()),
            labels: Some(Labels::MultiHot { classes: 3, values }),
            classes: ["red", "green", "blue"].map(String::from).to_vec(),
            model_sha256: None,
            precision: None,
            vectors: None,
        }
    };
    let first = some(100..180);
    IndexBuilder::default().build(&first, dir)?;
    let (mut items, mut writer) = (Items::of(&first), IndexWriter::open(dir)?);
    items.remove(&mut writer, &[100, 117, 150, 179])?;
    items.add(&mut writer, some(200..220))?;
    writer.flush()?;
    items.remove(&mut writer, &[101, 200, 201])?;
    items.add(&mut writer, some(300..305))?;
    writer.flush()?;
    items.remove(&mut writer, &[140, 210, 304])?;
    items.add(&mut writer, some(0..2))?;
    items.add(&mut writer, some(304..305))?;
    let segments = writer.snapshot().info().segments.len();
    match segments {
        3 => Ok(items),
        _ => Err(format!("{segments} segments were written, not 3").into()),
    }
}

/// An index that keeps vectors: two segments with tombstones, and a WAL behind them.
fn vectors(dir: &Path) -> Result<Items> {
    let numbers = &mut Numbers(4);
    let mut some = |ids: std::ops::Range<u64>| -> Result<CodeSet> {
        let count = (ids.end - ids.start) as usize;
        let vectors: Vec<f32> = (0..5 * count).map(|_| numbers.below(1001) as f32 / 8.0).collect();
        Ok(CodeSet {
            ids: Some(ids.clone().collect()),
            labels: Some(Labels::Single(ids.map(|id| (id % 4) as i64).collect())),
            vectors: Some(VectorSet::from_f32(5, &vectors)?.to_type(VectorType::Int8)?),
            ..CodeSet::new(numbers.codes(40, count))
        })
    };
    let first = some(10..60)?;
    IndexBuilder::default().build(&first, dir)?;
    let (mut items, mut writer) = (Items::of(&first), IndexWriter::open(dir)?);
    items.add(&mut writer, some(100..110)?)?;
    writer.flush()?;
    items.remove(&mut writer, &[10, 33, 104])?;
    items.add(&mut writer, some(300..303)?)?;
    items.remove(&mut writer, &[301])?;
    Ok(items)
}

/// The items that an index should hold.
pub struct Items {
    bits: u32,
    classes: Vec<String>,
    model_sha256: Option<String>,
    /// The code in hexadecimal, the label, null where there is none, and the vector, by id.
    by_id: BTreeMap<u64, (String, Value, Option<Vec<f32>>)>,
}

impl Items {
    fn of(set: &CodeSet) -> Self {
        let CodeSet { codes, classes, model_sha256, .. } = set.clone();
        let mut items = Self { bits: codes.bits(), classes, model_sha256, by_id: BTreeMap::new() };
        items.insert(set);
        items
    }

    /// What an index holds, as its methods tell.
    pub fn of_index(index: &Index) -> Self {
        let item = |id: u64| {
            let label = match index.label(id) {
                None => Value::Null,
                Some(Label::Single(label)) => label.into(),
                Some(Label::MultiHot(columns)) => columns.into(),
                Some(other) => panic!("{other:?}"),
            };
            (id, (index.code(id).map(to_hex).unwrap_or_default(), label, index.vector(id)))
        };
        Self {
            bits: index.bits(),
            classes: index.classes().to_vec(),
            model_sha256: index.model_sha256().map(String::from),
            by_id: index.ids().into_iter().map(item).collect(),
        }
    }

    /// Adds items to the index and to these.
    fn add(&mut self, writer: &mut IndexWriter, set: CodeSet) -> Result<()> {
        self.insert(&set);
        Ok(writer.add(&set)?)
    }

    /// Removes items from the index and from these.
    fn remove(&mut self, writer: &mut IndexWriter, ids: &[u64]) -> Result<()> {
        let there = ids.iter().filter(|id| self.by_id.remove(id).is_some()).count();
        match writer.remove(ids)? {
            removed if removed == there && there == ids.len() => Ok(()),
            removed => Err(format!("{removed} of {ids:?} were removed").into()),
        }
    }

    fn insert(&mut self, set: &CodeSet) {
        for (row, &id) in set.ids.iter().flatten().enumerate() {
            let label = match &set.labels {
                None => Value::Null,
                Some(Labels::Single(labels)) if labels[row] == Labels::NONE => Value::Null,
                Some(Labels::Single(labels)) => labels[row].into(),
                Some(Labels::MultiHot { classes, values }) => {
                    values[row * classes..(row + 1) * classes].into()
                }
                Some(other) => panic!("{other:?}"),
            };
            let vector = set.vectors.as_ref().and_then(|vectors| vectors.get(row).ok());
            self.by_id.insert(id, (to_hex(set.codes.get(row)), label, vector));
        }
    }

    /// A line of JSON about all items, then one for each item, by ascending id.
    pub fn to_json_lines(&self) -> String {
        let Self { bits, classes, model_sha256, by_id } = self;
        let head = json!({ "bits": bits, "classes": classes, "model_sha256": model_sha256 });
        let item = |(id, (code, label, vector)): (&u64, &(String, Value, Option<Vec<f32>>))| {
            let mut item = json!({ "id": id, "code": code, "label": label });
            if let Some(vector) = vector {
                item["vector"] = json!(vector);
            }
            format!("{item}\n")
        };
        format!("{head}\n{}", by_id.iter().map(item).collect::<String>())
    }
}

/// All bytes of the files of a folder, by name, folders in it left out.
pub fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}
