//! The thumbnails of a run: `gallery.safetensors`, memory-mapped, one row for each image. `run` knows which row belongs to which id.
#![allow(unsafe_code)] // For the memory map.

use std::{
    collections::hash_map::DefaultHasher,
    fs::File,
    hash::{Hash, Hasher},
    ops::Range,
    path::Path,
};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};

use crate::{Error, Result};

/// The command that writes a gallery.
const MAKE: &str = "cargo run --release -p dhih-train";

/// A safetensors file begins with the length of its header, a `u64`.
const LENGTH_BYTES: usize = 8;

/// One of the two tensors of a gallery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// `database`, in the order of `codes.safetensors`.
    Database,
    /// `queries`, in the order of `queries.safetensors`.
    Queries,
}

/// Thumbnails of the database and of the held-out queries.
#[derive(Debug)]
pub struct Gallery {
    map: Mmap,
    database: Rows,
    queries: Rows,
    fingerprint: u64,
}

/// One thumbnail, borrowed from the file.
#[derive(Debug, Clone, Copy)]
pub struct Thumbnail<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[height, width, channels]`, row-major, with one channel (grey) or three (RGB).
    pub pixels: &'a [u8],
}

#[derive(Debug)]
struct Rows {
    bytes: Range<usize>,
    shape: [usize; 4],
}

impl Gallery {
    /// Opens the file and checks the headers of both tensors. Pixels are read when needed.
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |reason: String| Error::unusable(path, reason, MAKE);
        let file = File::open(path).map_err(|e| broken(e.to_string()))?;
        let meta = file.metadata().map_err(|e| broken(e.to_string()))?;
        // SAFETY: files of a run are only replaced by a rename and never written in place, so the mapped bytes do not change while the map
        // exists.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| broken(e.to_string()))?;
        let (length, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| broken(e.to_string()))?;
        let rows = |name| rows(LENGTH_BYTES + length, &metadata, name).map_err(broken);
        let (database, queries) = (rows("database")?, rows("queries")?);
        let mut hasher = DefaultHasher::new();
        (meta.len(), meta.modified().ok(), database.shape, queries.shape).hash(&mut hasher);
        Ok(Self { database, queries, fingerprint: hasher.finish(), map })
    }

    /// The number of thumbnails of a set.
    pub fn len(&self, set: Set) -> usize {
        self.rows(set).shape[0]
    }

    /// Whether both sets are empty.
    pub fn is_empty(&self) -> bool {
        self.len(Set::Database) + self.len(Set::Queries) == 0
    }

    /// Distinguishes this file from others, so that a browser never shows cached thumbnails of another run.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The thumbnail in a row; `None` past the end.
    pub fn get(&self, set: Set, row: usize) -> Option<Thumbnail<'_>> {
        let rows = self.rows(set);
        let [count, height, width, channels] = rows.shape;
        if row >= count {
            return None;
        }
        let size = height * width * channels;
        let start = rows.bytes.start + row * size;
        Some(Thumbnail { width, height, pixels: self.map.get(start..start + size)? })
    }

    fn rows(&self, set: Set) -> &Rows {
        match set {
            Set::Database => &self.database,
            Set::Queries => &self.queries,
        }
    }
}

impl Thumbnail<'_> {
    /// The thumbnail as a PNG file.
    pub fn to_png(self) -> image::ImageResult<Vec<u8>> {
        let grey = self.pixels.len() == self.width * self.height;
        let color = if grey { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut png = Vec::new();
        PngEncoder::new(&mut png).write_image(
            self.pixels,
            u32::try_from(self.width).unwrap_or(u32::MAX),
            u32::try_from(self.height).unwrap_or(u32::MAX),
            color,
        )?;
        Ok(png)
    }
}

fn rows(header: usize, metadata: &Metadata, name: &str) -> Result<Rows, String> {
    let tensor = metadata.info(name).ok_or_else(|| format!("there is no tensor `{name}`"))?;
    let shape = match (tensor.dtype, &tensor.shape[..]) {
        (Dtype::U8, &[n, h, w, c]) if h > 0 && w > 0 && (c == 1 || c == 3) => [n, h, w, c],
        (dtype, shape) => {
            return Err(format!(
                "tensor `{name}` must be U8 [n, height, width, 1 or 3], it is {dtype:?} {shape:?}"
            ));
        }
    };
    let (start, end) = tensor.data_offsets;
    Ok(Rows { bytes: header + start..header + end, shape })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn rows_are_the_images_in_grey_and_in_colour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gallery.safetensors");
        let (grey, rgb): (Vec<u8>, Vec<u8>) = ((0..18).collect(), (100..112).collect());
        let tensors = [
            ("database", TensorView::new(Dtype::U8, vec![3, 2, 3, 1], &grey).unwrap()),
            ("queries", TensorView::new(Dtype::U8, vec![2, 1, 2, 3], &rgb).unwrap()),
        ];
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let gallery = Gallery::open(&path).unwrap();
        assert_eq!((gallery.len(Set::Database), gallery.len(Set::Queries)), (3, 2));
        let png = |set, row| {
            let png = gallery.get(set, row).unwrap().to_png().unwrap();
            image::load_from_memory(&png).unwrap()
        };
        for row in 0..3 {
            assert_eq!(png(Set::Database, row).into_luma8().into_raw(), grey[6 * row..][..6]);
        }
        for row in 0..2 {
            assert_eq!(png(Set::Queries, row).into_rgb8().into_raw(), rgb[6 * row..][..6]);
        }
        assert!(gallery.get(Set::Database, 3).is_none() && gallery.get(Set::Queries, 2).is_none());
    }
}
