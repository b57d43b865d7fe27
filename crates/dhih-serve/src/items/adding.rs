//! Additions: several requests that wait at the same time become one change of catalogue and index (group commit), because what a change
//! takes is the time of its syncs. Which id each item gets and whose place it takes: `placing.rs`. How a change is made: `changing.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use dhih_index::{Batch, Index, to_hex};

use super::catalogue::{Answered, Change, Entry};
use super::changing::{Changes, Steps, Writing};
use super::placing::{Placed, Placing};
use super::{ChangeError, Changed, LocalItems, Made, NewItem, Once};
use crate::{Error, Result};

/// Items of one change, as far as several requests bring them.
const MOST: usize = 100_000;

/// What becomes of the items of a request of which one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AllOrNone,
    Each,
}

/// Additions that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Additions {
    waiting: Mutex<Vec<Addition>>,
    tickets: AtomicU64,
}

/// The items of one request.
#[derive(Debug)]
struct Addition {
    ticket: u64,
    items: Vec<NewItem>,
    mode: Mode,
    once: Option<Once>,
    answer: SyncSender<Result<Changed, ChangeError>>,
}

impl LocalItems {
    /// Adds items, or replaces some, all or none. When this returns they are on disk and are found.
    ///
    /// # Errors
    /// An id that is taken; files that cannot be written to.
    pub(crate) fn add(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::AllOrNone, None)
    }

    /// As [`add`](Self::add), of a request that is made once where it says so.
    ///
    /// # Errors
    /// The same, and a request that was made already.
    pub(crate) fn add_once(
        self: &Arc<Self>,
        items: Vec<NewItem>,
        once: Option<Once>,
    ) -> Result<Changed, ChangeError> {
        self.add_by(items, Mode::AllOrNone, once)
    }

    /// Adds items, or replaces some: those that can be, in one change. What is wrong with the others is told of each. A request that is made
    /// once, where it says so.
    ///
    /// # Errors
    /// Files that cannot be written to: then none is added. A request that was made already.
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
                        // What changes nothing is asked again another time.
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
            false => self.set_of(&entries).map_err(ChangeError::Failed).and_then(|set| {
                let batch = Batch::new().upsert(set);
                let change = Change { added: &entries, answered: &answered, ..Change::default() };
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

/// Whether a request of this key was made already, or is made in the same change.
fn is_used(writing: &Writing, answered: &[Answered], key: &str) -> Result<bool> {
    if answered.iter().any(|answer| answer.key == key) {
        return Ok(true);
    }
    let known = writing.catalogue().map_or(Ok(None), |catalogue| catalogue.answered(key))?;
    Ok(known.is_some())
}

impl Additions {
    /// Lets a request wait for its turn, or for another that takes it along: its ticket, and where it is answered.
    fn wait(
        &self,
        items: Vec<NewItem>,
        mode: Mode,
        once: Option<Once>,
    ) -> (u64, Receiver<Result<Changed, ChangeError>>) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = sync_channel(1);
        self.lock().push(Addition { ticket, items, mode, once, answer });
        (ticket, answered)
    }

    /// The request of a ticket and those that wait with it, in the order in which they came; none where it was taken along.
    fn take_with(&self, ticket: u64) -> Vec<Addition> {
        let mut waiting = self.lock();
        let Some(own) = waiting.iter().position(|one| one.ticket == ticket) else {
            return Vec::new();
        };
        // Its own is among them, however many wait.
        let mut items = waiting[own].items.len();
        let mut group = Vec::new();
        let mut left = Vec::new();
        for one in waiting.drain(..) {
            let is_own = one.ticket == ticket;
            if is_own || items + one.items.len() <= MOST {
                items += if is_own { 0 } else { one.items.len() };
                group.push(one);
            } else {
                left.push(one);
            }
        }
        *waiting = left;
        group
    }

    /// Lets a request wait no more; whether it did.
    fn withdraw(&self, ticket: u64) -> bool {
        let mut waiting = self.lock();
        let before = waiting.len();
        waiting.retain(|one| one.ticket != ticket);
        waiting.len() < before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Addition>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
