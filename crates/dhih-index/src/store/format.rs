//! The layout of a data file: header, section table, sections. The tables of bytes are in
//! docs/src/FORMAT.md; what the sections mean together is `segment.rs`, that they agree with each
//! other `verify.rs`.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::error::{Error, Result};
use crate::pointer;

pub(crate) const MAGIC: [u8; 8] = *b"DHIHIDX\n";
pub(crate) const VERSION: u32 = 3;
/// The oldest version that is read.
const OLDEST: u32 = 1;
/// Sections start at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 64;
/// Bytes of a substring: its length and 31 positions, 16 bits each.
pub(crate) const SUBSTRING: usize = 64;
/// Bytes of the header: of version 3, and of those before it.
const HEADER: usize = 96;
const OLD_HEADER: usize = 64;
const ENTRY: usize = 32;
/// A section whose kind has this bit may be left unread by a program that does not know it.
const IGNORABLE: u32 = 1 << 31;
/// The features that this program knows, all of which a reader must know: vectors are kept, ...
const VECTORS: u32 = 1;
/// ... and codes have more than [`SHORT_BITS`] bits.
const LONG_CODES: u32 = 2;
/// Bits that codes had at most before there was that feature.
const SHORT_BITS: u32 = 1024;

/// Those of some features that this program does not know.
pub(crate) fn unknown(features: u32) -> Option<u32> {
    Some(features & !(VECTORS | LONG_CODES)).filter(|unknown| *unknown != 0)
}

/// The features that a reader must know of an index with codes of `bits` bits.
pub(crate) fn features(bits: u32, has_vectors: bool) -> u32 {
    let vectors = if has_vectors { VECTORS } else { 0 };
    vectors | if bits > SHORT_BITS { LONG_CODES } else { 0 }
}

/// Where the header's checksum lies; it covers all before it and the section table.
const CHECKSUM: Range<usize> = 56..64;

/// What a section holds; the number is the one in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub(crate) enum Kind {
    Metadata = 1,
    Codes = 2,
    Starts = 3,
    Rows = 4,
    CodeOfRow = 5,
    Ids = 6,
    Labels = 7,
    Substrings = 8,
    Directory = 9,
    /// Of version 1.
    Keys = 10,
    /// Of version 1.
    KeyStarts = 11,
    Postings = 12,
    TableCodes = 13,
    Tags = 14,
    Slots = 15,
    Vectors = 16,
    /// Any kind that this program does not know and may leave unread.
    Ignored = IGNORABLE,
}

impl Kind {
    const ALL: [Self; 16] = [
        Self::Metadata,
        Self::Codes,
        Self::Starts,
        Self::Rows,
        Self::CodeOfRow,
        Self::Ids,
        Self::Labels,
        Self::Substrings,
        Self::Directory,
        Self::Keys,
        Self::KeyStarts,
        Self::Postings,
        Self::TableCodes,
        Self::Tags,
        Self::Slots,
        Self::Vectors,
    ];
}

/// The counts in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bits: u32,
    pub(crate) substrings: u32,
    pub(crate) codes: u64,
    pub(crate) distinct: u64,
}

/// Which index a file belongs to, and when it was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The identity of the index; 0 in files of versions 1 and 2, which have none.
    pub(crate) id: u128,
    /// The generation of the manifest that the file was written for; 0 in files of versions 1 and 2.
    pub(crate) generation: u64,
}

/// A section of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: Kind,
    /// Number of the substring whose table it belongs to; 0 elsewhere.
    pub(crate) part: u32,
    pub(crate) range: Range<usize>,
    pub(crate) xxh3: u64,
}

/// A header whose checksum and section bounds hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) counts: Counts,
    /// Features that a reader must know.
    pub(crate) features: u32,
    pub(crate) origin: Origin,
    /// Sections that this program does not know and may leave unread.
    pub(crate) ignored: Vec<Section>,
    /// Ascending by kind and part, one after the other in the file.
    pub(crate) sections: Vec<Section>,
    pub(crate) file_bytes: u64,
    pub(crate) xxh3: u64,
}

impl Header {
    /// The identity of the index that this file was the first of, also where the file is of a version that has none.
    pub(crate) fn identity(&self) -> u128 {
        match self.origin.id {
            0 => identity(self.counts, &self.sections),
            id => id,
        }
    }
}

