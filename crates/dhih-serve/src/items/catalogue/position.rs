//! `Position`: a point in the history of a catalogue, given by a number and by a checksum of all changes up to it. Two catalogues with the
//! same position have had the same changes. The position therefore also identifies the history: a restored backup, or a primary that was
//! replaced, cannot be mistaken for the primary that a follower follows.

use std::fmt;
use std::str::FromStr;

use dhih_index::to_hex;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a change and of the checksum before it. A history begins with a random value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) [u8; 32]);

impl Chain {
    /// A random value for the beginning of a history, so that no other history has the same.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The checksum after `change`.
    pub(crate) fn after(self, change: &LoggedChange) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(change.number.to_le_bytes());
        hash.update(change.at_ms.to_le_bytes());
        hash.update(&change.payload);
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", to_hex(&self.0[..4]))
    }
}

/// A point in the history of a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The number of changes so far. It continues when a new history begins in the same catalogue.
    pub(crate) number: u64,
    pub(crate) chain: Chain,
}

/// A change with the fields that the journal stores and that followers receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedChange {
    pub(crate) number: u64,
    /// The time of the change in milliseconds since 1970, by the clock of the primary.
    pub(crate) at_ms: u64,
    /// The checksum of this change and of all changes before it.
    pub(crate) chain: Chain,
    /// The encoded change (`payload.rs`).
    pub(crate) payload: Vec<u8>,
}

/// The state of the index before a change, as the journal notes it with the change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    /// The number of the last change.
    pub(super) number: u64,
    pub(super) untouched: u64,
}

impl LoggedChange {
    /// The position after this change.
    pub(crate) fn position(&self) -> Position {
        Position { number: self.number, chain: self.chain }
    }

    /// Whether this is the next change after `position`. The checksum also proves that every byte of the change is unaltered.
    pub(crate) fn follows(&self, position: &Position) -> bool {
        self.number == position.number + 1 && position.chain.after(self) == self.chain
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, to_hex(&self.chain.0))
    }
}

/// The error for a text that is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is a number, `-` and 64 hexadecimal digits")]
pub(crate) struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (number, chain) = text.split_once('-').ok_or(NoPosition)?;
        let digits = Some(chain).filter(|chain| chain.len() == 64).ok_or(NoPosition)?;
        let bytes = dhih_index::Codes::from_hex(256, digits).map_err(|_| NoPosition)?;
        let chain = Chain(bytes.get(0).try_into().map_err(|_| NoPosition)?);
        // `parse` alone would accept a sign.
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number).ok_or(NoPosition)?;
        Ok(Self { number, chain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_same_after_it_was_written() {
        let position = Position { number: 17, chain: Chain::random().unwrap() };
        assert_eq!(position.to_string().parse(), Ok(position));
        let digits = "0".repeat(64);
        for wrong in ["", "17", "17-", "-", "17-00", "+1-", "a-"] {
            assert_eq!(wrong.parse::<Position>(), Err(NoPosition), "{wrong}");
        }
        for wrong in [format!("+1-{digits}"), format!("-{digits}"), format!("1-{digits}0")] {
            assert_eq!(wrong.parse::<Position>(), Err(NoPosition), "{wrong}");
        }
    }

    #[test]
    fn a_change_follows_one_position_alone() {
        let begin = Position { number: 3, chain: Chain([7; 32]) };
        let mut change =
            LoggedChange { number: 4, at_ms: 5, chain: Chain([0; 32]), payload: vec![1, 2] };
        change.chain = begin.chain.after(&change);
        assert!(change.follows(&begin));
        let other = Position { chain: Chain([8; 32]), ..begin };
        assert!(!change.follows(&other), "another history");
        assert!(!change.follows(&Position { number: 4, ..begin }), "another number");
        for wrong in [
            LoggedChange { at_ms: 6, ..change.clone() },
            LoggedChange { payload: vec![1, 3], ..change.clone() },
            LoggedChange { chain: Chain([0; 32]), ..change.clone() },
        ] {
            assert!(!wrong.follows(&begin), "{wrong:?}");
        }
    }
}
