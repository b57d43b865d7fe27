//! The memory that all request bodies share. A body is charged as it arrives, whether or not its length is declared, and its memory is
//! released when its last bytes are dropped. The first bytes of each body are free, so that large uploads never keep small requests out.
//! `layers/body_memory.rs` decides which bodies are charged.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::http::ApiError;
use crate::operation::limits::Limits;

/// Bytes that are free for all bodies together, and at most for one of them.
const ALL_FREE: usize = 16 << 20;
const ONE_FREE: usize = 64 << 10;
/// The largest JSON body, in bytes, apart from a picture in base64: enough for a batch of vectors with some thousand numbers, or for a
/// thousand of the longest codes.
pub(crate) const MOST_JSON: usize = 4 << 20;
/// Parsed JSON takes about this many times its length at most. The worst case is metadata with a list of digits, each of which becomes a
/// `serde_json::Value`.
const PARSED: usize = 16;
/// What a line of JSON takes at least once it is parsed, in bytes. A line with a code of 48 bits has 24 bytes, and [`PARSED`] times these are
/// as much.
const PARSED_LINE: usize = 384;
/// Bytes of one permit of the semaphore.
const PERMIT: usize = 1024;
/// How long the rest of a refused body is read. A client whose connection is closed while it sends does not read the refusal.
const DRAIN: Duration = Duration::from_secs(2);

/// The budget of bytes for request bodies.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    permits: Arc<Semaphore>,
    /// The number of all permits.
    most: usize,
    free: usize,
}

/// The permits that one body holds, and the refusal if the body was refused.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HeldState>);

#[derive(Debug, Default)]
struct HeldState {
    memory: Option<OwnedSemaphorePermit>,
    permits: usize,
    refusal: Option<Refusal>,
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TooLarge,
    NoMemory,
}

impl BodyMemory {
    pub(crate) fn new(limits: &Limits) -> Self {
        // One body of the largest size must fit, whatever its weight is.
        let largest = limits.max_body_bytes.saturating_mul(PARSED);
        let most = limits.body_memory_bytes.max(largest).div_ceil(PERMIT).min(u32::MAX as usize);
        let free = ONE_FREE.min(ALL_FREE / limits.max_in_flight.max(1));
        Self { permits: Arc::new(Semaphore::new(most)), most, free }
    }

    /// Charges `held` for a body that takes `bytes` so far, minus the bytes that are free.
    fn charge(&self, held: &Held, bytes: usize) -> Result<(), Refusal> {
        let mut state = held.lock();
        let wanted = bytes.saturating_sub(self.free).div_ceil(PERMIT);
        if wanted > self.most {
            // It would not fit either if it were the only body.
            return Err(Refusal::TooLarge);
        }
        let more = wanted.saturating_sub(state.permits);
        if more > 0 {
            let count = u32::try_from(more).map_err(|_| Refusal::TooLarge)?;
            let permit = self.permits.clone().try_acquire_many_owned(count);
            let permit = permit.map_err(|_| Refusal::NoMemory)?;
            match &mut state.memory {
                Some(memory) => memory.merge(permit),
                none => *none = Some(permit),
            }
            state.permits = wanted;
        }
        Ok(())
    }
}

impl Held {
    fn lock(&self) -> std::sync::MutexGuard<'_, HeldState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses the body. Its permits are kept, because the reader of the body has the bytes until it sees the end.
    fn refuse(&self, refusal: Refusal) {
        self.lock().refusal = Some(refusal);
    }

    /// The answer for a refused body. The reader of the body sees only an error, so the layer asks here for the cause.
    pub(crate) fn refusal(&self) -> Option<ApiError> {
        Some(match self.lock().refusal? {
            Refusal::TooLarge => ApiError::TooLarge,
            Refusal::NoMemory => ApiError::Busy,
        })
    }
}

/// A body that is charged as it arrives.
pub(crate) struct ChargedBody {
    pub(crate) body: Body,
    pub(crate) memory: Arc<BodyMemory>,
    pub(crate) held: Arc<Held>,
    /// The largest size, in bytes; a longer body is refused.
    pub(crate) limit: usize,
    pub(crate) weight: Weight,
    /// The rest of a refused body is read up to this many bytes.
    pub(crate) drained: usize,
    pub(crate) progress: Progress,
}

/// How much memory is charged for the bytes of a body. Bytes that grow when they are parsed are charged as more than one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Bytes that are used as they are.
    Bytes,
    /// JSON. Its longest text may be a picture in base64, which exists a second time once it is decoded.
    Json,
    /// Lines of JSON. Each line becomes an item, however short it is.
    Lines,
}