/// Sections of these kinds, parts and lengths in bytes, each where it lies in the file. Their checksums are not known yet.
pub(crate) fn layout(mut lengths: Vec<(Kind, u32, usize)>) -> Vec<Section> {
    lengths.sort_unstable();
    let mut end = HEADER + ENTRY * lengths.len();
    let section = |(kind, part, length)| {
        let start = end.next_multiple_of(ALIGNMENT);
        end = start + length;
        Section { kind, part, range: start..end, xxh3: 0 }
    };
    lengths.into_iter().map(section).collect()
}

/// The identity of an index whose first data file has these counts and sections: a hash of them, so that equal codes give equal files.
pub(crate) fn identity(counts: Counts, sections: &[Section]) -> u128 {
    let mut bytes = Vec::new();
    bytes.extend(counts.bits.to_le_bytes());
    bytes.extend(counts.codes.to_le_bytes());
    sections.iter().for_each(|section| bytes.extend(encode_section(section)));
    // 0 stands for files without an identity.
    xxh3_128(&bytes).max(1)
}

/// The bytes of header and section table, for sections as [`layout`] gives them, and the header's checksum.
pub(crate) fn encode(counts: Counts, origin: Origin, sections: &[Section]) -> (Vec<u8>, u64) {
    let mut bytes = Vec::with_capacity(HEADER + ENTRY * sections.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(counts.bits.to_le_bytes());
    bytes.extend(counts.codes.to_le_bytes());
    bytes.extend(counts.distinct.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(counts.substrings.to_le_bytes());
    bytes.extend((sections.last().map_or(HEADER, |last| last.range.end) as u64).to_le_bytes());
    // Features: those that a reader must know, and those that it may ignore, of which there are none yet. Then the checksum.
    bytes.extend(features(counts.bits, has_vectors(sections)).to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(origin.id.to_le_bytes());
    bytes.extend(origin.generation.to_le_bytes());
    bytes.extend([0; 8]);
    sections.iter().for_each(|section| bytes.extend(encode_section(section)));
    let xxh3 = header_checksum(&bytes);
    bytes[CHECKSUM].copy_from_slice(&xxh3.to_le_bytes());
    (bytes, xxh3)
}

fn has_vectors(sections: &[Section]) -> bool {
    sections.iter().any(|section| section.kind == Kind::Vectors)
}

fn encode_section(section: &Section) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..4].copy_from_slice(&(section.kind as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&section.part.to_le_bytes());
    bytes[8..16].copy_from_slice(&(section.range.start as u64).to_le_bytes());
    bytes[16..24].copy_from_slice(&(section.range.len() as u64).to_le_bytes());
    bytes[24..].copy_from_slice(&section.xxh3.to_le_bytes());
    bytes
}

/// Reads and checks the header and the section table of a data file; looks at no section's content.
pub(crate) fn parse(path: &Path, file: &[u8]) -> Result<Header> {
    let corrupt = |what: &str| Error::corrupt(path, what);
    if file.is_empty() {
        return Err(corrupt("it is empty"));
    }
    if pointer::is_pointer(file) {
        return Err(corrupt(pointer::REASON));
    }
    let head =
        file.first_chunk::<OLD_HEADER>().ok_or_else(|| corrupt("it is shorter than its header"))?;
    let (u32_at, u64_at) = (|at| read_u32(head, at), |at| read_u64(head, at));
    if head[..8] != MAGIC {
        return Err(corrupt("it does not start as an index file does"));
    }
    let version = u32_at(8);
    if !(OLDEST..=VERSION).contains(&version) {
        let path = path.to_path_buf();
        return Err(Error::Version { path, found: version, supported: VERSION });
    }
    let header = if version < 3 { OLD_HEADER } else { HEADER };
    let table_end = ENTRY.checked_mul(u32_at(32) as usize).and_then(|n| n.checked_add(header));
    let head_and_table = table_end.and_then(|end| file.get(..end));
    let head_and_table = head_and_table.ok_or_else(|| corrupt("its section table is cut short"))?;
    let xxh3 = u64_at(CHECKSUM.start);
    if header_checksum(head_and_table) != xxh3 {
        return Err(corrupt("the checksum of its header is wrong"));
    }
    let reserved = head_and_table.get(88..HEADER).filter(|_| version >= 3).unwrap_or_default();
    if reserved.iter().any(|&byte| byte != 0) || (version < 3 && u64_at(48) != 0) {
        return Err(corrupt("reserved bytes of its header are not zero"));
    }
    let required = u32_at(48);
    if let Some(unknown) = unknown(required) {
        return Err(Error::Features { path: path.to_path_buf(), unknown });
    }
    let origin = match head_and_table.get(OLD_HEADER..).and_then(<[u8]>::first_chunk::<24>) {
        Some(origin) if version >= 3 => Origin {
            id: u128::from_le_bytes(std::array::from_fn(|i| origin[i])),
            generation: read_u64(origin, 16),
        },
        _ => Origin::default(),
    };
    let file_bytes = u64_at(40);
    if file_bytes != file.len() as u64 {
        let what = format!("it has {} bytes, its header says {file_bytes}", file.len());
        return Err(corrupt(&what));
    }
    let mut end = head_and_table.len();
    let (mut sections, mut ignored): (Vec<Section>, Vec<Section>) = (Vec::new(), Vec::new());
    let mut last = None;
    for entry in head_and_table[header..].as_chunks::<ENTRY>().0 {
        let number = read_u32(entry, 0);
        let may_ignore = version >= 3 && number & IGNORABLE != 0;
        let section = parse_section(entry, may_ignore)
            .ok_or_else(|| corrupt("a section is of unknown kind"))?;
        let order = Some((number, section.part));
        if last >= order {
            return Err(corrupt("its sections are out of order"));
        }
        last = order;
        if section.range.start != end.next_multiple_of(ALIGNMENT) || section.range.end > file.len()
        {
            return Err(corrupt("a section lies where it should not"));
        }
        end = section.range.end;
        if may_ignore { &mut ignored } else { &mut sections }.push(section);
    }
    if end != file.len() {
        return Err(corrupt("bytes follow its last section"));
    }
    let (bits, substrings) = (u32_at(12), u32_at(36));
    if version >= 3 && features(bits, has_vectors(&sections)) != required {
        return Err(corrupt("its features are not those of its codes and sections"));
    }
    let counts = Counts { bits, substrings, codes: u64_at(16), distinct: u64_at(24) };
    Ok(Header { version, counts, features: required, origin, ignored, sections, file_bytes, xxh3 })
}

fn parse_section(entry: &[u8; ENTRY], ignored: bool) -> Option<Section> {
    let known = Kind::ALL.into_iter().find(|&kind| kind as u32 == read_u32(entry, 0));
    let kind = if ignored { Kind::Ignored } else { known.filter(|kind| *kind != Kind::Ignored)? };
    let start = usize::try_from(read_u64(entry, 8)).ok()?;
    let end = start.checked_add(usize::try_from(read_u64(entry, 16)).ok()?)?;
    Some(Section { kind, part: read_u32(entry, 4), range: start..end, xxh3: read_u64(entry, 24) })
}

/// Checks what [`parse`] does not look at: the checksum of every section, and zeros between them.
pub(crate) fn verify(path: &Path, file: &[u8], header: &Header) -> Result<()> {
    let mut sections: Vec<&Section> = header.sections.iter().chain(&header.ignored).collect();
    sections.sort_by_key(|section| section.range.start);
    let start = if header.version < 3 { OLD_HEADER } else { HEADER };
    let mut end = start + ENTRY * sections.len();
    for Section { kind, part, range, .. } in sections {
        if file[end..range.start].iter().any(|&byte| byte != 0) {
            let what = format!("bytes before section {kind:?} {part} are not zero");
            return Err(Error::corrupt(path, what));
        }
        end = range.end;
    }
    verify_sections(path, file, header, |_| true)
}

/// Checks the checksums of some sections, on all threads.
pub(crate) fn verify_sections(
    path: &Path,
    file: &[u8],
    header: &Header,
    wanted: impl Fn(&Section) -> bool,
) -> Result<()> {
    let sections: Vec<&Section> =
        header.sections.iter().chain(&header.ignored).filter(|section| wanted(section)).collect();
    sections.par_iter().with_max_len(1).try_for_each(|section| verify_section(path, file, section))
}

/// Checks the checksum of a section.
pub(crate) fn verify_section(path: &Path, file: &[u8], section: &Section) -> Result<()> {
    let Section { kind, part, range, xxh3 } = section;
    match xxh3_64(&file[range.clone()]) == *xxh3 {
        true => Ok(()),
        false => {
            let what = format!("the checksum of section {kind:?} {part} is wrong");
            Err(Error::corrupt(path, what))
        }
    }
}

/// The checksum of a header and section table, but for the checksum itself.
fn header_checksum(head_and_table: &[u8]) -> u64 {
    xxh3_64(&[&head_and_table[..CHECKSUM.start], &head_and_table[CHECKSUM.end..]].concat())
}

fn read_u32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn read_u64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests;
