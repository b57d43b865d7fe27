//! An open data file: its sections by what they mean, their lengths checked against each other
//! once, their contents read in place. Nothing is copied. The layout: `format.rs`; the check of all
//! contents: `verify.rs`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::bits::{self, MAX_BITS};
use crate::error::{Error, Result};
use crate::format::{self, Header, Kind};
use crate::mmap;
use crate::substring::{MAX_SUBSTRING, Substring};
use crate::table::Table;

/// What a data file says in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) model_sha256: Option<String>,
    pub(crate) classes: Vec<String>,
    /// Number of columns of multi-hot labels; absent where labels are single or there are none.
    pub(crate) label_columns: Option<usize>,
}

/// An open data file. Rows are numbered in the order of the ids, codes in their own order.
#[derive(Debug)]
pub(crate) struct Segment {
    map: Mmap,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) metadata: Metadata,
    pub(crate) bits: u32,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Number of different codes.
    pub(crate) distinct: usize,
    codes: Range<usize>,
    starts: Range<usize>,
    row_order: Range<usize>,
    code_of_row: Range<usize>,
    ids: Option<Range<usize>>,
    labels: Option<Range<usize>>,
    tables: Vec<TablePlace>,
}

/// Where a table's parts lie.
#[derive(Debug)]
struct TablePlace {
    substring: Substring,
    prefix_bits: u32,
    directory: Range<usize>,
    sparse: Option<(Range<usize>, Range<usize>)>,
    postings: Range<usize>,
}

impl Segment {
    /// Maps a data file; reads its header, metadata and the list of its tables.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let map = mmap::map(path)?;
        let header = format::parse(path, &map)?;
        let (counts, path) = (header.counts, path.to_path_buf());
        let wrong = |what: &str| Error::corrupt(&path, what);
        let (bits, rows) = (counts.bits, counts.codes as usize);
        let distinct = counts.distinct as usize;
        if !(1..=MAX_BITS).contains(&bits) {
            return Err(wrong("its codes have no supported length"));
        }
        if counts.codes >= u64::from(u32::MAX)
            || counts.distinct > counts.codes
            || (distinct == 0) != (rows == 0)
        {
            return Err(wrong("its counts contradict each other"));
        }
        let mut sections = Sections { path: &path, header: &header, taken: 0 };
        let text = sections.take(Kind::Metadata, 0, None)?;
        let metadata: Metadata = serde_json::from_slice(&map[text])
            .map_err(|error| Error::corrupt(&path, format!("its metadata: {error}")))?;
        let codes = sections.take(Kind::Codes, 0, Some([distinct, bits::bytes_per_code(bits)]))?;
        let starts = sections.take(Kind::Starts, 0, Some([distinct + 1, 4]))?;
        let row_order = sections.take(Kind::Rows, 0, Some([rows, 4]))?;
        let code_of_row = sections.take(Kind::CodeOfRow, 0, Some([rows, 4]))?;
        let ids = sections.take_if_there(Kind::Ids, 0, [rows, 8])?;
        let label_bytes = metadata.label_columns.unwrap_or(8);
        let labels = sections.take_if_there(Kind::Labels, 0, [rows, label_bytes])?;
        if metadata.label_columns.is_some_and(|columns| columns == 0 || labels.is_none()) {
            return Err(wrong("its metadata speak of labels that are not there"));
        }
        let list = sections.take(Kind::Substrings, 0, Some([counts.substrings as usize, 16]))?;
        let list = bytemuck::cast_slice::<u8, u32>(&map[list]).as_chunks::<4>().0;
        let tables =
            list.iter().zip(0..).map(|(entry, part)| sections.table(*entry, part, distinct));
        let tables: Vec<TablePlace> = tables.collect::<Result<_>>()?;
        let end = tables.iter().try_fold(0, |end, TablePlace { substring, .. }| {
            (substring.start == end).then_some(end + substring.bits)
        });
        if end != Some(bits) {
            return Err(wrong("its substrings do not cover the code"));
        }
        if sections.taken != header.sections.len() {
            return Err(wrong("it has sections that belong to nothing"));
        }
        #[rustfmt::skip]
        let segment = Self {
            map, path, header, metadata, bits, rows, distinct,
            codes, starts, row_order, code_of_row, ids, labels, tables,
        };
        Ok(segment)
    }

    /// The whole file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.map
    }

    /// The different codes, packed, ascending as byte strings.
    pub(crate) fn codes(&self) -> &[u8] {
        &self.map[self.codes.clone()]
    }

    /// Where each code's rows start in [`row_order`](Self::row_order), and the end.
    pub(crate) fn starts(&self) -> &[u32] {
        self.words(&self.starts)
    }

    /// The rows, code by code, ascending for each.
    pub(crate) fn row_order(&self) -> &[u32] {
        self.words(&self.row_order)
    }

    /// The code of each row.
    pub(crate) fn code_of_row(&self) -> &[u32] {
        self.words(&self.code_of_row)
    }

    /// The id of each row, ascending; `None` stands for the row's own number.
    pub(crate) fn ids(&self) -> Option<&[u64]> {
        self.ids.as_ref().map(|range| bytemuck::cast_slice(&self.map[range.clone()]))
    }

    /// The labels' bytes in the order of the rows.
    pub(crate) fn labels(&self) -> Option<&[u8]> {
        self.labels.as_ref().map(|range| &self.map[range.clone()])
    }

    /// The rows of a code; `None` where the file contradicts itself.
    #[inline]
    pub(crate) fn rows_of(&self, code: usize) -> Option<&[u32]> {
        let starts = self.starts();
        let (start, end) = (*starts.get(code)?, *starts.get(code + 1)?);
        self.row_order().get(start as usize..end as usize)
    }

    /// Number of tables.
    pub(crate) fn table_count(&self) -> usize {
        self.tables.len()
    }

    /// The substring of a table.
    pub(crate) fn substring(&self, part: usize) -> Substring {
        self.tables[part].substring
    }

    /// A table, to look up.
    pub(crate) fn table(&self, part: usize) -> Table<'_> {
        let TablePlace { substring, prefix_bits, directory, sparse, postings } = &self.tables[part];
        Table {
            substring: *substring,
            prefix_bits: *prefix_bits,
            directory: self.words(directory),
            sparse: sparse.as_ref().map(|(keys, starts)| (self.words(keys), self.words(starts))),
            postings: self.words(postings),
        }
    }

    /// An error that says that this file contradicts itself.
    #[cold]
    pub(crate) fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(&self.path, what)
    }

    fn words(&self, range: &Range<usize>) -> &[u32] {
        // The map starts at a page and sections at multiples of 64 bytes, with whole words: checked
        // when opened.
        bytemuck::cast_slice(&self.map[range.clone()])
    }
}

