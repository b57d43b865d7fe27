//! Chooses the ids of items that come without one: the next id that no item has or had. Ids chosen by clients cannot exhaust the numbering.

use dhih_index::Index;

use crate::items::catalogue::Catalogue;
use crate::{Error, Result};

/// The greatest id of an item. Integers in JSON are exact up to this value in every language.
pub(crate) const MAX_ID: u64 = (1 << 53) - 1;
/// Ids from here on do not advance the numbering when clients choose them, so that free ids always remain.
const FAR: u64 = 1 << 52;

/// A counter of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbering {
    next: u64,
}

impl Numbering {
    /// Continues after the ids of an index and its catalogue. An index alone does not know the ids of removed items.
    pub(super) fn after(index: &Index, catalogue: Option<&Catalogue>) -> Result<Self> {
        let last = match index.last_id() {
            Some(FAR..) => last_below(FAR, |from| index.ids_from(from, 1).first().copied()),
            last => last,
        };
        let known = catalogue.map(|catalogue| catalogue.last_id_below(FAR)).transpose()?;
        let last = last.max(known.flatten());
        Ok(Self { next: last.map_or(0, |last| last + 1) })
    }

    /// Takes the next id for which `is_used` returns `false`.
    pub(super) fn take(&mut self, is_used: impl Fn(u64) -> Result<bool>) -> Result<u64> {
        while self.next <= MAX_ID {
            let id = self.next;
            self.next += 1;
            if !is_used(id)? {
                return Ok(id);
            }
        }
        Err(Error::IdsExhausted)
    }

    /// Advances the numbering past an id that a client chose.
    pub(super) fn note(&mut self, id: u64) {
        if (self.next..FAR).contains(&id) {
            self.next = id + 1;
        }
    }
}

/// The greatest id below `end`, by bisection; `next` gives the first id that is not less than a number.
fn last_below(end: u64, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let (mut last, mut from, mut until) = (None, 0, end);
    // No id is in `until..end`.
    while from < until {
        let middle = from.midpoint(until);
        match next(middle).filter(|id| *id < end) {
            Some(id) => (last, from) = (Some(id), id + 1),
            None => until = middle,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_below_a_number_is_found() {
        for ids in [&[][..], &[0], &[5], &[9], &[0, 1, 2, 3], &[3, 8, 9, 11], &[10, u64::MAX]] {
            let next = |from: u64| ids.iter().copied().find(|id| *id >= from);
            for end in [0, 1, 4, 9, 10, 11, FAR, u64::MAX] {
                let expected = ids.iter().copied().rfind(|id| *id < end);
                assert_eq!(last_below(end, next), expected, "{ids:?} below {end}");
            }
        }
    }

    #[test]
    fn no_chosen_id_ends_numbering() {
        let mut numbers = Numbering { next: 7 };
        let mut used = vec![7, 8];
        for chosen in [100, 3, MAX_ID, FAR, u64::MAX, FAR - 1, FAR + 1] {
            numbers.note(chosen);
            used.push(chosen);
        }
        let is_used = |used: &[u64], id| Ok(used.contains(&id));
        let next = numbers.take(|id| is_used(&used, id)).unwrap();
        assert_eq!(next, FAR + 2, "those that are taken are passed over");
        assert_eq!(Numbering { next: 7 }.take(|id| is_used(&used, id)).unwrap(), 9);
        let end = Numbering { next: MAX_ID }.take(|_| Ok(true));
        assert!(matches!(end, Err(Error::IdsExhausted)));
    }
}
