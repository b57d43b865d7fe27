//! Thumbnails of a run's database and queries, so that the run can be searched and viewed without its dataset.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use crate::dataset::{Dataset, fit};
use crate::error::{Error, Result};
use crate::files;
use crate::protocol::Split;
use crate::settings::gallery::GalleryChoice;

/// The longest side of a thumbnail, in pixels.
const MAX_SIDE: usize = 64;
/// The number of images that are scaled at a time, which bounds memory.
const CHUNK: usize = 1024;

/// Writes tensors `database` and `queries`, `[n, height, width, channels]` u8, in the order of the codes, for the images that `choice` asks for.
/// Larger images are scaled down to 64 pixels. Pixels are written to the file as they are made.
///
/// # Errors
/// When an image or the file cannot be read or written. The file never appears half-written.
pub(crate) fn write(
    path: &Path,
    dataset: &Dataset,
    split: &Split,
    choice: GalleryChoice,
) -> Result<()> {
    let database = match choice {
        GalleryChoice::None => return Ok(()),
        GalleryChoice::Queries => &[],
        GalleryChoice::All => &split.database[..],
    };
    files::replace(path, &path.with_extension("safetensors.tmp"), |temporary| {
        write_parts(temporary, dataset, [database, &split.queries])
    })
}

/// Thumbnails of a database of unknown size, written one part after the other.
pub(crate) struct Thumbnails {
    path: PathBuf,
    body: BufWriter<File>,
    from: InputShape,
    count: usize,
}

impl Thumbnails {
    /// Starts the gallery `path`, for images of a shape.
    ///
    /// # Errors
    /// When no file can be made beside it.
    pub(crate) fn new(path: &Path, from: InputShape) -> Result<Self> {
        let body = path.with_extension("body.tmp");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&body);
        let body = BufWriter::new(file.map_err(Error::io(&body))?);
        Ok(Self { path: path.to_owned(), body, from, count: 0 })
    }

    fn body_path(&self) -> PathBuf {
        self.path.with_extension("body.tmp")
    }

    /// Adds thumbnails of images `[n, height, width, channels]`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add(&mut self, images: &[u8]) -> Result<()> {
        let fitted = fit(images.to_vec(), self.from, thumbnail_shape(self.from))?;
        self.body.write_all(&fitted).map_err(Error::io(&self.body_path()))?;
        self.count += images.len() / self.from.len();
        Ok(())
    }

    /// Writes the gallery, which appears only when it is complete.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(crate) fn finish(mut self) -> Result<()> {
        let path = self.path.clone();
        files::replace(&path, &path.with_extension("safetensors.tmp"), |temporary| {
            self.copy_to(temporary)
        })
    }

    fn copy_to(&mut self, path: &Path) -> Result<()> {
        let body = self.body_path();
        self.body.flush().map_err(Error::io(&body))?;
        let from = self.body.get_mut();
        from.rewind().map_err(Error::io(&body))?;
        let mut file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
        let header = header(thumbnail_shape(self.from), [self.count, 0]);
        file.write_all(&header).map_err(Error::io(path))?;
        std::io::copy(from, &mut file).map_err(Error::io(path))?;
        let file = file.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(path))
    }
}

impl Drop for Thumbnails {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.body_path());
    }
}

fn write_parts(path: &Path, dataset: &Dataset, parts: [&[usize]; 2]) -> Result<()> {
    let shape = thumbnail_shape(dataset.shape);
    let mut file = BufWriter::new(File::create(path).map_err(Error::io(path))?);
    file.write_all(&header(shape, parts.map(<[usize]>::len))).map_err(Error::io(path))?;
    for rows in parts.into_iter().flat_map(|rows| rows.chunks(CHUNK)) {
        file.write_all(&dataset.gather_fitted(rows, shape)?).map_err(Error::io(path))?;
    }
    let file = file.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
    file.sync_all().map_err(Error::io(path))
}

/// The beginning of a safetensors file: the length of the header, and the header, padded to eight bytes.
fn header(shape: InputShape, [database, queries]: [usize; 2]) -> Vec<u8> {
    let InputShape { height, width, channels, .. } = shape;
    let tensor = |count: usize, start: usize| {
        let end = start + count * shape.len();
        format!(
            "{{\"dtype\":\"U8\",\"shape\":[{count},{height},{width},{channels}],\"data_offsets\":[{start},{end}]}}"
        )
    };
    let first = tensor(database, 0);
    let second = tensor(queries, database * shape.len());
    let mut text = format!("{{\"database\":{first},\"queries\":{second}}}");
    let padding = text.len().next_multiple_of(8) - text.len();
    text.extend(std::iter::repeat_n(' ', padding));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn thumbnail_shape(shape: InputShape) -> InputShape {
    let longest = shape.height.max(shape.width);
    let scaled = |side: usize| (side * MAX_SIDE / longest).max(1);
    match longest {
        0..=MAX_SIDE => shape,
        // The image is what the network sees of a picture; nothing more is cut off.
        _ => InputShape::new(scaled(shape.height), scaled(shape.width), shape.channels),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn the_header_is_that_of_the_library() {
        let shape = InputShape::new(2, 3, 1);
        for counts in [[0, 1], [7, 0], [100, 2]] {
            let pixels = vec![0; 600];
            let view = |count: usize| {
                TensorView::new(Dtype::U8, vec![count, 2, 3, 1], &pixels[..6 * count]).unwrap()
            };
            let tensors = [("queries", view(counts[1])), ("database", view(counts[0]))];
            let expected = safetensors::serialize(tensors, None).unwrap();
            let header = header(shape, counts);
            assert_eq!(header, expected[..header.len()]);
            assert_eq!(expected.len(), header.len() + 6 * (counts[0] + counts[1]));
        }
    }
}
