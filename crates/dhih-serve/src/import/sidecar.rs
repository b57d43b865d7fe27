//! The metadata of items in a separate file: CSV with one row for each item, or JSON Lines with one object for each. `file` is the path of a
//! picture below the folder, or `id` the number of an item; `external_id` optionally sets its external id, and everything else is metadata.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::items::metadata::{Attributes, Fault, Fields, Metadata, check_external_id};
use crate::{Error, Result};

const EXTERNAL_ID: &str = "external_id";

/// The column that identifies the item of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Named {
    /// `file`, the path of a picture below the folder.
    #[default]
    ByFile,
    /// `id`, the number of an item.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only a load into a store reads such rows")
    )]
    ById,
}

/// The attributes of each item by its path or number, with the line of the file.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    path: PathBuf,
    named: Named,
    rows: HashMap<String, Row>,
    /// The line of each external id.
    external_ids: HashMap<String, u64>,
}

#[derive(Debug)]
struct Row {
    line: u64,
    attributes: Attributes,
}

impl Named {
    fn column(self) -> &'static str {
        match self {
            Self::ByFile => "file",
            Self::ById => "id",
        }
    }
}

impl Sidecar {
    /// Reads the whole file, and checks it against the declared fields.
    ///
    /// # Errors
    /// When the file cannot be read, or a row has no name, repeats the name or the external id of another row, or has invalid values.
    pub(crate) fn read(path: &Path, named: Named, fields: &Fields) -> Result<Self> {
        let mut sidecar = Self { path: path.to_owned(), named, ..Self::default() };
        let is_csv =
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        match is_csv {
            true => sidecar.read_table(fields)?,
            false => sidecar.read_lines(fields)?,
        }
        Ok(sidecar)
    }

    fn read_table(&mut self, fields: &Fields) -> Result<()> {
        let failed = |error: csv::Error| Error::Metadata {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        let file = self.open()?;
        let mut reader = csv::Reader::from_reader(file);
        let names = reader.headers().map_err(failed)?.clone();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(failed)?;
            let line = record.position().map_or(0, csv::Position::line);
            let mut object = Map::new();
            // An empty cell means that the field has no value.
            for (name, text) in names.iter().zip(&record).filter(|(_, text)| !text.is_empty()) {
                let value = match name {
                    EXTERNAL_ID => Value::String(text.to_owned()),
                    name if name == self.named.column() => Value::String(text.to_owned()),
                    name => fields.value_of(name, text),
                };
                object.insert(name.to_owned(), value);
            }
            rows.push((line, object));
        }
        rows.into_iter().try_for_each(|(line, object)| self.add(line, object, fields))
    }

    fn read_lines(&mut self, fields: &Fields) -> Result<()> {
        let mut rows = Vec::new();
        for (number, line) in (1..).zip(self.open()?.lines()) {
            let line = line.map_err(|source| Error::Input { path: self.path.clone(), source })?;
            if !line.trim().is_empty() {
                let object = serde_json::from_str::<Map<String, Value>>(&line);
                rows.push((number, object.map_err(|error| self.wrong(number, &error))?));
            }
        }
        rows.into_iter().try_for_each(|(line, object)| self.add(line, object, fields))
    }

    fn add(&mut self, line: u64, mut object: Map<String, Value>, fields: &Fields) -> Result<()> {
        let text = |value: Value| match value {
            Value::String(text) => Ok(text),
            other => Err(Fault(format!("{other} is no text"))),
        };
        let column = self.named.column();
        let name = object.remove(column);
        let name = name.ok_or_else(|| self.wrong(line, &format!("there is no `{column}`")))?;
        let name = match (self.named, name) {
            (Named::ByFile, name) => text(name),
            (Named::ById, Value::Number(id)) if id.is_u64() => Ok(id.to_string()),
            (Named::ById, Value::String(id))
                if id.parse::<u64>().is_ok_and(|n| n.to_string() == id) =>
            {
                Ok(id)
            }
            (Named::ById, other) => {
                Err(Fault(format!("the id {other} is no whole number from 0 on")))
            }
        };
        let name = name.map_err(|fault| self.wrong(line, &fault))?;
        let attributes =
            object.remove(EXTERNAL_ID).filter(|id| !id.is_null()).map(text).transpose();
        let attributes = attributes.and_then(|external_id| {
            external_id.as_deref().map_or(Ok(()), check_external_id)?;
            let metadata = Metadata::new(object.into())?;
            fields.check(&metadata)?;
            Ok(Attributes { external_id, metadata, ..Attributes::default() })
        });
        let attributes = attributes.map_err(|fault| self.wrong(line, &fault))?;
        if let Some(external_id) = &attributes.external_id
            && let Some(before) = self.external_ids.insert(external_id.clone(), line)
        {
            let message = format!("line {before} has the external id {external_id:?}, too");
            return Err(self.wrong(line, &message));
        }
        // The walk writes paths without `.` components.
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if let Some(before) = self.rows.insert(name.clone(), Row { line, attributes }) {
            let message = format!("line {} names {name:?}, too", before.line);
            return Err(self.wrong(line, &message));
        }
        Ok(())
    }

    fn open(&self) -> Result<BufReader<File>> {
        let file = File::open(&self.path);
        let file = file.map_err(|source| Error::Input { path: self.path.clone(), source })?;
        Ok(BufReader::new(file))
    }

    fn wrong(&self, line: u64, what: &dyn std::fmt::Display) -> Error {
        Error::Metadata { path: self.path.clone(), reason: format!("line {line}: {what}") }
    }

    /// The attributes of an item.
    pub(crate) fn attributes(&self, name: &str) -> Option<&Attributes> {
        self.rows.get(name).map(|row| &row.attributes)
    }

    /// The names of rows that are not among `names`, in the order of their lines.
    pub(crate) fn unmatched<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let known: HashSet<&str> = names.collect();
        let mut rows: Vec<_> =
            self.rows.iter().filter(|(name, _)| !known.contains(name.as_str())).collect();
        rows.sort_unstable_by_key(|(_, row)| row.line);
        rows.into_iter().map(|(name, _)| name.clone()).collect()
    }
}