impl Weight {
    /// The bytes to charge for what has arrived of a body.
    ///
    /// # Errors
    /// When there is too much JSON apart from the longest text.
    fn charged(self, arrived: &Arrived) -> Result<usize, Refusal> {
        let (bytes, text) = (arrived.bytes, arrived.text.longest);
        let parsed = |json: usize| json.saturating_sub(ONE_FREE).saturating_mul(PARSED - 1);
        Ok(match self {
            Self::Bytes => bytes,
            Self::Json if bytes - text > MOST_JSON => return Err(Refusal::TooLarge),
            Self::Json => bytes
                .saturating_add(parsed(bytes - text))
                .saturating_add(text.saturating_sub(ONE_FREE)),
            Self::Lines => {
                let lines = arrived.lines.saturating_sub(ONE_FREE / PARSED_LINE);
                bytes.saturating_add(parsed(bytes)).max(lines.saturating_mul(PARSED_LINE))
            }
        })
    }
}

/// What has arrived of a body.
#[derive(Debug, Default)]
struct Arrived {
    bytes: usize,
    /// Measured for JSON alone.
    text: LongestText,
    /// The number of line ends; counted for lines of JSON alone.
    lines: usize,
}

impl Arrived {
    fn see(&mut self, piece: &[u8], weight: Weight) {
        self.bytes += piece.len();
        match weight {
            Weight::Bytes => {}
            Weight::Json => self.text.see(piece),
            Weight::Lines => self.lines += piece.iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

/// Measures the longest text of a body that may be base64, while the body arrives. Other JSON, such as lists of numbers, grows when it is
/// parsed; such a text does not.
#[derive(Debug, Default)]
struct LongestText {
    current: usize,
    longest: usize,
}

impl LongestText {
    fn see(&mut self, piece: &[u8]) {
        // JSON may escape a slash, as `\/`.
        let is_other = |byte: &u8| {
            !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\'))
        };
        for (number, part) in piece.split(is_other).enumerate() {
            // The first part continues the text at the end of the previous piece.
            self.current = if number == 0 { self.current } else { 0 } + part.len();
            self.longest = self.longest.max(self.current);
        }
    }
}

/// How much of a body has arrived.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    arrived: Arrived,
    /// Whether a frame has just been handed out. Readers of forms collect all frames that are ready. They get one frame at a time, so that
    /// they never hold a second copy of the body.
    pauses: bool,
    draining: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for ChargedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.progress.pauses) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let refused = || Poll::Ready(Some(Err(axum::Error::new("the body is refused"))));
        loop {
            if let Some(time) = &mut self.progress.draining
                && time.as_mut().poll(cx).is_ready()
            {
                return refused();
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                _ if self.progress.draining.is_some() => return refused(),
                end => return Poll::Ready(end),
            };
            let weight = self.weight;
            if let Some(piece) = frame.data_ref() {
                self.progress.arrived.see(piece, weight);
            }
            let received = self.progress.arrived.bytes;
            if self.progress.draining.is_some() {
                if received > self.drained {
                    return refused();
                }
                continue;
            }
            let charged = match received > self.limit {
                true => Err(Refusal::TooLarge),
                false => {
                    let charged = weight.charged(&self.progress.arrived);
                    charged.and_then(|charged| self.memory.charge(&self.held, charged))
                }
            };
            match charged {
                Ok(()) => {
                    // Small bodies are not paused, because that costs a turn of the runtime.
                    self.progress.pauses = received > ONE_FREE;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(refusal) => {
                    self.held.refuse(refusal);
                    self.progress.draining = Some(Box::pin(tokio::time::sleep(DRAIN)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.progress.draining.is_none() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(max_in_flight: usize) -> BodyMemory {
        BodyMemory::new(&Limits { max_in_flight, ..Limits::default() })
    }

    #[test]
    fn a_body_holds_what_has_arrived_and_no_more() {
        let memory = memory(256);
        let available = || memory.permits.available_permits() * PERMIT;
        let (held, all) = (Held::default(), available());
        memory.charge(&held, ONE_FREE).unwrap();
        assert_eq!(available(), all, "the first bytes are free");
        memory.charge(&held, ONE_FREE + 10_000).unwrap();
        memory.charge(&held, ONE_FREE + 10_000).unwrap();
        assert_eq!(available(), all - 10 * PERMIT);
        drop(held);
        assert_eq!(available(), all);
    }

    #[test]
    fn one_body_cannot_shut_out_small_ones() {
        let memory = memory(256);
        let [large, small, larger] = [(); 3].map(|()| Held::default());
        let all = Limits::default().body_memory_bytes;
        memory.charge(&large, all + ONE_FREE).unwrap();
        memory.charge(&small, ONE_FREE).unwrap();
        assert_eq!(memory.charge(&larger, ONE_FREE + 1), Err(Refusal::NoMemory));
        drop(large);
        memory.charge(&larger, all).unwrap();
    }

    #[test]
    fn json_is_charged_as_it_is_read_and_a_picture_in_it_as_two() {
        let megabytes = |weight: Weight, bytes: usize, longest: usize| {
            let text = LongestText { current: 0, longest };
            let charged = weight.charged(&Arrived { bytes: bytes + ONE_FREE, text, lines: 0 });
            charged.map(|charged| charged >> 20)
        };
        assert_eq!(megabytes(Weight::Json, 0, 0), Ok(0));
        assert_eq!(megabytes(Weight::Bytes, 64 << 20, 0), Ok(64));
        assert_eq!(megabytes(Weight::Lines, 64 << 20, 0), Ok(1024));
        assert_eq!(megabytes(Weight::Json, 3 << 20, 0), Ok(48));
        assert_eq!(megabytes(Weight::Json, 13 << 20, (10 << 20) + ONE_FREE), Ok(20 + 47));
        assert_eq!(megabytes(Weight::Json, 13 << 20, 5 << 20), Err(Refusal::TooLarge));
        assert_eq!(megabytes(Weight::Json, MOST_JSON, 0), Err(Refusal::TooLarge));
    }

    /// The bug: a million lines of two bytes each were charged 8 bytes a byte, and took a hundred times as much.
    #[test]
    fn short_lines_are_charged_by_their_number() {
        let charged = |line: &[u8], count: usize| {
            let mut arrived = Arrived::default();
            (0..count).for_each(|_| arrived.see(line, Weight::Lines));
            Weight::Lines.charged(&arrived).unwrap()
        };
        assert!(charged(b"{}\n", 1 << 20) > 380 << 20);
        assert!(charged(b"\n", 1 << 20) > 380 << 20);
        assert!(charged(b"{\"code\":\"0123456789ab\"}\n", 1 << 16) < 24 << 20);
        assert!(charged(b"\n", 100) < ONE_FREE, "a few lines are free");
    }

    /// The bug: a body of the permitted size that weighed more than all of the memory was refused as "busy", however often it was sent.
    #[test]
    fn the_largest_body_fits_and_what_never_fits_is_too_large() {
        for max_body_bytes in [1 << 20, 10 << 20, 64 << 20, 65_535 << 20] {
            let limits = Limits { max_body_bytes, ..Limits::default() };
            let memory = BodyMemory::new(&limits);
            for (weight, longest) in
                [(Weight::Bytes, 0), (Weight::Lines, 0), (Weight::Json, max_body_bytes)]
            {
                let text = LongestText { current: 0, longest };
                let arrived = Arrived { bytes: max_body_bytes, text, lines: max_body_bytes / 24 };
                let charged = weight.charged(&arrived).unwrap();
                memory.charge(&Held::default(), charged).unwrap();
            }
        }
        let memory = memory(256);
        let arrived = Arrived { bytes: 9 << 20, lines: 9 << 20, ..Arrived::default() };
        let charged = Weight::Lines.charged(&arrived).unwrap();
        assert_eq!(memory.charge(&Held::default(), charged), Err(Refusal::TooLarge));
    }

    #[test]
    fn the_longest_text_is_measured_across_pieces() {
        let longest = |pieces: &[&[u8]]| {
            let mut text = LongestText::default();
            pieces.iter().for_each(|piece| text.see(piece));
            text.longest
        };
        assert_eq!(longest(&[br#"{"image":"iVBOR\/w==","id":1}"#]), 10);
        assert_eq!(longest(&[br#"{"image":"iVB"#, b"", br#"OR\/w"#, br#"==","i":1}"#]), 10);
        assert_eq!(longest(&[b"\"abc\"", b"\"de\""]), 3);
        assert_eq!(longest(&[b"[0,0,0,0,0", b",0,0]"]), 1);
        assert_eq!(longest(&[]), 0);
    }

    #[test]
    fn what_is_free_is_bounded_by_the_requests_under_way() {
        assert_eq!(memory(65_536).free * 65_536, ALL_FREE);
        assert_eq!((memory(0).free, memory(10).free), (ONE_FREE, ONE_FREE));
    }
}
