//! What a user sees during work, on stderr: a bar with rate and ETA on a terminal, and one plain line for each epoch elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows progress on stderr, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Shown,
    /// Nothing, for library use and tests.
    Silent,
}

impl Progress {
    /// A bar over `total` items with images/s and ETA. It draws nothing where stderr is not a terminal.
    pub fn bar(self, what: &str, total: usize) -> ProgressBar {
        let visible = self == Self::Shown && std::io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = "{msg:14} {bar:32} {pos}/{len} images  {per_sec} ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key(
                "per_sec",
                |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    // Work continues even if the bar cannot be drawn.
                    let _ = write!(out, "{:.0} images/s", state.per_sec());
                },
            ));
        }
        bar.set_message(what.to_owned());
        if visible {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        bar
    }

    /// Prints one line. Work goes on where nobody reads stderr any more, on which `eprintln!` would panic.
    pub fn line(self, text: impl AsRef<str>) {
        if self == Self::Shown {
            let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
        }
    }
}
