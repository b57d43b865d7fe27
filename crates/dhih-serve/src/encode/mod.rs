//! From the bytes of pictures to real-valued codes, off the async runtime and within bounds. No HTTP here.
//!
//! ```text
//! pictures.rs -> queue.rs (a place, or a refusal) -> memory.rs (bytes to decode with) -> decoded on a blocking thread
//!             -> workers.rs (encoded in batches with the images of other requests)
//! ```
//!
//! An image has its place in the queue from before it is decoded until it has its code. The place belongs to the image, not to the
//! request: what a client that went away leaves behind is counted until it is dropped, which is at once unless a worker has it.

mod memory;
mod pictures;
mod queue;
mod workers;

use std::time::Duration;

use crate::blocking::BlockingError;
use crate::run::coder::Lacking;

pub(crate) use self::pictures::PictureEncoder;
pub use self::queue::QueueConfig;

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
