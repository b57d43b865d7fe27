//! The bytes of a feed: a mark, and then frames, each of a kind. All numbers have their least significant byte first.
//!
//! ```text
//! "dhihfee1" | kind 1: number u64, at_ms u64, chain [u8; 32], bytes u64, payload | kind 2: number of the last change u64 | ...
//! ```
//!
//! A change has its checksum in its chain, which also ties it to the change before. Who reads frames checks it: `LoggedChange::follows`.

use crate::items::catalogue::{Chain, LoggedChange};

/// What a feed begins with. Its last byte would be another one if the frames were others.
pub(super) const MARK: &[u8; 8] = b"dhihfee1";
const CHANGE: u8 = 1;
const HEAD: u8 = 2;
/// Bytes of a change before its payload.
const CHANGE_BYTES: usize = 1 + 8 + 8 + 32 + 8;
/// The longest payload that is taken: more than a body of the largest size becomes.
const LONGEST: u64 = 8 << 30;

/// A part of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The next change.
    Change(LoggedChange),
    /// The number of the primary's last change.
    Head(u64),
}

/// Bytes that are no feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the answer is no feed of changes that this program knows: update it, or the primary")]
    NoFeed,
    #[error("there is a frame of the kind {0}, which is none")]
    Kind(u8),
    #[error("a change claims to have {0} bytes")]
    TooLong(u64),
}

/// Appends a change to what is sent.
pub(super) fn write_change(change: &LoggedChange, out: &mut Vec<u8>) {
    out.push(CHANGE);
    out.extend(change.number.to_le_bytes());
    out.extend(change.at_ms.to_le_bytes());
    out.extend(change.chain.0);
    out.extend((change.payload.len() as u64).to_le_bytes());
    out.extend(&change.payload);
}

/// Appends the number of the last change to what is sent.
pub(super) fn write_head(number: u64, out: &mut Vec<u8>) {
    out.push(HEAD);
    out.extend(number.to_le_bytes());
}

/// Reads frames of bytes that come in any pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Of the bytes, those that were read.
    read: usize,
    has_mark: bool,
}

impl Frames {
    /// Takes bytes that have come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None` where it has not come as a whole.
    ///
    /// # Errors
    /// Bytes that are no frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.has_mark {
            let Some(mark) = self.rest().get(..MARK.len()) else { return Ok(None) };
            if mark != MARK {
                return Err(FrameError::NoFeed);
            }
            self.read += MARK.len();
            self.has_mark = true;
        }
        let rest = self.rest();
        let (frame, len) = match rest.first() {
            None => return Ok(None),
            Some(&HEAD) => match number(rest, 1) {
                Some(number) => (Frame::Head(number), 9),
                None => return Ok(None),
            },
            Some(&CHANGE) => {
                let Some(len) = number(rest, CHANGE_BYTES - 8) else { return Ok(None) };
                if len > LONGEST {
                    return Err(FrameError::TooLong(len));
                }
                let end = CHANGE_BYTES + len as usize;
                let Some(change) = rest.get(..end).and_then(change) else { return Ok(None) };
                (Frame::Change(change), end)
            }
            Some(&kind) => return Err(FrameError::Kind(kind)),
        };
        self.read += len;
        Ok(Some(frame))
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }
}

/// A frame that is there as a whole.
fn change(frame: &[u8]) -> Option<LoggedChange> {
    let chain = frame.get(17..49)?.try_into().ok()?;
    Some(LoggedChange {
        number: number(frame, 1)?,
        at_ms: number(frame, 9)?,
        chain: Chain(chain),
        payload: frame.get(CHANGE_BYTES..)?.to_vec(),
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> (Vec<Frame>, Vec<u8>) {
        let change = |number, payload: Vec<u8>| LoggedChange {
            number,
            at_ms: 3,
            chain: Chain([5; 32]),
            payload,
        };
        let frames = vec![
            Frame::Head(1),
            Frame::Change(change(2, vec![1, 2, 3])),
            Frame::Change(change(3, Vec::new())),
            Frame::Head(u64::MAX),
        ];
        let mut bytes = MARK.to_vec();
        for frame in &frames {
            match frame {
                Frame::Change(change) => write_change(change, &mut bytes),
                Frame::Head(number) => write_head(*number, &mut bytes),
            }
        }
        (frames, bytes)
    }

    #[test]
    fn frames_come_in_any_pieces() {
        let (frames, bytes) = feed();
        for piece in 1..bytes.len() {
            let (mut reader, mut read) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                while let Some(frame) = reader.next().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_ends_early_is_no_frame_and_other_bytes_are_refused() {
        let (frames, bytes) = feed();
        for end in 0..bytes.len() {
            let mut reader = Frames::default();
            reader.push(&bytes[..end]);
            let mut read = Vec::new();
            while let Some(frame) = reader.next().unwrap() {
                read.push(frame);
            }
            assert!(read.len() < frames.len() && frames.starts_with(&read), "{end} bytes");
        }
        let refused = |bytes: &[u8]| {
            let mut reader = Frames::default();
            reader.push(bytes);
            reader.next()
        };
        assert_eq!(refused(b"HTTP/1.1"), Err(FrameError::NoFeed));
        assert_eq!(refused(&[MARK, &[9][..]].concat()), Err(FrameError::Kind(9)));
        let mut long = [MARK, &[CHANGE][..], &[0; 48]].concat();
        long.extend(u64::MAX.to_le_bytes());
        assert_eq!(refused(&long), Err(FrameError::TooLong(u64::MAX)));
    }
}
