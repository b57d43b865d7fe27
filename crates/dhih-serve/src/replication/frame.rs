//! The wire format of a feed: a magic number, and then frames, each with a kind. All integers are little-endian.
//!
//! ```text
//! "dhihfee1" | kind 1: number u64, at_ms u64, chain [u8; 32], bytes u64, check, payload | kind 2: number of the last change u64, check | ...
//! ```
//!
//! The check is the first four bytes of the SHA-256 of the frame's bytes before it. It protects the length of the payload, so that the
//! reader never waits for the bytes of a corrupted length. `chain` is the checksum of the payload and of all changes before it. The caller
//! verifies it with `LoggedChange::follows`.

use sha2::{Digest as _, Sha256};

use crate::items::catalogue::{Chain, LoggedChange};

/// The magic number at the beginning of a feed. Its last byte is the version of the format.
pub(super) const MARK: &[u8; 8] = b"dhihfee1";
const CHANGE: u8 = 1;
const HEAD: u8 = 2;
/// The bytes of a frame before its check, for each kind.
const CHANGE_BYTES: usize = 1 + 8 + 8 + 32 + 8;
const HEAD_BYTES: usize = 1 + 8;
const CHECK_BYTES: usize = 4;
/// The longest payload that is accepted, in bytes. A request body of the largest permitted size makes a shorter one.
const LONGEST: u64 = 8 << 30;

/// A frame of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The next change.
    Change(LoggedChange),
    /// The number of the primary's last change.
    Head(u64),
}

/// Why bytes are not a valid feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the answer is no feed of changes that this program knows: update it, or the primary")]
    NoFeed,
    #[error("there is a frame of the kind {0}, which is none")]
    Kind(u8),
    #[error("a frame begins with other bytes than it had")]
    Check,
    #[error("a change claims to have {0} bytes")]
    TooLong(u64),
}

/// Appends the frame of a change to `out`.
pub(super) fn write_change(change: &LoggedChange, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(CHANGE);
    out.extend(change.number.to_le_bytes());
    out.extend(change.at_ms.to_le_bytes());
    out.extend(change.chain.0);
    out.extend((change.payload.len() as u64).to_le_bytes());
    out.extend(check(&out[start..]));
    out.extend(&change.payload);
}

/// Appends the frame with the number of the last change to `out`.
pub(super) fn write_head(number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(HEAD);
    out.extend(number.to_le_bytes());
    out.extend(check(&out[start..]));
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    std::array::from_fn(|at| digest[at])
}

/// A parser of frames, which receives the bytes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// The number of bytes at the beginning of `bytes` that have already been parsed.
    read: usize,
    has_mark: bool,
}

impl Frames {
    /// Appends received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None` if it has not arrived completely.
    ///
    /// # Errors
    /// When the bytes are not a valid frame.
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
        let head = match rest.first() {
            None => return Ok(None),
            Some(&HEAD) => HEAD_BYTES,
            Some(&CHANGE) => CHANGE_BYTES,
            Some(&kind) => return Err(FrameError::Kind(kind)),
        };
        let Some((fields, rest)) = rest.split_at_checked(head) else { return Ok(None) };
        let Some((found, rest)) = rest.split_first_chunk::<CHECK_BYTES>() else { return Ok(None) };
        if *found != check(fields) {
            return Err(FrameError::Check);
        }
        let (frame, payload) = match fields {
            [HEAD, ..] => (Frame::Head(number(fields, 1)), 0),
            _ => {
                let len = number(fields, CHANGE_BYTES - 8);
                if len > LONGEST {
                    return Err(FrameError::TooLong(len));
                }
                let Some(payload) = rest.get(..len as usize) else { return Ok(None) };
                let chain = Chain(std::array::from_fn(|at| fields[17 + at]));
                let (number, at_ms) = (number(fields, 1), number(fields, 9));
                let payload = payload.to_vec();
                (Frame::Change(LoggedChange { number, at_ms, chain, payload }), len as usize)
            }
        };
        self.read += head + CHECK_BYTES + payload;
        Ok(Some(frame))
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }
}

/// The integer at offset `at`. The caller has checked that the frame's header is complete.
fn number(fields: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| fields[at + byte]))
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
        let mut long = [&[CHANGE][..], &[0; 48]].concat();
        long.extend(u64::MAX.to_le_bytes());
        long.extend(check(&long.clone()));
        assert_eq!(refused(&[MARK, &long[..]].concat()), Err(FrameError::TooLong(u64::MAX)));
    }

    #[test]
    fn no_byte_before_a_payload_can_be_another() {
        let (frames, bytes) = feed();
        let heads = MARK.len()..MARK.len() + HEAD_BYTES + CHECK_BYTES + CHANGE_BYTES + CHECK_BYTES;
        for at in heads {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            let mut reader = Frames::default();
            reader.push(&wrong);
            let refused = frames.iter().find_map(|frame| match reader.next() {
                Ok(Some(read)) => {
                    assert_eq!(read, *frame, "byte {at}");
                    None
                }
                other => Some(other),
            });
            assert!(matches!(refused, Some(Err(_))), "byte {at}: {refused:?}");
        }
    }
}
