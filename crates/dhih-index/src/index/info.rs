//! `Info`: the figures of an index, as printed by `dhih-index inspect --json`.

use std::collections::HashSet;

use serde::Serialize;

use crate::index::Index;
use crate::index::component::Data;
use crate::search::prospects::Prospects;
use crate::store::format::{self, Kind};
use crate::store::segment::Segment;
use crate::table::substring::Substring;
use crate::vectors::stored::VectorType;

/// The figures of an index.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let info = Index::open(&dir)?.info();
/// assert_eq!((info.bits, info.codes, info.logged), (8, 3, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Version of the file format.
    pub version: u32,
    /// Length of a code in bits.
    pub bits: u32,
    /// Number of items.
    pub codes: usize,
    /// Number of different codes of each part, summed: data files, and the log.
    pub distinct: usize,
    /// Number of items that were removed and are still in a data file.
    pub deleted: usize,
    /// Number of items that are in the log and not yet in a data file.
    pub logged: usize,
    /// The substrings of the first data file, a table for each.
    pub substrings: Vec<Substring>,
    /// The searches that the first data file is good for; `None` if it has no tables.
    pub prospects: Option<Prospects>,
    /// `none`, `single` or `multi-hot`.
    pub labels: &'static str,
    /// `given`, or `0..n`.
    pub ids: &'static str,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The vectors that are stored; `None` if there are none.
    pub vectors: Option<VectorInfo>,
    /// SHA-256 of the model that made the codes.
    pub model_sha256: Option<String>,
    /// Length of the data files.
    pub bytes: u64,
    /// Bytes of the data files for each item.
    pub bytes_per_code: f64,
    /// The data files.
    pub segments: Vec<SegmentInfo>,
}

/// The vectors of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VectorInfo {
    /// The type of their numbers.
    #[serde(rename = "type")]
    pub number_type: VectorType,
    /// Numbers of a vector.
    pub dims: usize,
}

/// A data file.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let segments = Index::open(&dir)?.info().segments;
/// assert_eq!((segments.len(), segments[0].codes), (1, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct SegmentInfo {
    /// Its name.
    pub file: String,
    /// Number of items, removed ones too.
    pub codes: usize,
    /// Its length.
    pub bytes: u64,
    /// Its sections.
    pub sections: Vec<SectionInfo>,
}

impl Index {
    /// The figures of the index.
    pub fn info(&self) -> Info {
        Info::of(self)
    }
}

impl Info {
    pub(crate) fn of(index: &Index) -> Self {
        let mut segments = Vec::new();
        let (mut deleted, mut distinct, mut logged) = (0, 0, 0);
        for part in &index.components {
            deleted += part.rows() - part.len();
            match &part.data {
                Data::MemTable(table) => {
                    let codes: HashSet<&[u8]> = table.iter().map(|(_, code, _)| code).collect();
                    distinct += codes.len();
                    logged += part.len();
                }
                Data::Segment(segment) => {
                    distinct += segment.distinct;
                    segments.push(SegmentInfo::of(segment));
                }
            }
        }
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let first = index.components.iter().find_map(|part| match &part.data {
            Data::Segment(segment) => Some(segment),
            Data::MemTable(_) => None,
        });
        let given =
            first.is_some_and(|segment| segment.ids().is_some()) || index.components.len() > 1;
        Self {
            version: first.map_or(format::VERSION, |segment| segment.header.version),
            bits: index.bits,
            codes: index.len(),
            distinct,
            deleted,
            logged,
            substrings: first.map_or(Vec::new(), |s| s.substrings().cloned().collect()),
            prospects: first.and_then(|s| s.plan().prospects(s.substrings().map(Substring::bits))),
            labels: match index.metadata.label_columns {
                _ if !index.has_labels => "none",
                Some(_) => "multi-hot",
                None => "single",
            },
            ids: if given { "given" } else { "0..n" },
            classes: index.metadata.classes.clone(),
            vectors: index
                .metadata
                .vectors
                .map(|form| VectorInfo { number_type: form.number, dims: form.dims() }),
            model_sha256: index.metadata.model_sha256.clone(),
            bytes,
            bytes_per_code: bytes as f64 / index.len().max(1) as f64,
            segments,
        }
    }
}

impl SegmentInfo {
    pub(crate) fn of(segment: &Segment) -> Self {
        let section = |section: &format::Section| SectionInfo {
            kind: section.kind,
            part: section.part,
            offset: section.range.start,
            bytes: section.range.len(),
            xxh3: format!("{:016x}", section.xxh3),
        };
        let name = segment.path.file_name().unwrap_or_default();
        Self {
            file: name.to_string_lossy().into_owned(),
            codes: segment.rows,
            bytes: segment.header.file_bytes,
            sections: segment.header.sections.iter().map(section).collect(),
        }
    }
}

/// A section of the data file; `docs/src/FORMAT.md` says what they hold.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let segment = Index::open(&dir)?.info().segments.remove(0);
/// assert!(segment.sections.iter().all(|section| (section.offset + section.bytes) as u64 <= segment.bytes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct SectionInfo {
    pub(crate) kind: Kind,
    /// Number of the substring whose table it belongs to.
    pub part: u32,
    /// Where it starts in the file.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
    /// Its checksum, in hexadecimal.
    pub xxh3: String,
}
