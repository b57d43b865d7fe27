//! From the bytes of pictures to real-valued codes, off the async runtime and within bounds. No HTTP here.
//!
//! ```text
//! pictures.rs -> queue.rs (a place of places.rs, or a refusal) -> memory.rs (bytes to decode with) -> decoded on a blocking thread
//!             -> workers.rs (encoded in batches with the images of other requests)
//! ```
//!
//! An image has its place in the queue from before it is decoded until it has its code. The place belongs to the image, not to the
//! request: what a client that went away leaves behind is counted until it is dropped, which is at once unless a worker has it.

mod memory;
mod pictures;
mod places;
mod queue;
mod workers;

use std::time::Duration;

pub(crate) use self::pictures::PictureEncoder;
use crate::blocking::BlockingError;
use crate::run::coder::Lacking;

/// How images are gathered into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Images under way at most; further ones are refused.
    pub capacity: usize,
    /// Images that one worker encodes together at most.
    pub max_batch: usize,
    /// How long the first image of a batch waits for others.
    pub max_wait: Duration,
    /// Images are refused that would wait longer than this until they are encoded, by what encoding has taken lately, unless few are
    /// under way: under more load than the encoder takes, those that are accepted are answered soon.
    pub max_queued: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let (max_wait, max_queued) = (Duration::from_millis(2), Duration::from_millis(40));
        Self { capacity: 128, max_batch: 32, max_wait, max_queued }
    }
}

/// Why a picture has no code.
#[derive(Debug)]
pub(crate) enum EncodeError {
    /// More images wait than are encoded soon, for about so long.
    Overloaded {
        /// Until those before it are encoded.
        wait: Duration,
    },
    /// No thread or no memory became free in time.
    Busy,
    /// So many images are never taken at once.
    TooMany {
        /// At most so many.
        most: usize,
    },
    /// The bytes are no picture of a known format; what they are.
    NotAnImage(String),
    /// The picture cannot be used; why.
    Unusable(String),
    /// There is no network to make codes with.
    Lacking(Lacking),
    /// The request was given up before it was this picture's turn.
    Abandoned,
    /// Decoding or the network failed.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl EncodeError {
    fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(cause.into())
    }
}

impl From<BlockingError> for EncodeError {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Busy => Self::Busy,
            BlockingError::Failed(cause) => Self::Failed(cause),
        }
    }
}
