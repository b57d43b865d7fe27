//! `encode --arrow-stdin`: an Arrow stream from stdin to stdout. Without the feature `parquet` it is refused.

use anyhow::Result;
use dhih_model::Encoder;
use dhih_model::codec::Codec;

#[cfg(feature = "parquet")]
pub(super) use with::{of_pictures, of_vectors};
#[cfg(not(feature = "parquet"))]
pub(super) use without::{of_pictures, of_vectors};

#[cfg(feature = "parquet")]
mod with {
    use std::io::{BufWriter, stdin, stdout};

    use dhih_train::Progress;
    use dhih_train::arrow_stream::{Coder, Encoded, encode};

    use super::{Codec, Encoder, Result};

    /// Encodes a stream of pictures.
    pub(in super::super) fn of_pictures(encoder: &Encoder) -> Result<()> {
        stream(Coder::Pictures(encoder))
    }

    /// Encodes a stream of vectors.
    pub(in super::super) fn of_vectors(codec: &Codec) -> Result<()> {
        stream(Coder::Vectors(codec))
    }

    fn stream(coder: Coder<'_>) -> Result<()> {
        let out = BufWriter::new(stdout().lock());
        let Encoded { rows, without_code } = encode(stdin().lock(), out, coder)?;
        Progress::Shown.line(format!(
            "{} codes of {} bits, {without_code} rows without one",
            rows - without_code,
            coder.bits()
        ));
        Ok(())
    }
}

#[cfg(not(feature = "parquet"))]
mod without {
    use anyhow::bail;

    use super::{Codec, Encoder, Result};

    /// Refuses a stream of pictures.
    pub(in super::super) fn of_pictures(_: &Encoder) -> Result<()> {
        refuse()
    }

    /// Refuses a stream of vectors.
    pub(in super::super) fn of_vectors(_: &Codec) -> Result<()> {
        refuse()
    }

    fn refuse() -> Result<()> {
        bail!(
            "this program was built without Arrow streams; build it with `--features parquet`, or give --input"
        )
    }
}
