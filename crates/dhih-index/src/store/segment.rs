//! An open data file: its sections by meaning. Their lengths are checked against each other once, and their contents are read in place
//! without copying. `format.rs` has the layout, and `verify.rs` checks all contents.

mod residence;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::chosen_codes::ChosenCodes;
use crate::codes::bits::{self, MAX_BITS};
use crate::error::{Error, Result};
use crate::hamming;
use crate::search::cost::CodeCosts;
use crate::search::plan::Plan;
use crate::search::profile::Profile;
use crate::store::format::{self, Counts, Header, Kind};
use crate::store::mmap;
use crate::table::code_hash::{self, CodeHashTable};
use crate::table::postings::Postings;
use crate::table::substring::Substring;
use crate::table::{COPIED, Table};
use crate::vectors::stored::VectorForm;

/// The metadata of a data file, which the file has as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) model_sha256: Option<String>,
    pub(crate) classes: Vec<String>,
    /// Number of columns of multi-hot labels; absent where labels are single or there are none.
    pub(crate) label_columns: Option<usize>,
    /// The form of the vectors of the items; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vectors: Option<VectorForm>,
}

impl Metadata {
    /// The metadata section.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::io("encode metadata for", Path::new("segment"))(error.into()))
    }
}

/// An open data file. Rows are numbered in the order of the ids, codes in their own order.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    map: Arc<Mmap>,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) metadata: Metadata,
    pub(crate) bits: u32,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Number of different codes.
    pub(crate) distinct: usize,
    codes: Range<usize>,
    /// Absent where every code has one row.
    starts: Option<Range<usize>>,
    row_order: Range<usize>,
    code_of_row: Range<usize>,
    ids: Option<Range<usize>>,
    labels: Option<Range<usize>>,
    vectors: Option<Range<usize>>,
    tables: Vec<TablePlace>,
    whole: Option<(Range<usize>, Range<usize>)>,
    /// The statistics of the codes; absent if unknown.
    pub(crate) profile: Option<Profile>,
    /// Whether searches ask for the pages that they are about to read.
    on_disk: bool,
    /// The rows of each label, computed by the first search with a filter by labels; absent if there are too many labels.
    pub(crate) by_label: OnceLock<Option<BTreeMap<i64, RoaringBitmap>>>,
}

/// Where a table's parts lie.
#[derive(Debug, Clone)]
struct TablePlace {
    substring: Substring,
    mask: Vec<u8>,
    directory: Range<usize>,
    /// Absent in the first, whose order is that of the codes.
    postings: Option<Range<usize>>,
    /// Absent where codes are long.
    codes: Option<Range<usize>>,
}

