//! Any cut or changed byte of a segment is found, and a header whose checksum holds but which is wrong is refused.

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
    let origin = Origin { id: identity(counts, &sections), generation: 7 };
    let (mut file, xxh3) = encode(counts, origin, &sections);
    for (section, bytes) in sections.iter().zip(contents) {
        file.resize(section.range.start, 0);
        file.extend(bytes);
    }
    let file_bytes = file.len() as u64;
    let header = Header {
        version: VERSION,
        counts,
        features: 0,
        origin,
        ignored: Vec::new(),
        sections,
        file_bytes,
        xxh3,
    };
    let path = Path::new("x");
    assert_eq!(parse(path, &file).unwrap(), header);
    verify(path, &file, &header).unwrap();
    file
}

fn sealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Header> {
    let mut file = file();
    change(&mut file);
    let table_end = HEADER + ENTRY * read_u32(file.first_chunk::<HEADER>().unwrap(), 32) as usize;
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
        sealed(|file| file[8] = 4),
        Err(Error::Version { found: 4, supported: 3, .. })
    ));
    assert!(matches!(sealed(|file| file[49] = 1), Err(Error::Features { unknown: 256, .. })));
    assert!(sealed(|file| file[53] = 1).is_ok(), "a feature that may be ignored");
    // The last section gets a kind that a reader may ignore.
    let ignored = sealed(|file| file[HEADER + 2 * ENTRY + 3] = 0x80).unwrap();
    assert_eq!((ignored.sections.len(), ignored.ignored.len()), (2, 1));
    let wrong: [fn(&mut Vec<u8>); 12] = [
        |file| file[0] = b'd',
        |file| file[90] = 1,
        |file| file[40] ^= 1,
        |file| file.push(0),
        |file| file[32] = 1,
        |file| file[HEADER] = 99,
        // The header claims that there are vectors although there are none, or that codes are long.
        |file| file[48] = 1,
        |file| file[48] = 2,
        |file| file[HEADER + ENTRY + 4] = 5,
        |file| file[HEADER + 8] ^= 64,
        |file| file[HEADER + 16] ^= 64,
        |file| file[HEADER + 23] = 0xff,
    ];
    for (case, wrong) in wrong.into_iter().enumerate() {
        assert!(matches!(sealed(wrong), Err(Error::Corrupt { .. })), "case {case}");
    }
}
