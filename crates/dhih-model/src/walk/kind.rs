//! Which files are pictures, by their first bytes and by the extensions of their names. `image/` decodes them.

use std::path::Path;

/// The format of a picture, recognised by its first bytes. `image` knows which of them can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureKind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    WebP,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF, also BigTIFF.
    Tiff,
    /// HEIF with HEVC pictures, as phones write it.
    Heic,
    /// HEIF with AV1 pictures.
    Avif,
}

/// File name extensions of pictures, in lower case.
pub const PICTURE_ENDINGS: [&str; 14] = [
    "avif", "bmp", "dib", "gif", "heic", "heif", "jfif", "jpe", "jpeg", "jpg", "png", "tif",
    "tiff", "webp",
];

impl PictureKind {
    /// The number of bytes that [`Self::of`] needs at most.
    pub const BYTES: usize = 64;

    /// The format of a file that begins with `start`; `None` where it is none of these.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'B', b'M', ..] => is_bitmap(start).then_some(Self::Bmp),
            // By its first four bytes, Canon's raw format is a TIFF.
            [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', ..] => None,
            [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Some(Self::Tiff),
            _ if start.get(4..8) == Some(b"ftyp") => heif(start),
            _ => None,
        }
    }
}

/// Whether "BM" begins a bitmap and not a text: in a bitmap two reserved fields are zero, and the second header has one of the known lengths.
fn is_bitmap(start: &[u8]) -> bool {
    let header = start.get(14..18).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    start.get(6..10) == Some(&[0; 4])
        && matches!(header, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// The kind of an ISO base media file, by the brands in its first box: the major brand, then the compatible ones.
fn heif(start: &[u8]) -> Option<PictureKind> {
    let length = start.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize)?;
    let brands = start.get(8..length.min(start.len()))?.as_chunks::<4>().0;
    let is_any = |known: &[&[u8; 4]]| brands.iter().any(|brand| known.contains(&brand));
    match () {
        () if is_any(&[b"avif", b"avis"]) => Some(PictureKind::Avif),
        () if is_any(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) => {
            Some(PictureKind::Heic)
        }
        () => None,
    }
}

/// Whether the extension of a file's name is that of a picture.
pub fn has_picture_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| {
        PICTURE_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let bitmap = [&b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"[..], &[0; 36]].concat();
        let cases: [(&[u8], Option<PictureKind>); 17] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some(PictureKind::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some(PictureKind::Png)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(PictureKind::WebP)),
            (b"GIF89a\x01\0\x01\0", Some(PictureKind::Gif)),
            (&bitmap, Some(PictureKind::Bmp)),
            (b"II*\0\x08\0\0\0", Some(PictureKind::Tiff)),
            (b"MM\0*\0\0\0\x08", Some(PictureKind::Tiff)),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some(PictureKind::Heic)),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", Some(PictureKind::Avif)),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp41isom", None),
            (b"II*\0\x10\0\0\0CR\x02\0", None),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"BMW is a maker of cars and motorcycles", None),
            (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", None),
            (b"\xff\xd8", None),
            (b"\0\0\0\0ftyp", None),
            (b"", None),
        ];
        for (start, kind) in cases {
            assert_eq!(PictureKind::of(start), kind, "{start:?}");
        }
    }

    #[test]
    fn endings_are_known_in_upper_and_lower_case() {
        for name in ["a.jpg", "a.JPG", "x/a.b.Jpeg", "a.heic"] {
            assert!(has_picture_ending(Path::new(name)), "{name}");
        }
        for name in ["jpg", ".jpg", "a.txt", "a.jpg.json", "a.JPG_large"] {
            assert!(!has_picture_ending(Path::new(name)), "{name}");
        }
    }
}
