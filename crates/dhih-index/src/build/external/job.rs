//! The state that all stages of a build on disk share.

use std::path::Path;

use crate::build::external::budget::Budget;
use crate::build::layout::SegmentSpec;
use crate::progress::Reporter;

/// Progress is reported after this many items.
pub(super) const REPORT_EVERY: usize = if cfg!(test) { 1 << 4 } else { 1 << 20 };
/// A build that is under way.
pub(super) struct Job<'a> {
    pub(super) spec: &'a SegmentSpec,
    pub(super) dir: &'a Path,
    pub(super) budget: Budget,
    pub(super) reporter: &'a Reporter,
}
