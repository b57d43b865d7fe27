//! Reads files of pictures in parts; `encode` and `photos` begin with it.

use std::path::PathBuf;

use dhih_model::InputShape;
use dhih_model::image::PictureReader;
use dhih_model::walk::{self, LeftOut, Reason};
use rayon::prelude::*;

use crate::progress::Progress;

/// The pictures to be read for a network.
#[derive(Clone, Copy)]
pub struct Pictures<'a> {
    /// Their files.
    pub files: &'a [PathBuf],
    /// The decoder.
    pub reader: &'a PictureReader,
    /// The shape that they are brought to.
    pub input: InputShape,
}

impl Pictures<'_> {
    /// Calls `visit` with the pixels of some pictures, `[n, height, width, channels]`, and their files, part by part in the order of the files.
    /// A progress bar has the given title. A file that is not a usable picture is added to `left_out`. Returns the numbers of the files that
    /// were read. The pixels of a few batches are in memory.
    ///
    /// # Errors
    /// The first error of `visit`.
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
        // At least two pictures for each thread, so that all threads decode.
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
