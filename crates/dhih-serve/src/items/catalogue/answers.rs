//! Stored answers to requests with an idempotency key. A client that lost the answer repeats the request and gets the stored answer. The
//! answer is stored in the transaction of the change that it reports, so that after a crash both are there or neither. It is kept for a
//! day, or less if there are too many.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::database::Fault;
use super::{Catalogue, json, parse};
use crate::Result;

/// The answers by key, and the keys in order of arrival.
pub(super) const ANSWERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("answers");
pub(super) const ANSWER_ORDER: TableDefinition<'_, u64, &str> =
    TableDefinition::new("answer_order");

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most answers that are kept.
const MOST: u64 = 10_000;
/// The most expired answers that are dropped with each new one. The bound keeps every request short.
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

/// Stores an answer, and drops some of those that are expired or too many.
pub(super) fn keep(change: &WriteTransaction, answer: &Answered) -> Result<(), Fault> {
    let mut answers = change.open_table(ANSWERS)?;
    let mut order = change.open_table(ANSWER_ORDER)?;
    let number = order.last()?.map_or(0, |(number, _)| number.value() + 1);
    let since = answer.at_ms.saturating_sub(ms(KEPT));
    order.insert(number, &*answer.key)?;
    let row = Row { number, answer: answer.clone() };
    answers.insert(&*answer.key, &*json(&row)?)?;
    for _ in 0..DROPPED {
        let Some((oldest, key)) =
            order.first()?.map(|(number, key)| (number.value(), key.value().to_owned()))
        else {
            break;
        };
        let row = answers.get(&*key)?.map(|row| parse::<Row>(row.value())).transpose()?;
        // The same key may have been stored again after the first answer expired. The answer then belongs to the later row of the order.
        let own = row.filter(|row| row.number == oldest);
        let is_kept = own.as_ref().is_some_and(|own| own.answer.at_ms >= since);
        if oldest == number || (is_kept && order.len()? <= MOST) {
            break;
        }
        order.remove(oldest)?;
        if own.is_some() {
            answers.remove(&*key)?;
        }
    }
    Ok(())
}

/// Drops the answer to a request whose change was undone, so that the client can repeat the request.
pub(super) fn forget(change: &WriteTransaction, key: &str) -> Result<(), Fault> {
    change.open_table(ANSWERS)?.remove(key)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::catalogue::Change;

    fn answer(key: &str, at_ms: u64) -> Answered {
        let (request, body, location) = ("ab".into(), "{}".into(), None);
        Answered { key: key.into(), request, status: 201, body, location, at_ms }
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
