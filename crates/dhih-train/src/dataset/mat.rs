//! MATLAB files of version 5, as far as arrays of small integers need them. Sizes in a file are checked against the bytes that are there.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// A named array of values from 0 to 255; the first index changes fastest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<u8>,
}

const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// More bytes than any array of the known sets: a limit for hostile files.
const MAX_BYTES: u64 = 1 << 31;

/// Reads all arrays of a file.
pub(super) fn read(file: &[u8]) -> Result<Vec<Array>, String> {
    let header = file.get(..128).ok_or("it is cut short")?;
    if header[126..] != *b"IM" || header[125] != 1 {
        return Err("not a little-endian MATLAB file of version 5".to_owned());
    }
    let (mut rest, mut arrays) = (&file[128..], Vec::new());
    while !rest.is_empty() {
        let (kind, data) = element(&mut rest, false)?;
        match kind {
            COMPRESSED => {
                let mut bytes = Vec::new();
                let unpacked = ZlibDecoder::new(data).take(MAX_BYTES).read_to_end(&mut bytes);
                unpacked.map_err(|error| format!("not a whole zlib stream: {error}"))?;
                match element(&mut &bytes[..], false)? {
                    (MATRIX, data) => arrays.push(matrix(data)?),
                    (kind, _) => return Err(format!("an element of kind {kind}")),
                }
            }
            MATRIX => arrays.push(matrix(data)?),
            kind => return Err(format!("an element of kind {kind}")),
        }
    }
    Ok(arrays)
}

/// The kind and the data of the next element. Within a matrix, elements are padded to 8 bytes.
fn element<'a>(rest: &mut &'a [u8], is_padded: bool) -> Result<(u32, &'a [u8]), String> {
    let short = || "it is cut short".to_owned();
    let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    let (first, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    // An element of up to four bytes has its data in place of the size, and the size in the upper half of the kind.
    let (kind, small) = (word(first) & 0xffff, (word(first) >> 16) as usize);
    let (data, after) = match small {
        0 => {
            let (size, after) = after.split_first_chunk::<4>().ok_or_else(short)?;
            let size = word(size) as usize;
            let (data, after) = after.split_at_checked(size).ok_or_else(short)?;
            let padding = if is_padded { size.next_multiple_of(8) - size } else { 0 };
            (data, after.get(padding.min(after.len())..).ok_or_else(short)?)
        }
        size => {
            let (data, after) = after.split_at_checked(4).ok_or_else(short)?;
            (data.get(..size).ok_or("a small element of more than 4 bytes")?, after)
        }
    };
    *rest = after;
    Ok((kind, data))
}

fn matrix(mut data: &[u8]) -> Result<Array, String> {
    let rest = &mut data;
    let (UINT32, _flags) = element(rest, true)? else {
        return Err("a matrix without flags".into());
    };
    let (INT32, dims) = element(rest, true)? else { return Err("a matrix without sizes".into()) };
    let (INT8, name) = element(rest, true)? else { return Err("a matrix without a name".into()) };
    let (kind, values) = element(rest, true)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let (dims, _) = dims.as_chunks::<4>();
    let dims: Vec<usize> = dims.iter().map(|dim| u32::from_le_bytes(*dim) as usize).collect();
    let values: Vec<u8> = match kind {
        UINT8 => values.to_vec(),
        DOUBLE => {
            let (values, _) = values.as_chunks::<8>();
            let whole = |bytes: &[u8; 8]| match f64::from_le_bytes(*bytes) {
                value if value.fract() == 0.0 && (0.0..256.0).contains(&value) => Ok(value as u8),
                value => Err(format!("{name} holds {value}, expected whole numbers of 0 to 255")),
            };
            values.iter().map(whole).collect::<Result<_, _>>()?
        }
        kind => return Err(format!("{name} holds values of kind {kind}, expected bytes")),
    };
    let count = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
    if count != Some(values.len()) {
        return Err(format!("{name} is {dims:?}, but has {} values", values.len()));
    }
    Ok(Array { name, dims, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    fn padded(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array(name: &str, dims: &[u32], kind: u32, values: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        // A short name in this small form.
        let mut small = (INT8 | (name.len() as u32) << 16).to_le_bytes().to_vec();
        small.extend(name.bytes().chain([0; 4]).take(4));
        let parts = [padded(UINT32, &[9, 0, 0, 0, 0, 0, 0, 0]), padded(INT32, &dims), small];
        padded(MATRIX, &[parts.concat(), padded(kind, values)].concat())
    }

    fn file(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(elements.concat());
        bytes
    }

    fn packed(element: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(element).unwrap();
        let data = encoder.finish().unwrap();
        [&COMPRESSED.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &data].concat()
    }

    #[test]
    fn arrays_come_back_packed_or_not() {
        let x = array("X", &[3, 2], UINT8, &[1, 2, 3, 4, 5, 6]);
        let doubles: Vec<u8> = [7f64, 10.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let y = array("y", &[2, 1], DOUBLE, &doubles);
        let expected = [
            Array { name: "X".into(), dims: vec![3, 2], values: vec![1, 2, 3, 4, 5, 6] },
            Array { name: "y".into(), dims: vec![2, 1], values: vec![7, 10] },
        ];
        for bytes in [file(&[x.clone(), y.clone()]), file(&[packed(&x), packed(&y)])] {
            assert_eq!(read(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_fewer_arrays() {
        let x = array("X", &[3, 2], UINT8, &[1, 2, 3, 4, 5, 6]);
        let whole = file(&[packed(&x), x]);
        for end in 0..whole.len() {
            if let Ok(arrays) = read(&whole[..end]) {
                assert!(arrays.len() < 2 || end + 8 > whole.len(), "{end}");
            }
        }
        let half = array("y", &[2], DOUBLE, &[0.5f64.to_le_bytes(), 1f64.to_le_bytes()].concat());
        assert!(read(&file(&[half])).unwrap_err().contains("0.5"));
        let wrong = array("X", &[9, 9], UINT8, &[1]);
        assert!(read(&file(&[wrong])).unwrap_err().contains("1 values"));
    }
}
