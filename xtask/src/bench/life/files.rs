//! The input files of `bench life`, written from a seed: uniform codes and ids as `.npy`, one item as safetensors. What is done with
//! them: `program.rs`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Length of a code in bytes: all codes of this benchmark have 64 bits.
const CODE_BYTES: usize = 8;

/// The SplitMix64 generator. Each 64-bit output is one uniform code.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Writes `count` uniform codes of 64 bits as an `.npy` file of bytes with a row for each code.
pub(super) fn write_codes(path: &Path, count: usize, numbers: &mut Numbers) -> Result<()> {
    let mut bytes = npy_header(&format!("({count}, {CODE_BYTES})"));
    bytes.reserve(CODE_BYTES * count);
    (0..count).for_each(|_| bytes.extend(numbers.next().to_le_bytes()));
    write(path, &bytes)
}

/// Writes ids as text, one a line.
pub(super) fn write_ids(path: &Path, ids: &[u64]) -> Result<()> {
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    write(path, lines.as_bytes())
}

/// Writes one item, its id and its code, as a safetensors codes file.
pub(super) fn write_item(path: &Path, id: u64, code: u64) -> Result<()> {
    let header = concat!(
        r#"{"__metadata__":{"dhih.bits":"64"},"#,
        r#""ids":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},"#,
        r#""codes":{"dtype":"U8","shape":[1,8],"data_offsets":[8,16]}}"#
    );
    let width = header.len().next_multiple_of(8);
    let mut bytes = (width as u64).to_le_bytes().to_vec();
    bytes.extend(format!("{header:width$}").into_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend(code.to_le_bytes());
    write(path, &bytes)
}

/// The header of an array of bytes in version 1.0 of the format, padded so that the values begin at a multiple of 64 bytes.
fn npy_header(shape: &str) -> Vec<u8> {
    const BEFORE_TEXT: usize = 10;
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    let width = (BEFORE_TEXT + text.len() + 1).next_multiple_of(64) - BEFORE_TEXT - 1;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((width + 1) as u16).to_le_bytes());
    bytes.extend(format!("{text:width$}\n").into_bytes());
    bytes
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_npy_file_has_an_aligned_header_and_its_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        write_ids(&path, &[7, 1 << 40]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n1099511627776\n");

        write_codes(&path, 3, &mut Numbers(1)).unwrap();
        let codes = fs::read(&path).unwrap();
        assert!(
            String::from_utf8_lossy(&codes).contains("'|u1'")
                && String::from_utf8_lossy(&codes).contains("(3, 8)")
        );
        let header = 10 + usize::from(u16::from_le_bytes([codes[8], codes[9]]));
        assert_eq!((header % 64, codes[header - 1], codes.len()), (0, b'\n', header + 24));
        assert_eq!(codes[codes.len() - 24..codes.len() - 16], Numbers(1).next().to_le_bytes());
    }

    #[test]
    fn an_item_is_a_safetensors_file_whose_header_tells_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_item(&path, 5, 0x0102).unwrap();
        let bytes = fs::read(&path).unwrap();
        let header = u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize;
        let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
        assert_eq!(json["codes"]["data_offsets"][1], 16);
        assert_eq!(bytes[8 + header..], [5_u64.to_le_bytes(), 0x0102_u64.to_le_bytes()].concat());
    }
}
