//! `Postings`: the items of each value of each declared field, in memory. Every change of attributes updates them.

use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Key, range};
use super::ids::{Few, union};
use super::{FieldType, Fields, Metadata};

/// The items of each value of the declared fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Postings {
    fields: Fields,
    by_field: BTreeMap<String, Field>,
}

#[derive(Debug, Clone, Default)]
struct Field {
    by_value: BTreeMap<Key, Few>,
    /// The items with any value.
    all: RoaringTreemap,
}

/// The counts of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FieldCounts {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) of: FieldType,
    /// Items with any value.
    pub(crate) items: u64,
    /// Distinct values.
    pub(crate) distinct: usize,
    /// The most frequent values, each with its number of items.
    pub(crate) values: Vec<(Value, u64)>,
}

impl Postings {
    /// Postings without items.
    pub(crate) fn new(fields: Fields) -> Self {
        let by_field = fields.iter().map(|(name, _)| (name.to_owned(), Field::default())).collect();
        Self { fields, by_field }
    }

    /// The declared fields.
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Adds an item. Values of another type than their field are left out; changes with such values are refused earlier.
    pub(crate) fn insert(&mut self, id: u64, metadata: &Metadata) {
        for (name, keys) in self.fields.keys(metadata).unwrap_or_default() {
            let Some(field) = self.by_field.get_mut(&name) else { continue };
            for key in keys {
                field.by_value.entry(key).and_modify(|ids| ids.insert(id)).or_insert(Few::One(id));
                field.all.insert(id);
            }
        }
    }

    /// Removes an item that was added with this metadata.
    pub(crate) fn remove(&mut self, id: u64, metadata: &Metadata) {
        for (name, keys) in self.fields.keys(metadata).unwrap_or_default() {
            let Some(field) = self.by_field.get_mut(&name) else { continue };
            for key in keys {
                if field.by_value.get_mut(&key).is_some_and(|ids| ids.remove(id)) {
                    field.by_value.remove(&key);
                }
            }
            field.all.remove(id);
        }
    }

    /// The counts of each field, with at most `most` of its values.
    pub(crate) fn counts(&self, most: usize) -> Vec<FieldCounts> {
        let counts = |(name, of): (&str, FieldType)| {
            let field = &self.by_field[name];
            let mut values: Vec<_> =
                field.by_value.iter().map(|(key, ids)| (key, ids.len())).collect();
            // The most frequent first, equally frequent ones by value. Selecting before sorting avoids sorting all of a million values for
            // the few that are listed.
            let by_count =
                |(a, of_a): &(&Key, u64), (b, of_b): &(&Key, u64)| of_b.cmp(of_a).then(a.cmp(b));
            if most < values.len() {
                values.select_nth_unstable_by(most, by_count);
                values.truncate(most);
            }
            values.sort_unstable_by(by_count);
            FieldCounts {
                name: name.to_owned(),
                of,
                items: field.all.len(),
                distinct: field.by_value.len(),
                values: values.into_iter().map(|(key, items)| (key.value(), items)).collect(),
            }
        };
        self.fields.iter().map(counts).collect()
    }

    /// The items that have at least one of these values.
    pub(super) fn with_any(&self, field: &str, keys: &[Key]) -> RoaringTreemap {
        let Some(field) = self.by_field.get(field) else { return RoaringTreemap::new() };
        union(keys.iter().filter_map(|key| field.by_value.get(key)))
    }

    /// The items with a value within the bounds.
    pub(super) fn within(&self, field: &str, from: Bound<Key>, to: Bound<Key>) -> RoaringTreemap {
        match (self.by_field.get(field), range(from, to)) {
            (Some(field), Some(bounds)) => union(field.by_value.range(bounds).map(|(_, ids)| ids)),
            _ => RoaringTreemap::new(),
        }
    }

    /// The items with any value.
    pub(super) fn with_value(&self, field: &str) -> RoaringTreemap {
        self.by_field.get(field).map(|field| field.all.clone()).unwrap_or_default()
    }
}
