//! The data of a run about its own items: held-out queries, thumbnails and labels.

use super::source::Codes;
use super::{BoxError, Run};
use crate::run::gallery::Set;
use crate::{Result, api};

impl Run {
    /// The number of held-out queries.
    pub fn samples(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.queries.codes.len())
    }

    /// The code of a held-out query.
    pub(crate) fn sample_code(&self, index: usize) -> Option<&[u8]> {
        let codes = &self.data.as_ref()?.queries.codes;
        (index < codes.len()).then(|| codes.get(index))
    }

    /// A held-out query in the form of the API.
    pub(crate) fn sample(&self, index: usize) -> Option<api::Sample> {
        let queries = &self.data.as_ref()?.queries;
        (index < queries.codes.len()).then(|| api::Sample {
            index,
            label: self.names.of_row(queries.labels.as_ref(), index),
            image_url: format!("{}/samples/{index}/image?v={}", self.api_path(), self.version),
        })
    }

    /// The row of an item in the gallery, if the item is the run's own. In an index of other codes, the same id means another picture.
    pub(super) fn row(&self, id: u64, code: &[u8]) -> Option<usize> {
        self.data.as_ref()?.row_of(id, code).filter(|_| self.rows_are_known())
    }

    /// Whether the searched codes contain the items of the run.
    pub(super) fn rows_are_known(&self) -> bool {
        match &self.codes {
            Codes::Local { holds_run, .. } => *holds_run,
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => remote.holds_run,
        }
    }

    /// The label of an item of the run, for stores, which have no labels.
    pub(super) fn label_of_row(&self, id: u64) -> Option<api::Label> {
        let data = self.data.as_ref()?;
        let row = data.row(id).filter(|_| self.rows_are_known())?;
        self.names.of_row(data.database.labels.as_ref(), row)
    }

    /// Whether there is a thumbnail in this row.
    pub(crate) fn has_thumbnail(&self, set: Set, row: usize) -> bool {
        self.data.as_ref().is_some_and(|data| data.has_thumbnail(set, row))
    }

    /// The thumbnail in this row as a PNG file.
    pub(crate) fn png(&self, set: Set, row: usize) -> Result<Vec<u8>, BoxError> {
        let gallery = self.data.as_ref().and_then(|data| data.gallery.as_ref());
        let thumbnail = gallery.and_then(|gallery| gallery.get(set, row));
        Ok(thumbnail.ok_or("the thumbnail is gone")?.to_png()?)
    }
}
