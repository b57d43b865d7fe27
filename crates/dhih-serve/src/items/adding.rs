//! Additions. Requests that wait at the same time (`additions.rs`) become one change of catalogue and index (group commit), because the
//! syncs dominate the time of a change. `placing.rs` gives each item its id and decides which item it replaces. `changing.rs` makes the
//! change.

use std::sync::Arc;

use dhih_index::{Batch, CodeSet, Index};

use super::additions::{Addition, Mode};
use super::catalogue::{Answered, Change, Entry};
use super::local::LocalItems;
use super::placing::{Placed, Placing};
use super::writing::{Changes, Steps, Writing};
use super::{ChangeError, Changed, Made, NewItem, Once};
use crate::{Error, Result};

impl LocalItems {
    /// Adds or replaces items: all of them or none. When this returns, they are on disk and can be found.
    ///
    /// # Errors
    /// When an id is taken, or files cannot be written to.
    pub(crate) fn add(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::AllOrNone, None)
    }

    /// As [`add`](Self::add), and if the request has an idempotency key, stores its answer.
    ///
    /// # Errors
    /// As for [`add`](Self::add), and when a request with this key was made before.
    pub(crate) fn add_once(
        self: &Arc<Self>,
        items: Vec<NewItem>,
        once: Option<Once>,
    ) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::AllOrNone, once)
    }

    /// Adds or replaces items in one change, except those that are refused. The outcome of each item is in the result. If the request has
    /// an idempotency key, stores its answer.
    ///
    /// # Errors
    /// When files cannot be written to, or a request with this key was made before; then no item is added.
    pub(crate) fn add_each(
        self: &Arc<Self>,
        items: Vec<NewItem>,
        once: Option<Once>,
    ) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::Each, once)
    }

    fn add_by(
        self: &Arc<Self>,
        items: Vec<NewItem>,
        mode: Mode,
        once: Option<Once>,
    ) -> Result<Changed, ChangeError> {
        let additions = &self.writing.as_ref().ok_or(ChangeError::ReadOnly)?.additions;
        let (ticket, answer) = additions.wait(items, mode, once);
        let led = self.change(|writing, changes| {
            // Another request may have made this addition together with its own.
            let group = additions.take_with(ticket);
            if group.is_empty() { Ok(()) } else { self.make_group(writing, changes, group) }
        });
        if additions.withdraw(ticket) {
            // The change was refused before this addition was taken, and nobody will take it any more.
            return Err(led.err().unwrap_or(ChangeError::Reloading));
        }
        // The request that has taken this addition sends the answer; it may be this one.
        answer.recv().unwrap_or_else(|_| {
            let reason = "the change that it was a part of ended early".into();
            Err(ChangeError::OutcomeUnknown(Error::NotAdded { reason }))
        })
    }

    /// Makes one change of several requests, and answers each of them.
    fn make_group(
        &self,
        writing: &Writing,
        changes: &mut Changes,
        group: Vec<Addition>,
    ) -> Result<(), ChangeError> {
        let needs_catalogue =
            |one: &Addition| one.once.is_some() || one.items.iter().any(NewItem::has_attributes);
        if group.iter().any(needs_catalogue)
            && let Err(error) = self.make_catalogue(writing)
        {
            let error = ChangeError::Failed(error);
            group.into_iter().for_each(|one| drop(one.answer.send(Err(error.again()))));
            return Err(error);
        }
        let index = self.index();
        let mut placing = Placing::new(self, &index, writing, changes.numbers);
        let mut placed = Vec::with_capacity(group.len());
        let mut answered: Vec<Answered> = Vec::new();
        for Addition { items, mode, answer, once, .. } in group {
            let used = once.as_ref().map_or(Ok(false), |it| is_used(writing, &answered, &it.key));
            let outcomes = match (used, once) {
                (Err(error), _) => Err(ChangeError::Failed(error)),
                (Ok(true), _) => Err(ChangeError::KeyUsed),
                (Ok(false), Some(once)) => {
                    self.place(&mut placing, items, mode).inspect(|outcomes| {
                        // If no item was accepted, nothing changes. No answer is stored then, so that a repetition is tried again.
                        if outcomes.iter().any(Result::is_ok) {
                            answered.push(once.answered(outcomes));
                        }
                    })
                }
                (Ok(false), None) => self.place(&mut placing, items, mode),
            };
            placed.push((answer, outcomes));
        }
        let Placed { numbers, entries, touched } = placing.placed();
        let made = match entries.is_empty() {
            true => Ok(index),
            false => self.set_of(entries.iter()).map_err(ChangeError::Failed).and_then(|set| {
                let batch = Batch::new().upsert(set);
                let change = Change { added: &entries, answered: &answered, ..Change::default() };
                let is_there = |index: &Index, entry: &Entry| {
                    self.shape.is_kept(index, entry.id, &entry.record)
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
            // After a failure every request gets the error, also those that were refused: the cause of the refusal may be an item of the
            // group that was not added.
            let answered = match &made {
                Ok(index) => outcomes.map(|outcomes| Changed { outcomes, index: index.clone() }),
                Err(error) => Err(error.again()),
            };
            // The receiver exists, because its request waits in `add_by`. A failed send is of no consequence.
            let _ = answer.send(answered);
        }
        made.map(drop)
    }

    /// Places the items of a request. If the request is refused, none of its items remain.
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
                // This is a fault of the files and not of the item.
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
        // Check the batch of this request alone, so that what the index refuses does not refuse other requests of the group.
        let batch = self.set_of(placing.since(mark).into_iter());
        let batch = batch.map(|set| Batch::new().upsert(set));
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

    fn set_of<'e>(&self, entries: impl Iterator<Item = &'e Entry> + Clone) -> Result<CodeSet> {
        self.shape.set_of(entries.map(|entry| (entry.id, &entry.record)))
    }
}

/// Whether a request with this key was made before, or is made in the same change.
fn is_used(writing: &Writing, answered: &[Answered], key: &str) -> Result<bool> {
    if answered.iter().any(|answer| answer.key == key) {
        return Ok(true);
    }
    let known = writing.catalogue().map_or(Ok(None), |catalogue| catalogue.answered(key))?;
    Ok(known.is_some())
}
