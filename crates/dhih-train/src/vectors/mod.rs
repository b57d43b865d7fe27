//! Files of vectors, such as embeddings: fits a codec to them, trains one on their labels (`head.rs`) or on two views of each (`views.rs`), and
//! encodes them. `dhih_model::codec` has the arithmetic, `dhih-index` reads the files. A few thousand vectors are in memory at a time.

pub mod head;
mod steps;
pub mod views;

use std::ops::Range;
use std::time::Instant;

use dhih_index::{CodeSet, Codes, Labels, Vectors};
use dhih_model::codec::{Codec, FitConfig, Rows, fit};

use self::head::{HeadConfig, Labelled, TrainedHead, train_head};
use self::views::{TwoViews, ViewsConfig, train_views};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The number of values that are encoded at once.
const PART_VALUES: usize = 1 << 20;

/// A file of vectors as the source of a fit.
struct FileRows<'a>(&'a Vectors);

impl Rows for FileRows<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn dims(&self) -> usize {
        self.0.dims()
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        let unusable =
            |error: dhih_index::Error| dhih_model::Error::Vectors { reason: error.to_string() };
        self.0.read(rows, to).map_err(unusable)
    }
}

/// Fits a codec to all vectors of a file.
///
/// # Errors
/// As [`fit`].
pub fn fit_codec(vectors: &Vectors, config: &FitConfig, progress: Progress) -> Result<Codec> {
    let (started, bar) = (Instant::now(), progress.bar("fitting", vectors.len()));
    let codec = fit(&FileRows(vectors), config, &mut |read| bar.set_position(read as u64))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    progress.line(format!("fitted to {} vectors in {seconds:.1} s", vectors.len()));
    Ok(codec)
}

/// Trains a codec on the vectors of a file.
///
/// # Errors
/// As [`train_head`].
pub fn train_codec(
    vectors: &Vectors,
    labels: &Labels,
    config: &HeadConfig,
    progress: Progress,
) -> Result<TrainedHead> {
    train_head(Labelled { rows: &FileRows(vectors), labels }, config, progress)
}

/// Trains a codec on the vectors of a file and on other views of them, row by row, in another file; without one, as [`TwoViews::others`] says.
///
/// # Errors
/// As [`train_views`].
pub fn train_codec_on_views(
    vectors: &Vectors,
    others: Option<&Vectors>,
    config: &ViewsConfig,
    progress: Progress,
) -> Result<Codec> {
    let others = others.map(FileRows);
    let others = others.as_ref().map(|others| others as &dyn Rows);
    train_views(TwoViews { rows: &FileRows(vectors), others }, config, progress)
}

/// Encodes all vectors of a file; the codes carry the digest of the codec.
///
/// # Errors
/// When the vectors do not have the length of the codec's, and those of [`Codec::encode`], with the number of the vector.
pub fn encode_vectors(codec: &Codec, vectors: &Vectors, progress: Progress) -> Result<CodeSet> {
    if vectors.dims() != codec.dims() {
        return Err(Error::Config {
            name: "vectors",
            got: format!("an array of vectors of {} numbers", vectors.dims()),
            expected: format!("vectors of {} numbers, which the codec was fitted to", codec.dims()),
        });
    }
    let bar = progress.bar("encoding", vectors.len());
    let bits = codec.bits() as u32;
    let (mut codes, mut values) = (Codes::new(bits, Vec::new())?, Vec::new());
    let step = (PART_VALUES / codec.dims()).max(1);
    for start in (0..vectors.len()).step_by(step) {
        let rows = start..vectors.len().min(start + step);
        values.clear();
        vectors.read(rows.clone(), &mut values)?;
        let part = codec.encode(&values).map_err(|error| match error {
            dhih_model::Error::Vectors { reason } => {
                dhih_model::Error::Vectors { reason: format!("of those from {start} on, {reason}") }
            }
            other => other,
        })?;
        codes.try_extend(Codes::from_real(bits, &part)?.iter())?;
        bar.set_position(rows.end as u64);
    }
    bar.finish_and_clear();
    let mut set = CodeSet::new(codes);
    set.model_sha256 = Some(codec.sha256().to_owned());
    Ok(set)
}
