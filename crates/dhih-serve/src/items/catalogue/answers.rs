//! Stored answers to requests with an idempotency key. A client that lost the answer repeats the request and gets the stored answer. The
//! answer is stored in the transaction of the change that it reports, so that after a crash both are there or neither. It is kept for a
//! day, or less if there are too many.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::database::Fault;
use super::{Catalogue, META, json, parse};
use crate::Result;

/// The answers by key, and the keys in order of arrival.
pub(super) const ANSWERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("answers");
pub(super) const ANSWER_ORDER: TableDefinition<'_, u64, &str> =
    TableDefinition::new("answer_order");

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most answers that are kept, and their most bytes. The answer to a request of many items may have some megabytes.
const MOST: u64 = 10_000;
const MOST_BYTES: u64 = 64 << 20;
/// The key of the row in the table `META` with the bytes of all answers. It is absent in catalogues of earlier versions.
const BYTES: &str = "answers_bytes";
/// The most expired answers that are dropped with each new one, so that no request waits for all of them.
const DROPPED: usize = 16;

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The name of the API key that sent the request, a line break, and the idempotency key. Two clients may therefore use the same
    /// idempotency key.
    pub(crate) key: String,
    /// SHA-256 of the request, in hexadecimal. It distinguishes a repetition from another request with the same key.
    pub(crate) request: String,
    pub(crate) status: u16,
    /// The body of the answer, as JSON.
    pub(crate) body: String,
    /// The value of the header `location`, if the request has added a single item.
    pub(crate) location: Option<String>,
    /// The time of the answer, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Row {
    /// The number of its row in `ANSWER_ORDER`.
    number: u64,
    answer: Answered,
}

impl Catalogue {
    /// The stored answer to the request with this key, if it has not expired.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn answered(&self, key: &str) -> Result<Option<Answered>> {
        let since = now_ms().saturating_sub(ms(KEPT));
        self.database.read(|tables| {
            let row = tables.open_table(ANSWERS)?.get(key)?.map(|row| parse::<Row>(row.value()));
            Ok(row.transpose()?.map(|row| row.answer).filter(|answer| answer.at_ms >= since))
        })
    }
}

/// The current time, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Stores an answer, and drops the oldest ones beyond the bounds and some of those that are expired.
pub(super) fn keep(change: &WriteTransaction, answer: &Answered) -> Result<(), Fault> {
    let mut stored = Stored::open(change)?;
    let number = stored.order.last()?.map_or(0, |(number, _)| number.value() + 1);
    let since = answer.at_ms.saturating_sub(ms(KEPT));
    stored.order.insert(number, &*answer.key)?;
    stored.insert(&Row { number, answer: answer.clone() })?;
    let mut dropped = 0;
    while let Some((oldest, key)) = stored.oldest()? {
        let own = stored.row(&key)?.filter(|row| row.number == oldest);
        let is_kept = own.as_ref().is_some_and(|own| own.answer.at_ms >= since);
        let is_within = stored.bytes <= MOST_BYTES && (is_kept || dropped >= DROPPED);
        if oldest == number || (is_within && stored.order.len()? <= MOST) {
            break;
        }
        stored.order.remove(oldest)?;
        // The same key may have been stored again after the first answer expired. The answer then belongs to the later row of the order.
        if own.is_some() {
            stored.remove(&key)?;
        }
        dropped += 1;
    }
    stored.close(change)
}

/// Drops the answer to a request whose change was undone, so that the client can repeat the request.
pub(super) fn forget(change: &WriteTransaction, key: &str) -> Result<(), Fault> {
    let mut stored = Stored::open(change)?;
    stored.remove(key)?;
    stored.close(change)
}

/// Notes that a copy of the catalogue has no answers.
pub(super) fn forget_all(copy: &WriteTransaction) -> Result<(), Fault> {
    copy.open_table(META)?.remove(BYTES)?;
    Ok(())
}

/// The tables, open for writing.
struct Stored<'t> {
    answers: Table<'t, &'static str, &'static [u8]>,
    order: Table<'t, u64, &'static str>,
    /// The bytes of all rows in `answers`.
    bytes: u64,
}

impl<'t> Stored<'t> {
    fn open(change: &'t WriteTransaction) -> Result<Self, Fault> {
        let (answers, order) = (change.open_table(ANSWERS)?, change.open_table(ANSWER_ORDER)?);
        let noted = change.open_table(META)?.get(BYTES)?.map(|text| text.value().parse::<u64>());
        let bytes = match noted {
            Some(Ok(bytes)) => bytes,
            _ => answers.iter()?.try_fold(0, |bytes, row| {
                let (key, row) = row?;
                Ok::<_, Fault>(bytes + size(key.value(), row.value()))
            })?,
        };
        Ok(Self { answers, order, bytes })
    }

