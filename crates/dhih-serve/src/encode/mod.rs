//! Encodes pictures: from bytes of files to real-valued codes, outside of the async runtime and within limits. This folder does not know
//! HTTP.
//!
//! ```text
//! pictures.rs -> queue.rs (a place of places.rs, or a refusal) -> memory.rs (bytes to decode with) -> decoded on a blocking thread
//!             -> workers.rs (encoded in batches with the images of other requests)
//! ```
//!
//! An image has a place in the queue from before it is decoded until it has its code. The place belongs to the image and not to the
//! request. If the client goes away, the image is counted until it is dropped, which happens at once unless a worker has taken it.

mod memory;
mod pictures;
mod places;
mod queue;
mod workers;

use std::time::Duration;

pub(crate) use self::pictures::PictureEncoder;
use crate::blocking::BlockingError;
use crate::run::coder::Lacking;

/// The settings of the encode queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// The most images in progress; further ones are refused.
    pub capacity: usize,
    /// The most images that a worker encodes together.
    pub max_batch: usize,
    /// How long the first image of a batch waits for others.
    pub max_wait: Duration,
    /// Images that would wait longer than this until they are encoded, judged by recent encoding times, are refused unless few are in
    /// progress. Under overload, accepted images are therefore still answered soon.
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
    /// Too many images wait.
    Overloaded {
        /// The time until the images ahead are encoded.
        wait: Duration,
    },
    /// No thread or memory became available in time.
    Busy,
    /// The request has more images than the queue ever takes.
    TooMany {
        /// The capacity of the queue.
        most: usize,
    },
    /// The bytes are not a picture of a known format. Contains what they are.
    NotAnImage(String),
    /// The picture cannot be used. Contains the reason.
    Unusable(String),
    /// There is no network for encoding.
    Lacking(Lacking),
    /// The request was cancelled before the turn of this picture.
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
