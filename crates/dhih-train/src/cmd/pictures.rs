//! What the commands that read folders of pictures share.

use clap::Args;
use dhih_model::image::{Limits, PictureReader};
use dhih_model::walk::{Entry, LeftOut, text_of};
use dhih_train::Progress;

/// Bounds on pictures.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Longest side of a picture that is taken, in pixels
    #[arg(long, env = "DHIH_MAX_SIDE", value_name = "PIXELS", default_value_t = Limits::FILE_SIDE)]
    max_side: u32,
    /// Largest area of a picture that is taken, in pixels
    #[arg(long, env = "DHIH_MAX_PIXELS", value_name = "N", default_value_t = Limits::FILE_PIXELS)]
    max_pixels: u64,
}

impl LimitArgs {
    /// A reader of pictures within these limits.
    pub(super) fn reader(&self) -> PictureReader {
        PictureReader::new(Limits::of_files(self.max_side, self.max_pixels))
    }
}

/// Reports entries that are left out for a fault, and the number of all entries that are left out.
pub(super) fn tell_left_out(left_out: &LeftOut) {
    for Entry { path, reason } in left_out.faults() {
        Progress::Shown.line(format!("skipped {}: {reason}", text_of(path.as_os_str())));
    }
    if let Some(summary) = left_out.summary() {
        Progress::Shown.line(summary);
    }
}
