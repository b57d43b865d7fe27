//! Labels and metadata of the items of a generation. A load reads them ([`Descriptions`]) and sends them with each code ([`Row`]), the manifest
//! says what labels and fields there are ([`Facets`]), and a search reads those of its hits ([`Description`]).

use std::collections::HashSet;
use std::path::Path;

use dhih_index::{CodeSet, Labels};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::api::MAX_VALUES;
use crate::import::sidecar::{Named, Sidecar};
use crate::items::LabelShape;
use crate::items::metadata::{Attributes, FieldCounts, Fields, Metadata, Postings, json_path};

use super::Error;

/// The form of the labels and the declared fields of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facets {
    pub(crate) labels: LabelShape,
    /// The names of the classes; empty if they have none.
    pub(crate) classes: Vec<String>,
    /// The declared fields of the metadata with the counts of their values.
    pub(crate) fields: Vec<FieldCounts>,
}

impl Facets {
    /// The declared fields.
    pub(crate) fn fields(&self) -> Fields {
        self.fields.iter().map(|field| (field.name.clone(), field.of)).collect()
    }
}

/// Labels and metadata of an item.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Description {
    /// The numbers of its classes.
    pub(crate) labels: Vec<i64>,
    pub(crate) attributes: Attributes,
}

/// Labels and metadata of an item in the form of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The document that filters use: [`json_path::document`].
    pub(super) facets: Option<String>,
    /// External id and metadata as JSON, which hits show. Their labels are in `facets`.
    pub(super) shown: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

/// The labels of a document of facets. Its fields are for filters alone.
#[derive(Default, Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: Vec<i64>,
}

impl Row {
    /// Parses both columns.
    pub(super) fn description(&self) -> Result<Description, String> {
        let Labelled { labels } = parsed(self.facets.as_deref())?;
        let Shown { external_id, metadata } = parsed(self.shown.as_deref())?;
        let attributes = Attributes { external_id, metadata, ..Attributes::default() };
        Ok(Description { labels, attributes })
    }
}

/// The value of a column of JSON; the default if it is NULL.
fn parsed<T: Default + DeserializeOwned>(json: Option<&str>) -> Result<T, String> {
    let read = json.map(serde_json::from_str).transpose();
    let read =
        read.map_err(|error| format!("labels or metadata of an item cannot be read: {error}"));
    Ok(read?.unwrap_or_default())
}

/// The metadata file of a load and the declared fields.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    fields: Fields,
    metadata: Option<Sidecar>,
}

impl Descriptions {
    /// Reads the metadata file, if there is one. Its rows identify items by `id`.
    ///
    /// # Errors
    /// When a field or the file is invalid, or two items have the same external id.
    pub(super) fn read(file: Option<&Path>, fields: Fields) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Metadata { reason };
        if let Some((name, _)) = fields.iter().find(|(name, _)| name.contains('\0')) {
            let reason = format!(
                "the field {name:?} has the character U+0000, which PostgreSQL cannot keep"
            );
            return Err(wrong(reason));
        }
        let read =
            |file| Sidecar::read(file, Named::ById, &fields).map_err(|e| wrong(e.to_string()));
        let metadata = file.map(read).transpose()?;
        Ok(Self { fields, metadata })
    }

    /// The facets of the items of these sets; `None` if there are neither labels nor metadata.
    ///
    /// # Errors
    /// When the sets have labels of different forms.
    pub(super) fn facets(&self, sets: &[CodeSet]) -> Result<Option<Facets>, Error> {
        let mut labels = LabelShape::None;
        for set in sets {
            let of_set = match &set.labels {
                None => continue,
                Some(Labels::MultiHot { classes, .. }) => LabelShape::MultiHot(*classes),
                Some(_) => LabelShape::Single,
            };
            if labels != LabelShape::None && labels != of_set {
                let reason =
                    "some have one label an item, and some have several, or of other classes";
                return Err(Error::Codes { reason: reason.into() });
            }
            labels = of_set;
        }
        if labels == LabelShape::None && self.metadata.is_none() {
            return Ok(None);
        }
        let mut postings = Postings::new(self.fields.clone());
        for set in sets.iter().filter(|_| self.metadata.is_some()) {
            for row in 0..set.codes.len() {
                let id = id_of(set, row);
                if let Some(kept) = self.attributes(id) {
                    postings.insert(id, &kept.metadata);
                }
            }
        }
        // All sets with items that name classes name the same ones (`sets.rs`).
        let with_items = sets.iter().filter(|set| !set.codes.is_empty());
        let classes = with_items.map(|set| &set.classes).find(|classes| !classes.is_empty());
        let classes = classes.cloned().unwrap_or_default();
        Ok(Some(Facets { labels, classes, fields: postings.counts(MAX_VALUES) }))
    }

    /// The labels and the metadata of the item in row `row` of a set.
    ///
    /// # Errors
    /// When PostgreSQL cannot store a text.
    pub(super) fn row(&self, set: &CodeSet, row: usize) -> Result<Row, Error> {
        let labels = match &set.labels {
            Some(Labels::Single(labels)) => match labels.get(row) {
                Some(&Labels::NONE) | None => Vec::new(),
                Some(&label) => vec![label],
            },
            Some(Labels::MultiHot { classes, values }) => {
                let hot = values.chunks_exact((*classes).max(1)).nth(row).unwrap_or_default();
                (0..).zip(hot).filter(|(_, hot)| **hot != 0).map(|(class, _)| class).collect()
            }
            _ => Vec::new(),
        };
        let id = id_of(set, row);
        let nothing = Attributes::default();
        let kept = self.attributes(id).unwrap_or(&nothing);
        let wrong = |reason: String| Error::Metadata { reason: format!("item {id}: {reason}") };
        let facets = json_path::document(&labels, &self.fields, &kept.metadata);
        let facets = facets.map_err(|fault| wrong(fault.to_string()))?;
        let shown =
            Shown { external_id: kept.external_id.clone(), metadata: kept.metadata.clone() };
        let shown = (!kept.is_empty()).then(|| serde_json::to_string(&shown)).transpose();
        Ok(Row { facets, shown: shown.map_err(|error| wrong(error.to_string()))? })
    }

    /// The ids in the metadata file that no item of these sets has.
    pub(super) fn unmatched(&self, sets: &[CodeSet]) -> Vec<String> {
        let Some(metadata) = &self.metadata else { return Vec::new() };
        let ids = sets.iter().flat_map(|set| (0..set.codes.len()).map(|row| id_of(set, row)));
        // Only ids that the file has, of which there may be far fewer than items.
        let ids = ids.map(|id| id.to_string()).filter(|id| metadata.attributes(id).is_some());
        let ids: HashSet<String> = ids.collect();
        metadata.unmatched(ids.iter().map(String::as_str))
    }

    fn attributes(&self, id: u64) -> Option<&Attributes> {
        self.metadata.as_ref()?.attributes(&id.to_string())
    }
}

fn id_of(set: &CodeSet, row: usize) -> u64 {
    set.ids.as_ref().map_or(row as u64, |ids| ids[row])
}
