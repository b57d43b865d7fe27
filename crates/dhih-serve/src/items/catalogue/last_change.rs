//! What the catalogue notes of its last change, in the transaction that makes it. After an error or a crash, this tells whether the change was
//! made, and which items the index may lack although it has their codes.

use std::collections::BTreeSet;

use redb::WriteTransaction;

use super::change::Change;
use super::database::Fault;
use super::meta::{Meta, read_number};
use super::{Catalogue, META};
use crate::Result;

/// The keys of the rows in the table `META`. `NUMBER` is the number of changes that were committed.
const NUMBER: &str = "change_number";
/// The ids of the items that the last change has replaced by others of the same code, separated by commas.
const SAME_CODE: &str = "change_same_code";

impl Catalogue {
    /// The number of the last change that was committed.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn change_number(&self) -> Result<u64> {
        self.database.read(|tables| read_number(tables, NUMBER))
    }

    /// The items that the last change has replaced by others of the same code.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn replaced_by_same_code(&self) -> Result<BTreeSet<u64>> {
        self.database.read(|tables| {
            let meta = tables.open_table(META)?;
            let ids = meta.get(SAME_CODE)?.map(|ids| ids.value().to_owned()).unwrap_or_default();
            let wrong = |id: &str| Fault::Corrupted(format!("{SAME_CODE}: {id:?} is no id"));
            let ids = ids.split(',').filter(|id| !id.is_empty());
            ids.map(|id| id.parse().map_err(|_| wrong(id))).collect()
        })
    }
}

/// Notes a change, which the same transaction makes.
pub(super) fn note(tables: &WriteTransaction, change: &Change<'_>) -> Result<(), Fault> {
    let mut meta = Meta::open(tables)?;
    let number = meta.number(NUMBER)? + 1;
    meta.set(NUMBER, &number.to_string())?;
    let is_same = |code: &Option<String>, new: &String| code.as_ref() == Some(new);
    let same = change.added.iter().filter(|entry| is_same(&entry.replaced, &entry.record.code));
    let ids: Vec<String> = same.map(|entry| entry.id.to_string()).collect();
    meta.set(SAME_CODE, &ids.join(","))
}
