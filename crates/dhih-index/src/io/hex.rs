//! Text files of codes in hexadecimal, one a line and first byte first: the form in which lists of perceptual hashes are exchanged. A code's
//! id is its number in the file.

use std::path::Path;

use crate::codes::Codes;
use crate::codes::bits::{self, MAX_BITS};
use crate::error::Result;
use crate::io::fault::Fault;
use crate::store::disk;

/// Reads codes of `bits` bits, or of as many as the digits of the first line have. Blanks around a code, empty lines, and lines that begin
/// with `#` are ignored.
pub(crate) fn parse(file: &[u8], bits: Option<u32>) -> std::result::Result<Codes, Fault> {
    // Some editors begin a text with a mark of its byte order.
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let lines = (1..).zip(text.split(|&byte| byte == b'\n'));
    let lines = lines.map(|(number, line)| (number, line.trim_ascii()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && line[0] != b'#').peekable();
    let Some(&(number, first)) = lines.peek() else {
        return Err("it has no code: give one a line, in hexadecimal".into());
    };
    let bits = match bits {
        Some(bits) => bits,
        None => u32::try_from(4 * first.len())
            .ok()
            .filter(|bits| *bits <= MAX_BITS)
            .ok_or_else(|| Fault::from(format!("line {number} is too long for a code")))?,
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let width = bits::bytes_per_code(bits);
    for (number, line) in lines {
        let wrong = |what: String| Fault::from(format!("line {number} {what}"));
        if line.len() != 2 * width {
            let found = line.len();
            return Err(wrong(format!(
                "has {found} characters; a code of {bits} bits has {} hexadecimal digits",
                2 * width
            )));
        }
        let start = bytes.len();
        if !bits::append_hex(line, &mut bytes) {
            return Err(wrong("is not hexadecimal".to_owned()));
        }
        if !bits::padding_is_zero(bits, &bytes[start..]) {
            return Err(wrong(format!("has bits set beyond bit {bits}")));
        }
    }
    Codes::new(bits, bytes).map_err(|error| error.with_causes().into())
}

/// Writes codes, a line each.
pub(crate) fn write(path: &Path, codes: &Codes) -> Result<()> {
    disk::write(path, |out| {
        let mut line = Vec::with_capacity(2 * codes.bytes_per_code() + 1);
        for code in codes {
            line.clear();
            line.extend(bits::hex_digits(code));
            line.push(b'\n');
            out.write_all(&line)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_codes_and_what_is_none_is_named() {
        let text = b"\xef\xbb\xbf# a list\r\n00ff\r\n\n  0AbC \n1234";
        let codes = parse(text, None).unwrap();
        assert_eq!((codes.bits(), codes.as_bytes()), (16, &[0, 255, 10, 0xbc, 0x12, 0x34][..]));
        assert_eq!(parse(b"ff07", Some(11)).unwrap().bits(), 11);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.hex");
        write(&path, &codes).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written, b"00ff\n0abc\n1234\n");
        assert_eq!(parse(&written, Some(16)).unwrap(), codes);
        let long = "0".repeat(1026);
        for (text, bits, expected) in [
            ("", None, "no code"),
            ("#\n\n", None, "no code"),
            ("00\n000\n", None, "line 2 has 3 characters; a code of 8 bits has 2"),
            ("0", None, "line 1 has 1 characters; a code of 4 bits has 2"),
            ("00\n\n0g\n", None, "line 3 is not hexadecimal"),
            ("ff08", Some(11), "line 1 has bits set beyond bit 11"),
            ("\u{e9}", None, "line 1 is not hexadecimal"),
            (&long, None, "line 1 is too long"),
            ("00", Some(16), "a code of 16 bits has 4"),
        ] {
            let reason = parse(text.as_bytes(), bits).unwrap_err().reason;
            assert!(reason.contains(expected), "{text:?}: {reason}");
        }
    }
}
