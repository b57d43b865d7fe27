//! Names of files as text: a reversible escape, and the normal form in which names of classes are compared.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A name or path as text on one line. Bytes that are not UTF-8, control characters and the two line separators of Unicode are written as
/// `\xHH`, one for each byte, and a backslash as `\\`. The escape is reversible, so that two names never have the same text.
pub fn text_of(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str(r"\\"),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    escape(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
                }
                c => text.push(c),
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\x{byte:02X}");
    }
}

/// A name in Unicode's normal form C, in which an accented letter is one character. macOS decomposes such letters in file names, so that names
/// of classes are compared in this form.
pub fn nfc(name: &str) -> Cow<'_, str> {
    match is_nfc(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.nfc().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_an_accent_are_one_name() {
        assert_eq!(nfc("Cafe\u{301}"), "Café");
        assert!(matches!(nfc("Café"), Cow::Borrowed("Café")));
    }

    #[test]
    fn text_is_readable_and_stays_on_one_line() {
        assert_eq!(text_of(OsStr::new("a/b c/ä.png")), "a/b c/ä.png");
        assert_eq!(text_of(OsStr::new("a\nb\\c\u{2028}")), r"a\x0Ab\\c\xE2\x80\xA8");
    }

    #[cfg(unix)]
    mod bytes {
        use super::*;
        use proptest::prelude::*;
        use std::os::unix::ffi::OsStrExt;

        /// The bytes that a text stands for: the inverse of `text_of`.
        fn bytes_of(text: &str) -> Vec<u8> {
            let mut bytes = Vec::new();
            let mut rest = text.as_bytes();
            while let [first, tail @ ..] = rest {
                rest = match (first, tail) {
                    (b'\\', [b'\\', tail @ ..]) => {
                        bytes.push(b'\\');
                        tail
                    }
                    (b'\\', [b'x', high, low, tail @ ..]) => {
                        let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
                        bytes.push(digit(*high) << 4 | digit(*low));
                        tail
                    }
                    _ => {
                        bytes.push(*first);
                        tail
                    }
                };
            }
            bytes
        }

        #[test]
        fn bytes_that_are_no_utf8_are_escaped() {
            assert_eq!(text_of(OsStr::from_bytes(b"a/\xff\xfe.png")), r"a/\xFF\xFE.png");
            assert_eq!(text_of(OsStr::from_bytes(br"a/\xFF\xFE.png")), r"a/\\xFF\\xFE.png");
        }

        proptest! {
            #[test]
            fn the_text_leads_back_to_the_bytes(name: Vec<u8>) {
                let text = text_of(OsStr::from_bytes(&name));
                prop_assert!(!text.contains(char::is_control), "{text:?}");
                prop_assert_eq!(bytes_of(&text), name);
            }
        }
    }
}