/// The sections of a header, each to be taken once.
struct Sections<'a> {
    path: &'a Path,
    header: &'a Header,
    taken: usize,
}

impl Sections<'_> {
    fn take_if_there(
        &mut self,
        kind: Kind,
        part: u32,
        shape: [usize; 2],
    ) -> Result<Option<Range<usize>>> {
        let there = |section: &format::Section| (section.kind, section.part) == (kind, part);
        if !self.header.sections.iter().any(there) {
            return Ok(None);
        }
        self.take(kind, part, Some(shape)).map(Some)
    }

    /// The place of a section that must be there and have as many bytes as the product of `shape`.
    fn take(&mut self, kind: Kind, part: u32, shape: Option<[usize; 2]>) -> Result<Range<usize>> {
        let wrong = |what| Error::corrupt(self.path, format!("section {kind:?} {part} {what}"));
        let found = self.header.sections.binary_search_by_key(&(kind, part), |s| (s.kind, s.part));
        let found = found.map_err(|_| wrong("is missing"))?;
        let range = self.header.sections[found].range.clone();
        if shape.is_some_and(|[rows, width]| rows.checked_mul(width) != Some(range.len())) {
            return Err(wrong("has a wrong length"));
        }
        self.taken += 1;
        Ok(range)
    }

    fn table(&mut self, entry: [u32; 4], part: u32, distinct: usize) -> Result<TablePlace> {
        let [start, bits, prefix_bits, keys] = entry;
        if !(1..=MAX_SUBSTRING).contains(&bits) || prefix_bits > bits {
            return Err(Error::corrupt(self.path, format!("substring {part} has a wrong length")));
        }
        let directory = self.take(Kind::Directory, part, Some([(1 << prefix_bits) + 1, 4]))?;
        let sparse = if prefix_bits < bits {
            let keys = keys as usize;
            let starts = self.take(Kind::KeyStarts, part, Some([keys + 1, 4]))?;
            Some((self.take(Kind::Keys, part, Some([keys, 4]))?, starts))
        } else {
            None
        };
        let postings = self.take(Kind::Postings, part, Some([distinct, 4]))?;
        Ok(TablePlace {
            substring: Substring { start, bits },
            prefix_bits,
            directory,
            sparse,
            postings,
        })
    }
}