impl Segment {
    /// Maps a data file; reads its header, metadata and the list of its tables. The checksum of the metadata is checked, because all segments
    /// that are made later get the same metadata.
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
        for section in header.sections.iter().filter(|section| section.kind == Kind::Metadata) {
            format::verify_section(&path, &map, section)?;
        }
        let metadata: Metadata = serde_json::from_slice(&map[text])
            .map_err(|error| Error::corrupt(&path, format!("its metadata: {error}")))?;
        let codes = sections.take(Kind::Codes, 0, Some([distinct, bits::bytes_per_code(bits)]))?;
        let has_starts = header.version == 1 || distinct < rows;
        let starts = has_starts.then(|| sections.take(Kind::Starts, 0, Some([distinct + 1, 4])));
        let starts = starts.transpose()?;
        let row_order = sections.take(Kind::Rows, 0, Some([rows, 4]))?;
        let code_of_row = sections.take(Kind::CodeOfRow, 0, Some([rows, 4]))?;
        let ids = sections.take_if_there(Kind::Ids, 0, [rows, 8])?;
        let label_bytes = metadata.label_columns.unwrap_or(8);
        let labels = sections.take_if_there(Kind::Labels, 0, [rows, label_bytes])?;
        if metadata.label_columns.is_some_and(|columns| columns == 0 || labels.is_none()) {
            return Err(wrong("its metadata speak of labels that are not there"));
        }
        let vectors = match metadata.vectors {
            Some(form) if !form.is_possible() => return Err(wrong("its vectors have no size")),
            Some(form) => Some(sections.take(Kind::Vectors, 0, Some([rows, form.bytes()]))?),
            None => None,
        };
        let tables = match header.version {
            1 => sections.skip_tables_of_version_1(counts.substrings)?,
            _ => sections.tables(&map, counts, codes.clone())?,
        };
        let mut bits_in_use = vec![false; bits as usize];
        let mut positions = tables.iter().flat_map(|table| table.substring.positions());
        if positions.any(|&at| std::mem::replace(&mut bits_in_use[usize::from(at)], true)) {
            return Err(wrong("two of its substrings share a bit"));
        }
        let whole = sections.whole(distinct)?;
        if sections.taken != header.sections.len() {
            return Err(wrong("it has sections that belong to nothing"));
        }
        #[rustfmt::skip]
        let segment = Self {
            map: Arc::new(map), path, header, metadata, bits, rows, distinct,
            codes, starts, row_order, code_of_row, ids, labels, vectors, tables, whole, profile: None, on_disk: false,
            by_label: OnceLock::new(),
        };
        Ok(segment)
    }

    /// The same segment with a copy of its bytes in memory, which does not depend on the file.
    pub(crate) fn in_memory(&self) -> Result<Self> {
        let map = Arc::new(mmap::copy(&self.map, &self.path)?);
        Ok(Self { map, on_disk: false, ..self.clone() })
    }

    /// The whole file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.map
    }

    /// The distinct codes, packed: in version 1 ascending as byte strings, later in the order of the first table.
    #[inline]
    pub(crate) fn codes(&self) -> &[u8] {
        &self.map[self.codes.clone()]
    }

    /// A code; an error where the file contradicts itself.
    #[inline]
    pub(crate) fn code(&self, number: u32) -> Result<&[u8]> {
        let width = bits::bytes_per_code(self.bits);
        let start = number as usize * width;
        let code = self.codes().get(start..start + width);
        code.ok_or_else(|| self.corrupt("a table names a code that is not there"))
    }

    /// Where each code's rows start in [`row_order`](Self::row_order), and the end; `None` where every code has one row.
    pub(crate) fn starts(&self) -> Option<&[u32]> {
        self.starts.as_ref().map(|range| self.words(range))
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

    /// The stored vectors in the order of the rows.
    pub(crate) fn vectors(&self) -> Option<&[u8]> {
        self.vectors.as_ref().map(|range| &self.map[range.clone()])
    }

    /// The rows of each code.
    pub(crate) fn postings(&self) -> Postings<'_> {
        Postings::new(self.starts(), self.row_order())
    }

    /// The rows of a code, one at least; an error where the file contradicts itself.
    #[inline]
    pub(crate) fn rows_of(&self, code: u32) -> Result<&[u32]> {
        self.postings().of(code).ok_or_else(|| self.outside())
    }

    /// The error for a file that contradicts itself.
    #[cold]
    pub(crate) fn outside(&self) -> Error {
        self.corrupt("a list of rows leaves its bounds")
    }

    /// Number of tables.
    pub(crate) fn table_count(&self) -> usize {
        self.tables.len()
    }

    /// The substrings of the tables.
    pub(crate) fn substrings(&self) -> impl ExactSizeIterator<Item = &Substring> + Clone {
        self.tables.iter().map(|table| &table.substring)
    }

    /// A table, to look up.
    #[inline]
    pub(crate) fn table(&self, part: usize) -> Table<'_> {
        let TablePlace { substring, mask, directory, postings, codes } = &self.tables[part];
        Table {
            on_disk: self.on_disk,
            substring,
            mask,
            directory: self.words(directory),
            postings: postings.as_ref().map_or(&[], |range| self.words(range)),
            codes: codes.as_ref().map_or(&[], |range| &self.map[range.clone()]),
        }
    }

    /// The code hash table, if there is one.
    #[inline]
    pub(crate) fn code_hash_table(&self) -> Option<CodeHashTable<'_>> {
        let (tags, slots) = self.whole.as_ref()?;
        let (tags, slots) = (&self.map[tags.clone()], self.words(slots));
        Some(CodeHashTable { tags, slots, on_disk: self.on_disk })
    }

    /// The data for plans of searches.
    pub(crate) fn plan(&self) -> Plan<'_> {
        let width = bits::bytes_per_code(self.bits);
        Plan {
            bits: self.bits,
            costs: CodeCosts::new(self.distinct, width, hamming::slowness()),
            sharing: 1,
            code_hash_table: self.whole.is_some(),
            profile: self.profile.as_ref(),
        }
    }

    /// Whether codes that a filter selects are copied: if they are few, and the file is not larger than memory.
    fn copies_some(&self, chosen: &ChosenCodes) -> bool {
        chosen.are_few() && !self.on_disk
    }

    /// Copies of codes that a filter selects, if they are copied.
    pub(crate) fn copies<'c>(&self, chosen: &'c ChosenCodes) -> Option<&'c [u8]> {
        let width = bits::bytes_per_code(self.bits);
        self.copies_some(chosen).then(|| chosen.copies(self.codes(), width))
    }

    /// The cost of comparing codes that a filter selects with one query.
    pub(crate) fn check(&self, chosen: &ChosenCodes) -> f64 {
        let costs = self.plan().costs;
        match self.copies_some(chosen) {
            true => costs.copies(chosen.len()).scan(1),
            false => costs.check_in_place(chosen.len()),
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

    /// The tables of version 1 are of another kind, and not used: its codes are scanned.
    fn skip_tables_of_version_1(&mut self, substrings: u32) -> Result<Vec<TablePlace>> {
        self.take(Kind::Substrings, 0, Some([substrings as usize, 16]))?;
        let of_tables = [Kind::Directory, Kind::Keys, Kind::KeyStarts, Kind::Postings];
        let is_of_one = |section: &&format::Section| of_tables.contains(&section.kind);
        self.taken += self.header.sections.iter().filter(is_of_one).count();
        Ok(Vec::new())
    }

    fn tables(
        &mut self,
        file: &[u8],
        counts: Counts,
        codes: Range<usize>,
    ) -> Result<Vec<TablePlace>> {
        let shape = [counts.substrings as usize, format::SUBSTRING];
        let list = self.take(Kind::Substrings, 0, Some(shape))?;
        let entries = file[list].chunks_exact(format::SUBSTRING);
        let distinct = counts.distinct as usize;
        let table = |(entry, part): (&[u8], u32)| {
            let wrong = || Error::corrupt(self.path, format!("substring {part} is none"));
            let words: &[u16] = bytemuck::cast_slice(entry);
            let positions = words[1..].get(..usize::from(words[0])).ok_or_else(wrong)?;
            let zeros = words[1 + positions.len()..].iter().all(|&word| word == 0);
            let substring = Substring::new(positions.to_vec(), counts.bits);
            let substring = substring.filter(|_| zeros).ok_or_else(wrong)?;
            let mask = substring.mask(counts.bits);
            let places = (1 << substring.bits()) + 1;
            let directory = self.take(Kind::Directory, part, Some([places, 4]))?;
            let copied = mask.len() <= COPIED;
            let (postings, codes) = match part {
                0 => (None, Some(codes.clone())),
                _ => {
                    let postings = self.take(Kind::Postings, part, Some([distinct, 4]))?;
                    let copies = || self.take(Kind::TableCodes, part, Some([distinct, mask.len()]));
                    (Some(postings), copied.then(copies).transpose()?)
                }
            };
            Ok(TablePlace { substring, mask, directory, postings, codes })
        };
        entries.zip(0..).map(table).collect()
    }

    fn whole(&mut self, distinct: usize) -> Result<Option<(Range<usize>, Range<usize>)>> {
        let there = |section: &format::Section| section.kind == Kind::Tags;
        if !self.header.sections.iter().any(there) {
            return Ok(None);
        }
        let places = code_hash::places(distinct);
        let tags = self.take(Kind::Tags, 0, Some([places, 1]))?;
        Ok(Some((tags, self.take(Kind::Slots, 0, Some([places, 4]))?)))
    }
}
