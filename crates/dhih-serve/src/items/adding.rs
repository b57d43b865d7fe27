//! Additions: several requests that wait at the same time (`additions.rs`) become one change of catalogue and index (group commit), because what a change
//! takes is the time of its syncs. Which id each item gets and whose place it takes: `placing.rs`. How a change is made: `changing.rs`.

use std::sync::Arc;

use dhih_index::{Batch, Index, to_hex};

use super::additions::{Addition, Mode};
use super::catalogue::{Change, Entry};
use super::local::LocalItems;
use super::placing::{Placed, Placing};
use super::writing::{Changes, Steps, Writing};
use super::{ChangeError, Changed, Made, NewItem};
use crate::{Error, Result};

impl LocalItems {
    /// Adds items, or replaces some, all or none. When this returns they are on disk and are found.
    ///
    /// # Errors
    /// An id that is taken; files that cannot be written to.
    pub(crate) fn add(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::AllOrNone)
    }

    /// Adds items, or replaces some: those that can be, in one change. What is wrong with the others is told of each.
    ///
    /// # Errors
    /// Files that cannot be written to: then none is added.
    pub(crate) fn add_each(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::Each)
    }

    fn add_by(self: &Arc<Self>, items: Vec<NewItem>, mode: Mode) -> Result<Changed, ChangeError> {
        let additions = &self.writing.as_ref().ok_or(ChangeError::ReadOnly)?.additions;
        let (ticket, answer) = additions.wait(items, mode);
        let led = self.change(|writing, changes| {
            // Another request may have taken this one along.
            let group = additions.take_with(ticket);
            if group.is_empty() { Ok(()) } else { self.make_group(writing, changes, group) }
        });
        if additions.withdraw(ticket) {
            // It was not its turn, and nobody takes it along any more.
            return Err(led.err().unwrap_or(ChangeError::Reloading));
        }
        // Whoever has taken it along answers, be it this call.
        answer.recv().unwrap_or_else(|_| {
            let reason = "the change that it was a part of ended early".into();
            Err(ChangeError::OutcomeUnknown(Error::NotAdded { reason }))
        })
    }

    /// Makes one change of several requests, and answers each.
    fn make_group(
        &self,
        writing: &Writing,
        changes: &mut Changes,
        group: Vec<Addition>,
    ) -> Result<(), ChangeError> {
        if group.iter().flat_map(|one| &one.items).any(NewItem::has_attributes)
            && let Err(error) = self.make_catalogue(writing)
        {
            let error = ChangeError::Failed(error);
            group.into_iter().for_each(|one| drop(one.answer.send(Err(error.again()))));
            return Err(error);
        }
        let index = self.index();
        let mut placing = Placing::new(self, &index, writing, changes.numbers);
        let mut placed = Vec::with_capacity(group.len());
        for Addition { items, mode, answer, .. } in group {
            placed.push((answer, self.place(&mut placing, items, mode)));
        }
        let Placed { numbers, entries, touched } = placing.placed();
        let made = match entries.is_empty() {
            true => Ok(index),
            false => self.set_of(&entries).map_err(ChangeError::Failed).and_then(|set| {
                let batch = Batch::new().upsert(set);
                let change = Change { added: &entries, ..Change::default() };
                let is_there = |index: &Index, entry: &Entry| {
                    index.code(entry.id).map(to_hex).as_ref() == Some(&entry.record.code)
                };
                let steps = Steps { change, batch, touched };
                self.make(writing, changes, steps, |index| {
                    entries.iter().all(|entry| is_there(index, entry))
                })
            }),
        };
        if made.is_ok() {
            changes.numbers = numbers;
        }
        for (answer, outcomes) in placed {
            // What is refused may be so because of what another request of the group was to add.
            let answered = match &made {
                Ok(index) => outcomes.map(|outcomes| Changed { outcomes, index: index.clone() }),
                Err(error) => Err(error.again()),
            };
            // Who asked waits for it.
            let _ = answer.send(answered);
        }
        made.map(drop)
    }

    /// Finds the places of a request's items. Where the request is refused, nothing of it is left.
    fn place(
        &self,
        placing: &mut Placing<'_>,
        items: Vec<NewItem>,
        mode: Mode,
    ) -> Result<Vec<Result<Made, ChangeError>>, ChangeError> {
        let (mark, several) = (placing.mark(), items.len() > 1);
        let mut outcomes = Vec::with_capacity(items.len());
        for (number, item) in items.into_iter().enumerate() {
            let outcome = placing.place(item);
            match outcome {
                // Of the files, not of the item.
                Err(refusal @ (ChangeError::Failed(_) | ChangeError::NotWritable(_))) => {
                    placing.go_back(mark);
                    return Err(refusal);
                }
                Err(refusal) if mode == Mode::AllOrNone => {
                    placing.go_back(mark);
                    return Err(match several {
                        true => ChangeError::OfItem { number, refusal: refusal.into() },
                        false => refusal,
                    });
                }
                outcome => outcomes.push(outcome),
            }
        }
        // What the index would refuse is refused alone, without those that come with it.
        let batch = self.set_of(placing.since(mark)).map(|set| Batch::new().upsert(set));
        let checked = batch.and_then(|batch| {
            batch.check(placing.index()).map_err(|error| Error::index(&self.dir, error))
        });
        match checked {
            Ok(()) => Ok(outcomes),
            Err(error) => {
                placing.go_back(mark);
                Err(ChangeError::Failed(error))
            }
        }
    }

    fn set_of(&self, entries: &[Entry]) -> Result<dhih_index::CodeSet> {
        self.shape.set_of(entries.iter().map(|entry| (entry.id, &entry.record)))
    }
}
