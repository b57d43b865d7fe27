//! Thumbnails of a run's database and queries, so that the run can be searched and looked at without its dataset.

use std::borrow::Cow;
use std::path::Path;

use dhih_model::InputShape;
use safetensors::{Dtype, View};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::protocol::Split;
use crate::run::run_dir::RunDir;

/// The longest side of a thumbnail, in pixels.
const MAX_SIDE: usize = 64;

/// Writes tensors `database` and `queries`, `[n, height, width, channels]` u8, in the order of the codes; larger images are
/// scaled down to 64 pixels.
///
/// # Errors
/// When the file cannot be written; it never appears half-written.
pub(crate) fn write(path: &Path, dataset: &Dataset, split: &Split) -> Result<()> {
    let shape = thumbnail_shape(dataset.shape);
    let part = |rows: &[usize]| -> Result<Thumbnails> {
        let mut pixels = Vec::with_capacity(rows.len() * shape.len());
        // In parts: the whole images may take more memory than there is.
        for rows in rows.chunks(4096) {
            pixels.extend(dataset.gather_fitted(rows, shape)?);
        }
        Ok(Thumbnails { dims: vec![rows.len(), shape.height, shape.width, shape.channels], pixels })
    };
    let tensors = [("database", part(&split.database)?), ("queries", part(&split.queries)?)];
    let temporary = path.with_extension("safetensors.tmp");
    safetensors::serialize_to_file(tensors, None, &temporary)
        .map_err(|error| Error::Run { path: temporary.clone(), reason: error.to_string() })?;
    let file = std::fs::File::open(&temporary).map_err(Error::io(&temporary))?;
    // The library makes the file private; a run is served by others, too.
    let like = path.with_file_name(RunDir::CONFIG);
    if let Ok(metadata) = std::fs::metadata(like) {
        file.set_permissions(metadata.permissions()).map_err(Error::io(&temporary))?;
    }
    file.sync_all().map_err(Error::io(&temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::io(path))
}

fn thumbnail_shape(shape: InputShape) -> InputShape {
    let longest = shape.height.max(shape.width);
    let scaled = |side: usize| (side * MAX_SIDE / longest).max(1);
    match longest {
        0..=MAX_SIDE => shape,
        _ => InputShape { height: scaled(shape.height), width: scaled(shape.width), ..shape },
    }
}

struct Thumbnails {
    dims: Vec<usize>,
    pixels: Vec<u8>,
}

impl View for Thumbnails {
    fn dtype(&self) -> Dtype {
        Dtype::U8
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.pixels)
    }

    fn data_len(&self) -> usize {
        self.pixels.len()
    }
}
