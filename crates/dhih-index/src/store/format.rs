//! The layout of a data file: header, section table, sections. The tables of bytes are in
//! docs/src/FORMAT.md; what the sections mean together is `segment.rs`, that they agree with each
//! other `verify.rs`.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!("index files are little-endian and read in place");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("index files are mapped whole, which needs 64-bit addresses");

pub(crate) const MAGIC: [u8; 8] = *b"DHIHIDX\n";
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read.
const OLDEST: u32 = 1;
/// Sections start at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 64;
/// Bytes of a substring: its length and 31 positions, 16 bits each.
pub(crate) const SUBSTRING: usize = 64;
const HEADER: usize = 64;
const ENTRY: usize = 32;
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
}

impl Kind {
    const ALL: [Self; 15] = [
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
    /// Ascending by kind and part, one after the other in the file.
    pub(crate) sections: Vec<Section>,
    pub(crate) file_bytes: u64,
    pub(crate) xxh3: u64,
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

/// The bytes of header and section table, for sections as [`layout`] gives them, and the header's checksum.
pub(crate) fn encode(counts: Counts, sections: &[Section]) -> (Vec<u8>, u64) {
    let mut bytes = Vec::with_capacity(HEADER + ENTRY * sections.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(counts.bits.to_le_bytes());
    bytes.extend(counts.codes.to_le_bytes());
    bytes.extend(counts.distinct.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    bytes.extend(counts.substrings.to_le_bytes());
    bytes.extend((sections.last().map_or(HEADER, |last| last.range.end) as u64).to_le_bytes());
    bytes.extend([0; 16]);
    for section in sections {
        bytes.extend((section.kind as u32).to_le_bytes());
        bytes.extend(section.part.to_le_bytes());
        bytes.extend((section.range.start as u64).to_le_bytes());
        bytes.extend((section.range.len() as u64).to_le_bytes());
        bytes.extend(section.xxh3.to_le_bytes());
    }
    let xxh3 = header_checksum(&bytes);
    bytes[CHECKSUM].copy_from_slice(&xxh3.to_le_bytes());
    (bytes, xxh3)
}

/// Reads and checks the header and the section table of a data file; looks at no section's content.
pub(crate) fn parse(path: &Path, file: &[u8]) -> Result<Header> {
    let corrupt = |what: &str| Error::corrupt(path, what);
    if file.is_empty() {
        return Err(corrupt("it is empty"));
    }
    let head =
        file.first_chunk::<HEADER>().ok_or_else(|| corrupt("it is shorter than its header"))?;
    let (u32_at, u64_at) = (|at| read_u32(head, at), |at| read_u64(head, at));
    if head[..8] != MAGIC {
        return Err(corrupt("it does not start as an index file does"));
    }
    let version = u32_at(8);
    if !(OLDEST..=VERSION).contains(&version) {
        let path = path.to_path_buf();
        return Err(Error::Version { path, found: version, supported: VERSION });
    }
    let table_end = ENTRY.checked_mul(u32_at(32) as usize).and_then(|n| n.checked_add(HEADER));
    let head_and_table = table_end.and_then(|end| file.get(..end));
    let head_and_table = head_and_table.ok_or_else(|| corrupt("its section table is cut short"))?;
    let xxh3 = u64_at(CHECKSUM.start);
    if header_checksum(head_and_table) != xxh3 {
        return Err(corrupt("the checksum of its header is wrong"));
    }
    if u64_at(48) != 0 {
        return Err(corrupt("reserved bytes of its header are not zero"));
    }
    let file_bytes = u64_at(40);
    if file_bytes != file.len() as u64 {
        let what = format!("it has {} bytes, its header says {file_bytes}", file.len());
        return Err(corrupt(&what));
    }
    let mut end = head_and_table.len();
    let mut sections: Vec<Section> = Vec::new();
    for entry in head_and_table[HEADER..].as_chunks::<ENTRY>().0 {
        let section =
            parse_section(entry).ok_or_else(|| corrupt("a section is of unknown kind"))?;
        let order = |section: &Section| (section.kind, section.part);
        if sections.last().is_some_and(|last| order(last) >= order(&section)) {
            return Err(corrupt("its sections are out of order"));
        }
        if section.range.start != end.next_multiple_of(ALIGNMENT) || section.range.end > file.len()
        {
            return Err(corrupt("a section lies where it should not"));
        }
        end = section.range.end;
        sections.push(section);
    }
    if end != file.len() {
        return Err(corrupt("bytes follow its last section"));
    }
    let (bits, substrings) = (u32_at(12), u32_at(36));
    let counts = Counts { bits, substrings, codes: u64_at(16), distinct: u64_at(24) };
    Ok(Header { version, counts, sections, file_bytes, xxh3 })
}

fn parse_section(entry: &[u8; ENTRY]) -> Option<Section> {
    let kind = Kind::ALL.into_iter().find(|&kind| kind as u32 == read_u32(entry, 0))?;
    let start = usize::try_from(read_u64(entry, 8)).ok()?;
    let end = start.checked_add(usize::try_from(read_u64(entry, 16)).ok()?)?;
    Some(Section { kind, part: read_u32(entry, 4), range: start..end, xxh3: read_u64(entry, 24) })
}

/// Checks what [`parse`] does not look at: the checksum of every section, and zeros between them.
pub(crate) fn verify(path: &Path, file: &[u8], header: &Header) -> Result<()> {
    let mut end = HEADER + ENTRY * header.sections.len();
    for Section { kind, part, range, xxh3 } in &header.sections {
        if file[end..range.start].iter().any(|&byte| byte != 0) {
            return Err(Error::corrupt(
                path,
                format!("bytes before section {kind:?} {part} are not zero"),
            ));
        }
        if xxh3_64(&file[range.clone()]) != *xxh3 {
            return Err(Error::corrupt(
                path,
                format!("the checksum of section {kind:?} {part} is wrong"),
            ));
        }
        end = range.end;
    }
    Ok(())
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
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let contents = [&b"{}"[..], &[7; 65], b""];
        let kinds = [(Kind::Metadata, 0), (Kind::Postings, 3), (Kind::Postings, 4)];
        let lengths =
            kinds.iter().zip(contents).map(|(&(kind, part), bytes)| (kind, part, bytes.len()));
        let mut sections = layout(lengths.rev().collect());
        for (section, bytes) in sections.iter_mut().zip(contents) {
            section.xxh3 = xxh3_64(bytes);
        }
        let counts = Counts { bits: 9, substrings: 5, codes: 2, distinct: 1 };
        let (mut file, xxh3) = encode(counts, &sections);
        for (section, bytes) in sections.iter().zip(contents) {
            file.resize(section.range.start, 0);
            file.extend(bytes);
        }
        let file_bytes = file.len() as u64;
        let header = Header { version: VERSION, counts, sections, file_bytes, xxh3 };
        let path = Path::new("x");
        assert_eq!(parse(path, &file).unwrap(), header);
        verify(path, &file, &header).unwrap();
        file
    }

    fn sealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Header> {
        let mut file = file();
        change(&mut file);
        let table_end =
            HEADER + ENTRY * read_u32(file.first_chunk::<HEADER>().unwrap(), 32) as usize;
        let xxh3 = header_checksum(&file[..table_end.min(file.len())]);
        file[CHECKSUM].copy_from_slice(&xxh3.to_le_bytes());
        parse(Path::new("x"), &file)
    }

    #[test]
    fn any_cut_or_flip_is_found() {
        let (whole, path) = (file(), Path::new("x"));
        for end in 0..whole.len() {
            assert!(parse(path, &whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut file = whole.clone();
            file[at] ^= 0x10;
            let found = parse(path, &file).and_then(|header| verify(path, &file, &header));
            assert!(found.is_err(), "flip at {at}");
        }
    }

    #[test]
    fn a_header_that_is_sealed_but_wrong_is_refused() {
        assert!(sealed(|_| {}).is_ok());
        assert!(matches!(
            sealed(|file| file[8] = 3),
            Err(Error::Version { found: 3, supported: 2, .. })
        ));
        let wrong: [fn(&mut Vec<u8>); 10] = [
            |file| file[0] = b'd',
            |file| file[48] = 1,
            |file| file[40] ^= 1,
            |file| file.push(0),
            |file| file[32] = 1,
            |file| file[HEADER] = 16,
            |file| file[HEADER + ENTRY + 4] = 5,
            |file| file[HEADER + 8] ^= 64,
            |file| file[HEADER + 16] ^= 64,
            |file| file[HEADER + 23] = 0xff,
        ];
        for (case, wrong) in wrong.into_iter().enumerate() {
            assert!(matches!(sealed(wrong), Err(Error::Corrupt { .. })), "case {case}");
        }
    }
}
