//! `.npy` files of packed codes: `u8`, C order, two dimensions, header versions 1 and 2. Nothing
//! else of numpy.

use std::io::{self, Write};
use std::path::Path;

use crate::atomic_file;
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// An array `[rows, columns]` of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<u8>,
}

/// Reads the bytes of an `.npy` file; `path` is for the message.
pub(crate) fn parse(path: &Path, file: &[u8]) -> Result<Array> {
    try_parse(file).map_err(|reason| Error::codes_file(path, reason))
}

/// Writes an array `[values.len() / columns, columns]`.
pub(crate) fn write(path: &Path, columns: usize, values: &[u8]) -> Result<()> {
    let rows = values.len() / columns.max(1);
    atomic_file::write(path, |out| write_to(out, rows, columns, values))
}

fn write_to(out: &mut dyn Write, rows: usize, columns: usize, values: &[u8]) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let before = MAGIC.len() + 4;
    let total = (before + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', total - before - header.len() - 1));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&((total - before) as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    out.write_all(values)
}

type Parsed<T> = std::result::Result<T, String>;

fn try_parse(file: &[u8]) -> Parsed<Array> {
    let short = || "the file is cut short: write it again".to_string();
    let rest = file.strip_prefix(MAGIC).ok_or("it does not start as an .npy file does")?;
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
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let (rows, columns) = Header { rest: header }.shape()?;
    let expected = rows.checked_mul(columns).ok_or("its shape is too large")?;
    if values.len() != expected {
        let found = values.len();
        return Err(format!("shape ({rows}, {columns}) needs {expected} bytes, it has {found}"));
    }
    Ok(Array { rows, columns, values: values.to_vec() })
}

/// A reader of the one Python dictionary that an npy header is.
struct Header<'a> {
    rest: &'a str,
}

impl<'a> Header<'a> {
    fn shape(mut self) -> Parsed<(usize, usize)> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_err() {
            let key = self.string()?;
            self.take(":")?;
            let repeated = match key {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.pair()?).is_some(),
                other => return Err(format!("its header has an unknown key {other:?}")),
            };
            if repeated {
                return Err(format!("its header has the key {key:?} twice"));
            }
            if self.take(",").is_err() && !self.rest.trim_start().starts_with('}') {
                return Err("its header is no dictionary".into());
            }
        }
        if !self.rest.trim().is_empty() {
            return Err("its header goes on after the dictionary".into());
        }
        match descr.ok_or("its header has no 'descr'")? {
            "|u1" | "<u1" | ">u1" | "=u1" | "u1" => {}
            other => return Err(format!("its type is {other:?}, codes are packed bytes ('|u1')")),
        }
        if fortran.ok_or("its header has no 'fortran_order'")? {
            return Err("it is in Fortran order: save it with np.ascontiguousarray".into());
        }
        shape.ok_or_else(|| "its header has no 'shape'".into())
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

    fn pair(&mut self) -> Parsed<(usize, usize)> {
        let wrong = "its shape is not (codes, bytes per code)";
        self.take("(")?;
        let (inside, rest) = self.rest.split_once(')').ok_or(wrong)?;
        self.rest = rest;
        let inside = inside.trim().trim_end_matches(',');
        let (rows, columns) = inside.split_once(',').ok_or(wrong)?;
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong);
        Ok((number(rows)?, number(columns)?))
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
            let array = try_parse(&file(version, GOOD, b"abcdef")).unwrap();
            assert_eq!(array, Array { rows: 2, columns: 3, values: b"abcdef".to_vec() });
        }
        let mut written = Vec::new();
        write_to(&mut written, 2, 3, b"abcdef").unwrap();
        assert_eq!(written.len(), 128 + 6, "the data start at a multiple of 64");
        assert_eq!(try_parse(&written).unwrap().values, b"abcdef");
    }

    #[test]
    fn refuses_everything_else() {
        let whole = file(1, GOOD, b"abcdef");
        for end in 0..whole.len() {
            assert!(try_parse(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(try_parse(&[whole, vec![0]].concat()).is_err(), "a byte too many");
        assert!(try_parse(&file(3, GOOD, b"abcdef")).is_err());
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
            assert!(try_parse(&file(2, &header, b"abcdef")).is_err(), "{header}");
        }
    }
}
