//! Labels and metadata of items in a store. An index has its labels itself, and its metadata in the catalogue.

use super::Run;
use super::source::Codes;
use crate::api;
use crate::items::LabelShape;
use crate::items::metadata::{Attributes, FieldCounts, Fields};
use crate::search::SearchError;

/// Labels and metadata of an item in a store.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) label: Option<api::Label>,
    pub(super) attributes: Attributes,
}

/// The part of the labels and metadata that a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The labels, unless the run has them.
    Labels,
    /// Labels, external ids and metadata.
    All,
}

impl Run {
    /// Labels and metadata of items in the order of `ids`. `None` if the codes are not in a store, were loaded alone, or the run has that part.
    ///
    /// # Errors
    /// When the store does not answer.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "there are no stores without the feature")
    )]
    pub(super) fn described(
        &self,
        ids: &[u64],
        part: Part,
    ) -> Result<Option<Vec<Described>>, SearchError> {
        match &self.codes {
            Codes::Local { .. } => Ok(None),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => {
                let Some(facets) = remote.cluster.facets() else { return Ok(None) };
                let has_labels = facets.labels != LabelShape::None;
                if part == Part::Labels && (self.rows_are_known() || !has_labels) {
                    return Ok(None);
                }
                let descriptions = remote.cluster.descriptions(ids)?;
                let described =
                    |(id, description): (&u64, crate::postgres::Description)| Described {
                        label: match has_labels {
                            true => self.names.of_classes(facets.labels, &description.labels),
                            false => self.label_of_row(*id),
                        },
                        attributes: description.attributes,
                    };
                Ok(Some(ids.iter().zip(descriptions).map(described).collect()))
            }
        }
    }

    /// The form of the labels of its items, as far as searches can use them.
    pub(crate) fn shape(&self) -> LabelShape {
        match &self.codes {
            Codes::Local { items, .. } => items.shape().labels,
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => {
                remote.cluster.facets().map_or(LabelShape::None, |facets| facets.labels)
            }
        }
    }

    /// The counts of the declared fields, each with its `most` most frequent values.
    pub(crate) fn field_counts(&self, most: usize) -> Vec<FieldCounts> {
        match &self.codes {
            Codes::Local { items, .. } => {
                items.catalogue().map(|catalogue| catalogue.field_counts(most)).unwrap_or_default()
            }
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => {
                let mut fields =
                    remote.cluster.facets().map(|facets| facets.fields.clone()).unwrap_or_default();
                fields.iter_mut().for_each(|field| field.values.truncate(most));
                fields
            }
        }
    }

    /// The declared fields.
    ///
    /// # Errors
    /// When the service has no metadata; the message says why.
    pub(super) fn filter_fields(&self) -> Result<Fields, String> {
        match &self.codes {
            Codes::Local { items, .. } if !items.is_changeable() => Err(
                "`filter` goes by metadata, which this service does not read: it was started with --read-only"
                    .into(),
            ),
            Codes::Local { items, .. } => {
                Ok(items.catalogue().map(|catalogue| catalogue.fields()).unwrap_or_default())
            }
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => match remote.cluster.facets() {
                Some(facets) if !facets.fields.is_empty() => Ok(facets.fields()),
                _ => Err(
                    "`filter` goes by metadata, and none was loaded into the store: `dhih-serve load --metadata FILE --field NAME=TYPE` does that"
                        .into(),
                ),
            },
        }
    }
}
