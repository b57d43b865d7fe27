//! `.npy` files in C order, of the header versions 1 and 2: packed codes as `u8` in two dimensions, codes of +1 and -1 as numbers of other
//! types in two dimensions, and labels as whole numbers in one dimension or two. Nothing else that numpy can save.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use crate::codes::labels::Labels;
use crate::error;
use crate::io::signs::SignPacker;
use crate::io::whole_numbers::WholeNumber;
use crate::store::disk;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The parsed value, or the reason why the file cannot be used.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// An array `[rows, columns]` of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) columns: usize,
    /// Where the values are in the file.
    pub(crate) values: Range<usize>,
}

/// Writes an array `[values.len() / columns, columns]`.
pub(crate) fn write(path: &Path, columns: usize, values: &[u8]) -> error::Result<()> {
    let rows = values.len() / columns.max(1);
    write_array(path, "|u1", [rows, columns], |out| out.write_all(values))
}

/// Writes an array of a type in two dimensions; `values` writes its bytes.
pub(crate) fn write_array(
    path: &Path,
    descr: &str,
    shape: [usize; 2],
    values: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> error::Result<()> {
    disk::write(path, |out| {
        write_header(out, descr, shape)?;
        values(out)
    })
}

fn write_header(out: &mut dyn Write, descr: &str, [rows, columns]: [usize; 2]) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let before = MAGIC.len() + 4;
    let total = (before + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', total - before - header.len() - 1));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&((total - before) as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// The codes of an array.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NpyCodes {
    /// Bytes `[codes, bytes per code]`, which stay where they are in the file.
    Packed(Array),
    /// The packed bytes of codes that the file has as `[codes, bits]`, numbers +1 and -1.
    Signs(Vec<u8>),
}

/// Reads codes of `bits` bits: packed bytes, or a number +1 or -1 for each bit.
pub(crate) fn parse(file: &[u8], bits: u32) -> Parsed<NpyCodes> {
    let Raw { descr, dims, values } = raw(file)?;
    let is_packed = matches!(descr, "|u1" | "<u1" | ">u1" | "=u1" | "u1");
    let Some(number) = (if is_packed { Some(Number::U1) } else { Number::of(descr) }) else {
        return Err(format!(
            "its type is {descr:?}, codes are packed bytes ('|u1'), or +1 and -1 as little-endian floats or signed whole numbers"
        ));
    };
    let [rows, columns] = *dims else {
        return Err(match is_packed {
            true => "its shape is not (codes, bytes per code)".into(),
            false => "its shape is not (codes, bits)".into(),
        });
    };
    let expected = rows.checked_mul(columns).and_then(|count| count.checked_mul(number.bytes()));
    let expected = expected.ok_or("its shape is too large")?;
    if values.len() != expected {
        let found = values.len();
        return Err(format!("shape ({rows}, {columns}) needs {expected} bytes, it has {found}"));
    }
    if is_packed {
        return Ok(NpyCodes::Packed(Array { columns, values: file.len() - expected..file.len() }));
    }
    if columns != bits as usize {
        return Err(format!(
            "its type is {descr:?} and its shape ({rows}, {columns}): codes of {bits} bits are {bits} numbers of +1 and -1, or \
             packed bytes as `np.packbits(codes > 0, axis=1, bitorder=\"little\")` makes them"
        ));
    }
    let (mut packer, mut packed) = (SignPacker::new(bits), Vec::new());
    for (row, code) in values.chunks_exact((columns * number.bytes()).max(1)).enumerate() {
        let numbers = code.chunks_exact(number.bytes()).map(|bytes| number.read(bytes));
        packer.push(numbers, &mut packed).map_err(|reason| format!("its row {row} {reason}"))?;
    }
    Ok(NpyCodes::Signs(packed))
}

/// The type of a number, little-endian.
#[derive(Debug, Clone, Copy)]
enum Number {
    U1,
    I1,
    I2,
    I4,
    I8,
    F4,
    F8,
}

impl Number {
    /// The types that can hold +1 and -1.
    fn of(descr: &str) -> Option<Self> {
        match descr {
            "|i1" | "<i1" => Some(Self::I1),
            "<i2" => Some(Self::I2),
            "<i4" => Some(Self::I4),
            "<i8" => Some(Self::I8),
            "<f4" => Some(Self::F4),
            "<f8" => Some(Self::F8),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::U1 | Self::I1 => 1,
            Self::I2 => 2,
            Self::I4 | Self::F4 => 4,
            Self::I8 | Self::F8 => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        let [a, b, c, d, ..] = whole;
        match self {
            Self::U1 => f64::from(a),
            Self::I1 => f64::from(a.cast_signed()),
            Self::I2 => f64::from(i16::from_le_bytes([a, b])),
            Self::I4 => f64::from(i32::from_le_bytes([a, b, c, d])),
            Self::I8 => i64::from_le_bytes(whole) as f64,
            Self::F4 => f64::from(f32::from_le_bytes([a, b, c, d])),
            Self::F8 => f64::from_le_bytes(whole),
        }
    }
}

/// Reads labels: a number for each item, or a row of 0 and 1 for each item.
pub(crate) fn parse_labels(file: &[u8]) -> Parsed<Labels> {
    let Raw { descr, dims, values } = raw(file)?;
    let kind = match descr.trim_start_matches(['|', '<', '=']) {
        "b1" => "u1",
        kind => kind,
    };
    let number = match (kind.split_at_checked(1), kind) {
        (Some((sign @ ("i" | "u"), _)), "i1" | "i2" | "i4" | "i8" | "u1" | "u2" | "u4" | "u8") => {
            WholeNumber { is_signed: sign == "i", bytes: usize::from(kind.as_bytes()[1] - b'0') }
        }
        _ => {
            return Err(format!(
                "its type is {descr:?}, labels are whole numbers: save them as np.int64"
            ));
        }
    };
    let count = dims.iter().try_fold(number.bytes, |n, dim| n.checked_mul(*dim));
    if count != Some(values.len()) {
        return Err(format!("shape {dims:?} of {descr:?} does not fit its {} bytes", values.len()));
    }
    match *dims {
        [_] => Ok(Labels::Single(number.read_as(values, "a label must be below 2^63")?)),
        [_, classes] => {
            let flag = |x| u8::try_from(x).ok().filter(|x| *x <= 1);
            let values: Option<Vec<u8>> = number.read(values).map(flag).collect();
            let values = values
                .ok_or("labels in two dimensions must be 0 and 1, with a column for each class")?;
            Ok(Labels::MultiHot { classes, values })
        }
        _ => Err("its shape is neither (items) nor (items, classes)".into()),
    }
}

/// An array whose values have not been interpreted yet.
pub(super) struct Raw<'a> {
    pub(super) descr: &'a str,
    pub(super) dims: Vec<usize>,
    pub(super) values: &'a [u8],
}

/// Finds the type, the shape and the values of an array.
pub(super) fn raw(file: &[u8]) -> Parsed<Raw<'_>> {
    let short = || "the file is cut short: write it again".to_string();
    let rest = file.strip_prefix(MAGIC).ok_or("it does not begin as an .npy file does")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
            (u16::from_le_bytes(*length) as usize, rest)
        }
        [2, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        [major, minor] => return Err(format!("npy version {major}.{minor} is not 1.0 or 2.0")),
    };
    let (header, values) = rest.split_at_checked(length).ok_or_else(short)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let (descr, dims) = Header { rest: header }.read()?;
    Ok(Raw { descr, dims, values })
}