    fn close(self, change: &WriteTransaction) -> Result<(), Fault> {
        change.open_table(META)?.insert(BYTES, &*self.bytes.to_string())?;
        Ok(())
    }

    /// The first row of the order.
    fn oldest(&self) -> Result<Option<(u64, String)>, Fault> {
        Ok(self.order.first()?.map(|(number, key)| (number.value(), key.value().to_owned())))
    }

    fn row(&self, key: &str) -> Result<Option<Row>, Fault> {
        self.answers.get(key)?.map(|row| parse(row.value())).transpose()
    }

    fn insert(&mut self, row: &Row) -> Result<(), Fault> {
        let (key, json) = (&*row.answer.key, json(row)?);
        self.remove(key)?;
        self.bytes += size(key, &json);
        self.answers.insert(key, &*json)?;
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), Fault> {
        if let Some(row) = self.answers.remove(key)? {
            self.bytes = self.bytes.saturating_sub(size(key, row.value()));
        }
        Ok(())
    }
}

fn size(key: &str, row: &[u8]) -> u64 {
    (key.len() + row.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::catalogue::{Change, Copied};

    fn answer(key: &str, at_ms: u64) -> Answered {
        let (request, body, location) = ("ab".into(), "{}".into(), None);
        Answered { key: key.into(), request, status: 201, body, location, at_ms }
    }

    #[test]
    fn all_answers_together_have_a_bounded_number_of_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path()).unwrap();
        let keep = |answered: &[Answered]| {
            catalogue.commit(&Change { answered, ..Change::default() }).unwrap();
        };
        let now = now_ms();
        let small: Vec<Answered> = (0..40).map(|n| answer(&format!("small {n}"), now)).collect();
        keep(&small);
        let body = "x".repeat(5 << 20);
        for n in 0..20 {
            keep(&[Answered { body: body.clone(), ..answer(&format!("large {n}"), now) }]);
        }
        let is_kept = |key: &str| catalogue.answered(key).unwrap().is_some();
        assert!((0..40).all(|n| !is_kept(&format!("small {n}"))), "the oldest go first");
        let large: Vec<bool> = (0..20).map(|n| is_kept(&format!("large {n}"))).collect();
        assert_eq!(large, (0..20).map(|n| n >= 8).collect::<Vec<_>>(), "twelve have 60 MiB");
        // An undone change gives its bytes back, and a rewrite drops all answers.
        catalogue.commit(&Change { forgotten: &["large 19".into()], ..Change::default() }).unwrap();
        keep(&[answer("one more", now)]);
        assert!(is_kept("large 8"));
        catalogue.rewrite(Copied::All).unwrap();
        keep(&[Answered { body, ..answer("after", now) }]);
        assert!(is_kept("after") && !is_kept("large 18"));
    }

    #[test]
    fn an_answer_is_kept_for_a_day_and_only_the_last_of_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path()).unwrap();
        let keep = |answer: Answered| {
            catalogue.commit(&Change { answered: &[answer], ..Change::default() }).unwrap();
        };
        let now = now_ms();
        let (old, day) = (now - ms(KEPT) - 1000, ms(KEPT));
        keep(answer("old", old));
        assert_eq!(catalogue.answered("old").unwrap(), None, "it is too old");
        keep(answer("new", now));
        assert_eq!(catalogue.answered("new").unwrap(), Some(answer("new", now)));
        keep(answer("again", old));
        keep(answer("again", now));
        keep(answer("later", now + 10));
        assert_eq!(catalogue.answered("again").unwrap(), Some(answer("again", now)));
        let rows = |catalogue: &Catalogue| {
            catalogue.database.read(|tables| {
                Ok((tables.open_table(ANSWERS)?.len()?, tables.open_table(ANSWER_ORDER)?.len()?))
            })
        };
        // Of the key that came again, the first row in the order goes when it is its turn.
        assert_eq!(rows(&catalogue).unwrap(), (3, 4));
        keep(answer("much later", now + day + 100));
        assert_eq!(rows(&catalogue).unwrap(), (1, 1), "all others were dropped");
        catalogue
            .commit(&Change { forgotten: &["much later".into()], ..Change::default() })
            .unwrap();
        assert_eq!(catalogue.answered("much later").unwrap(), None);
    }
}
