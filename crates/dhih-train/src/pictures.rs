//! Files of pictures to pixels, some at a time: what `encode` and `photos` begin with.

use std::path::PathBuf;

use dhih_model::InputShape;
use dhih_model::image::PictureReader;
use dhih_model::walk::{self, LeftOut, Reason};
use rayon::prelude::*;

use crate::progress::Progress;

/// Pictures to be read for a network.
#[derive(Clone, Copy)]
pub struct Pictures<'a> {
    /// Where they are.
    pub files: &'a [PathBuf],
    /// What decodes them.
    pub reader: &'a PictureReader,
    /// The shape that they are brought to.
    pub input: InputShape,
}

impl Pictures<'_> {
    /// Calls `visit` with the pixels of some pictures, `[n, height, width, channels]`, and the files that they are of, part by part, in the
    /// order of the files; a bar with this title tells how far it is. A file that is no usable picture goes to `left_out`. Returns the numbers of
    /// the files whose pixels were given. In memory are the pixels of a few batches.
    ///
    /// # Errors
    /// The first one of `visit`.
    pub fn for_each_part<E>(
        self,
        (progress, title): (Progress, &'static str),
        left_out: &mut LeftOut,
        mut visit: impl FnMut(&[u8], &[PathBuf]) -> Result<(), E>,
    ) -> Result<Vec<usize>, E> {
        let Self { files, reader, input } = self;
        let read = |file: &PathBuf| -> Result<Vec<u8>, Reason> {
            let bytes = walk::read_picture(file, reader.limits())?;
            reader.fitted(&bytes, input).map_err(Reason::broken)
        };
        // At least two pictures a thread, so that all threads have pictures to decode.
        let at_once = (4 * input.inference_batch()).max(2 * rayon::current_num_threads());
        let bar = progress.bar(title, files.len());
        let mut usable = Vec::new();
        let mut pixels = Vec::with_capacity(at_once.min(files.len()) * input.len());
        for (first, part) in (0..).step_by(at_once).zip(files.chunks(at_once)) {
            let decoded: Vec<_> = part.par_iter().map(read).collect();
            pixels.clear();
            for (number, image) in (first..).zip(decoded) {
                match image {
                    Ok(image) => {
                        pixels.extend(image);
                        usable.push(number);
                    }
                    Err(reason) => left_out.push(files[number].clone(), reason),
                }
            }
            visit(&pixels, part)?;
            bar.inc(part.len() as u64);
        }
        bar.finish_and_clear();
        Ok(usable)
    }
}