/// A parser of the header, which is the text of a Python dictionary.
struct Header<'a> {
    /// What has not been parsed yet.
    rest: &'a str,
}

impl<'a> Header<'a> {
    /// Parses the type and the shape.
    fn read(mut self) -> Parsed<(&'a str, Vec<usize>)> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_err() {
            let key = self.string()?;
            self.take(":")?;
            let repeated = match key {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.dims()?).is_some(),
                other => return Err(format!("its header has an unknown key {other:?}")),
            };
            if repeated {
                return Err(format!("its header has the key {key:?} twice"));
            }
            if self.take(",").is_err() && !self.rest.trim_start().starts_with('}') {
                return Err("its header is not a dictionary".into());
            }
        }
        if !self.rest.trim().is_empty() {
            return Err("its header goes on after the dictionary".into());
        }
        let descr = descr.ok_or("its header has no 'descr'")?;
        if fortran.ok_or("its header has no 'fortran_order'")? {
            return Err("it is in Fortran order: save it with np.ascontiguousarray".into());
        }
        Ok((descr, shape.ok_or("its header has no 'shape'")?))
    }

    fn take(&mut self, token: &str) -> Parsed<()> {
        let found = self.rest.trim_start().strip_prefix(token);
        self.rest = found.ok_or_else(|| format!("its header lacks {token:?}"))?;
        Ok(())
    }

    fn string(&mut self) -> Parsed<&'a str> {
        let quote = if self.take("'").is_ok() { '\'' } else { self.take("\"").map(|()| '"')? };
        let (text, rest) = self.rest.split_once(quote).ok_or("its header has an open string")?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Parsed<bool> {
        if self.take("False").is_ok() {
            return Ok(false);
        }
        self.take("True").map(|()| true)
    }

    fn dims(&mut self) -> Parsed<Vec<usize>> {
        let wrong = "its shape is not a tuple of numbers";
        self.take("(")?;
        let (inside, rest) = self.rest.split_once(')').ok_or(wrong)?;
        self.rest = rest;
        let inside = inside.trim().trim_end_matches(',');
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong.to_string());
        inside.split(',').map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
        let length = header.len() as u32;
        let length = if version == 1 { &length.to_le_bytes()[..2] } else { &length.to_le_bytes() };
        [MAGIC, &[version, 0], length, header.as_bytes(), values].concat()
    }

    const GOOD: &str = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n";

    #[test]
    fn reads_both_versions_and_what_it_writes() {
        for version in [1, 2] {
            let file = file(version, GOOD, b"abcdef");
            let NpyCodes::Packed(Array { columns, values }) = parse(&file, 24).unwrap() else {
                panic!("packed bytes are not numbers")
            };
            assert_eq!((columns, &file[values]), (3, &b"abcdef"[..]));
        }
        let mut written = Vec::new();
        write_header(&mut written, "|u1", [2, 3]).unwrap();
        written.extend(b"abcdef");
        assert_eq!(written.len(), 128 + 6, "the data start at a multiple of 64");
        let array = Array { columns: 3, values: 128..134 };
        assert_eq!(parse(&written, 24).unwrap(), NpyCodes::Packed(array));
    }

    /// What deep-hashing scripts save: `np.sign` of the network's output, as the type that it has.
    #[test]
    fn numbers_of_plus_and_minus_one_are_packed() {
        let signs: [i8; 12] = [1, -1, 1, 1, -1, -1, -1, -1, 1, 1, 1, -1];
        let bytes = |of: fn(i8) -> Vec<u8>| signs.iter().flat_map(|sign| of(*sign)).collect();
        let kinds: [(&str, Vec<u8>); 6] = [
            ("|i1", bytes(|x| x.to_le_bytes().to_vec())),
            ("<i2", bytes(|x| i16::from(x).to_le_bytes().to_vec())),
            ("<i4", bytes(|x| i32::from(x).to_le_bytes().to_vec())),
            ("<i8", bytes(|x| i64::from(x).to_le_bytes().to_vec())),
            ("<f4", bytes(|x| f32::from(x).to_le_bytes().to_vec())),
            ("<f8", bytes(|x| f64::from(x).to_le_bytes().to_vec())),
        ];
        for (kind, values) in kinds {
            let header = GOOD.replace("|u1", kind).replace("(2, 3)", "(2, 6)");
            let expected = NpyCodes::Signs(vec![0b00_1101, 0b01_1100]);
            assert_eq!(parse(&file(1, &header, &values), 6).unwrap(), expected, "{kind}");
            let error = parse(&file(1, &header, &values), 12).unwrap_err();
            assert!(error.contains("12 numbers") && error.contains("packbits"), "{error}");
            let short = parse(&file(1, &header, &values[1..]), 6).unwrap_err();
            assert!(short.contains("needs"), "{short}");
        }
        let header = GOOD.replace("|u1", "|i1").replace("(2, 3)", "(2, 6)");
        let error = parse(&file(1, &header, &[1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1]), 6).unwrap_err();
        assert!(error.contains("row 1 has the value 0"), "{error}");
        for kind in [">f4", "<f2", "<u4", "|b1", "<c8"] {
            let header = GOOD.replace("|u1", kind);
            assert!(parse(&file(1, &header, b"abcdef"), 3).unwrap_err().contains(kind), "{kind}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let whole = file(1, GOOD, b"abcdef");
        for end in 0..whole.len() {
            assert!(parse(&whole[..end], 24).is_err(), "cut at {end}");
        }
        assert!(parse(&[whole, vec![0]].concat(), 24).is_err(), "a byte too many");
        assert!(parse(&file(3, GOOD, b"abcdef"), 24).is_err());
        for (from, to) in [
            ("|u1", "<f4"),
            ("False", "True"),
            ("False", "0"),
            ("(2, 3)", "(6,)"),
            ("(2, 3)", "(2, 3, 1)"),
            ("(2, 3)", "(2, -3)"),
            ("(2, 3)", "(4611686018427387904, 8)"),
            ("'shape'", "'descr'"),
            ("'shape': (2, 3), ", ""),
            ("'descr': '|u1', ", ""),
            ("'fortran_order': False, ", ""),
            ("'fortran_order'", "'other'"),
            ("False,", "False"),
            ("}", "} x"),
            ("}", ""),
            ("'descr'", "'descr"),
        ] {
            let header = GOOD.replace(from, to);
            assert!(parse(&file(2, &header, b"abcdef"), 24).is_err(), "{header}");
        }
    }
}
