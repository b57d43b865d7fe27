//! The parts that all ways of building share: the specification of a segment, the layout of the sections of its data file, and the steps
//! from a written file to an entry of the manifest. `in_memory.rs` and `external/` write the contents of the sections.

use std::path::Path;

use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::progress::{Reporter, Stage};
use crate::search::profile::Profile;
use crate::store::assembly::{Assembly, Outline};
use crate::store::disk::NewFile;
use crate::store::format::{self, Counts, Kind, Origin};
use crate::store::manifest::Entry;
use crate::store::segment::Segment;
use crate::table::substring::{self, Substring};
use crate::table::{COPIED, code_hash};

/// A segment that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct SegmentSpec {
    /// The shape of the items.
    pub(crate) shape: Shape,
    /// The metadata section: JSON.
    pub(crate) metadata: Vec<u8>,
    /// The number of items.
    pub(crate) rows: usize,
    pub(crate) substrings: Substrings,
    /// Bytes of memory that building may take; `None` where there is no limit.
    pub(crate) memory: Option<u64>,
    pub(crate) origin: Origin,
}

/// Which substrings a segment has tables for.
#[derive(Debug, Clone)]
pub(crate) enum Substrings {
    /// Substrings that suit the codes: the given number of them, or as many as suit the number and the length of the codes.
    Choose(Option<u32>),
    /// Exactly these substrings.
    Keep(Vec<Substring>),
}

impl SegmentSpec {
    /// Bytes of a code.
    pub(crate) fn width(&self) -> usize {
        self.shape.width()
    }

    /// The number of tables and the length of the longest substring, before the codes are known.
    pub(crate) fn tables(&self) -> Result<(usize, u32)> {
        let chosen;
        let substrings = match &self.substrings {
            Substrings::Keep(substrings) => substrings,
            Substrings::Choose(count) => {
                chosen = substring::choose_by_sample(self.shape.bits, self.rows, &[], *count)?;
                &chosen
            }
        };
        let longest = substrings.iter().map(Substring::bits).max();
        Ok((substrings.len(), longest.unwrap_or_default()))
    }
}

/// Where more than this share of the items have a code of their own, near neighbours are rarely near enough to be found by
/// looking up whole codes.
const MOSTLY_DISTINCT: f64 = 0.95;
/// So few codes always get a hash table of whole codes.
const FEW: usize = 100_000;

/// The sections of a data file whose codes are sorted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub(crate) spec: &'a SegmentSpec,
    pub(crate) substrings: &'a [Substring],
    /// The number of different codes.
    pub(crate) distinct: usize,
    /// Whether the ids are written, which they are not where they are the numbers of the rows.
    pub(crate) has_ids: bool,
}

impl Layout<'_> {
    /// Whether there is a hash table of whole codes.
    pub(crate) fn has_code_hash(&self) -> bool {
        self.distinct as f64 <= MOSTLY_DISTINCT * self.spec.rows as f64 || self.distinct <= FEW
    }

    /// Whether there is a list of where each code's rows start, which is absent where each code has one row.
    pub(crate) fn has_starts(&self) -> bool {
        self.distinct < self.spec.rows
    }

    /// Whether the tables but the first have copies of the codes.
    pub(crate) fn has_copies(&self) -> bool {
        self.spec.width() <= COPIED
    }

    /// The number of tables.
    pub(crate) fn tables(&self) -> u32 {
        self.substrings.len() as u32
    }

    /// Counts and lengths of the file.
    pub(crate) fn outline(&self) -> Outline {
        let &Self { spec, distinct, .. } = self;
        let (count, width) = (spec.rows, spec.width());
        let mut lengths = vec![
            (Kind::Metadata, 0, spec.metadata.len()),
            (Kind::Codes, 0, width * distinct),
            (Kind::Rows, 0, 4 * count),
            (Kind::CodeOfRow, 0, 4 * count),
            (Kind::Substrings, 0, format::SUBSTRING * self.substrings.len()),
        ];
        if self.has_starts() {
            lengths.push((Kind::Starts, 0, 4 * (distinct + 1)));
        }
        if self.has_ids {
            lengths.push((Kind::Ids, 0, 8 * count));
        }
        if spec.shape.label_width() > 0 {
            lengths.push((Kind::Labels, 0, spec.shape.label_width() * count));
        }
        if spec.shape.vectors.is_some() {
            lengths.push((Kind::Vectors, 0, spec.shape.vector_width() * count));
        }
        for (table, substring) in (0..).zip(self.substrings) {
            lengths.push((Kind::Directory, table, 4 * ((1 << substring.bits()) + 1)));
            if table > 0 {
                lengths.push((Kind::Postings, table, 4 * distinct));
                if self.has_copies() {
                    lengths.push((Kind::TableCodes, table, width * distinct));
                }
            }
        }
        if self.has_code_hash() {
            let places = code_hash::places(distinct);
            lengths.extend([(Kind::Tags, 0, places), (Kind::Slots, 0, 4 * places)]);
        }
        let counts = Counts {
            bits: spec.shape.bits,
            substrings: self.tables(),
            codes: count as u64,
            distinct: distinct as u64,
        };
        Outline { counts, origin: spec.origin, lengths }
    }

    /// Writes the sections that do not depend on the codes.
    pub(crate) fn write_head(&self, out: &mut Assembly) -> Result<()> {
        let substrings: Vec<u8> = self.substrings.iter().flat_map(encode_substring).collect();
        out.bytes(Kind::Metadata, 0, &self.spec.metadata)?;
        out.bytes(Kind::Substrings, 0, &substrings)
    }
}

/// A substring as it is written: its length, then its bits, then zeros.
fn encode_substring(substring: &Substring) -> [u8; format::SUBSTRING] {
    let mut words = [0_u16; format::SUBSTRING / 2];
    words[0] = substring.bits() as u16;
    words[1..=substring.positions().len()].copy_from_slice(substring.positions());
    bytemuck::cast(words)
}

/// A way to learn the profile of a segment.
type Sampling = fn(&Segment) -> Result<Option<Profile>>;

/// Gives a complete data file its name, once it is on disk. Its codes are sampled while the disk is waited for.
pub(crate) fn finish(
    new: NewFile,
    header_xxh3: u64,
    sampling: Sampling,
    reporter: &Reporter,
) -> Result<Entry> {
    let segment = Segment::open(new.path())?;
    let entry = Entry::new(segment.header.file_bytes, header_xxh3);
    let dir = new.path().parent().unwrap_or(Path::new("."));
    let path = dir.join(&entry.file);
    let profile = new.sync_during(|| sampling(&segment)).map_err(Error::io("write", &path))??;
    // The last moment at which the caller can cancel and nothing has changed.
    reporter.complete(Stage::Written, entry.bytes)?;
    new.rename(&path).map_err(Error::io("write", &path))?;
    Ok(Entry { profile, ..entry })
}
