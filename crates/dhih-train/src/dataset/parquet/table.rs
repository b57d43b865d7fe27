//! The rows of one Parquet file of labelled pictures. `reading.rs` reads them where the feature `parquet` is on; without it every file is
//! refused. `mod.rs` joins the files of a set.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

/// Which file is read, and which of its columns.
pub(in crate::dataset) struct TableConfig<'a> {
    /// The file.
    pub(in crate::dataset) path: &'a Path,
    /// Names of the column of labels, of which the first that the file has is read.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "no file is read"))]
    pub(in crate::dataset) labels: &'a [&'a str],
    /// The advice of error messages.
    pub(in crate::dataset) cure: &'a str,
}

/// The rows of a file.
pub(in crate::dataset) struct Table {
    /// The encoded picture of each row; `None` where the row has no bytes.
    pub(in crate::dataset) pictures: Vec<Option<Arc<[u8]>>>,
    /// The labels of each row.
    pub(in crate::dataset) labels: TableLabels,
    /// The names of the classes, where the file's metadata has them.
    pub(in crate::dataset) names: Option<Vec<String>>,
}

/// The labels of rows: `None` for a row without a label (null, or a negative number), an empty list for one that lists none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "parquet"),
    expect(dead_code, reason = "without Parquet there are no rows")
)]
pub(in crate::dataset) enum TableLabels {
    /// Class numbers.
    Numbers(Vec<Option<Vec<u32>>>),
    /// Names of classes.
    Names(Vec<Option<Vec<String>>>),
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where the file is damaged, where it has no column of pictures or labels or one of another type
    /// (named, with all columns of the file), and where a label is not a class number.
    #[cfg(feature = "parquet")]
    pub(in crate::dataset) fn read(config: &TableConfig) -> Result<Self> {
        super::reading::read(config)
    }

    /// Refuses a file.
    ///
    /// # Errors
    /// Always: the program was built without the feature `parquet`.
    #[cfg(not(feature = "parquet"))]
    pub(in crate::dataset) fn read(config: &TableConfig) -> Result<Self> {
        let path = config.path.to_owned();
        Err(dhih_index::Error::FormatDisabled { path, format: "Parquet", feature: "parquet" }
            .into())
    }
}
