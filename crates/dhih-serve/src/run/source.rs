//! Where the codes of a run are that are searched, and what they are opened to: an index on this machine's disk, or a store.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use dhih_index::{CodeSet, Labels};
use dhih_model::Encoder;

use crate::items::catalogue::Catalogue;
use crate::items::{Access, LocalItems};
use crate::run::checks;
use crate::search::Searcher;
use crate::{Result, api};

/// Where the codes are that are searched.
#[derive(Debug, Clone)]
pub enum Source {
    /// An index directory.
    Index {
        /// The directory.
        dir: PathBuf,
        /// What it is opened for.
        access: Access,
    },
    /// Codes in PostgreSQL, which are searched alone.
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::StoreConfig),
}

/// What a source was opened to.
pub(crate) struct Opened {
    pub(crate) searcher: Arc<dyn Searcher>,
    /// The same, where it is the index on this machine's disk.
    pub(crate) local: Option<Arc<LocalItems>>,
    /// What `/v1/info` tells of a store elsewhere.
    pub(crate) remote: Option<api::Store>,
    pub(crate) rows: Rows,
    /// Labels by row, where no index has them.
    pub(crate) labels: Option<Labels>,
}

/// Rows of ids in `codes.safetensors`.
pub(crate) enum Rows {
    /// The ids are the rows.
    Same,
    Of(HashMap<u64, usize>),
    /// The items searched are others.
    #[cfg(feature = "postgres")]
    Unknown,
}

impl Source {
    /// Opens it for the run in `dir`, whose codes are `database`.
    pub(crate) fn open(
        &self,
        (dir, encoder): (&Path, &Encoder),
        database: CodeSet,
        catalogue: impl FnOnce(&Encoder) -> Option<Arc<Catalogue>>,
    ) -> Result<Opened> {
        match self {
            Self::Index { dir: index, access } => {
                checks::index(index, dir, encoder)?;
                let (sha, catalogue) = (encoder.model_sha256(), catalogue(encoder));
                let local = Arc::new(LocalItems::open(index, sha, *access, catalogue)?);
                let rows = Rows::of(database.ids);
                Ok(Opened {
                    searcher: local.clone(),
                    local: Some(local),
                    remote: None,
                    rows,
                    labels: None,
                })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => {
                let cluster = checks::cluster(config, encoder)?;
                let remote = Some(api::Store {
                    kind: "postgresql",
                    generation: cluster.generation(),
                    shards: cluster.shards(),
                    substrings: cluster.substrings(),
                });
                let (rows, labels) = if cluster.holds(&database) {
                    (Rows::of(database.ids), database.labels)
                } else {
                    tracing::warn!(
                        "the store holds other items than the run: they have no labels and no thumbnails"
                    );
                    (Rows::Unknown, None)
                };
                Ok(Opened { searcher: Arc::new(cluster), local: None, remote, rows, labels })
            }
        }
    }
}

impl Rows {
    fn of(ids: Option<Vec<u64>>) -> Self {
        let rows = |ids: Vec<u64>| ids.into_iter().enumerate().map(|(i, id)| (id, i)).collect();
        ids.map_or(Self::Same, |ids| Self::Of(rows(ids)))
    }

    /// The row of an item.
    pub(crate) fn row(&self, id: u64) -> Option<usize> {
        match self {
            Self::Of(rows) => rows.get(&id).copied(),
            Self::Same => usize::try_from(id).ok(),
            #[cfg(feature = "postgres")]
            Self::Unknown => None,
        }
    }

    /// Whether there are rows at all.
    pub(crate) fn are_known(&self) -> bool {
        match self {
            Self::Of(_) | Self::Same => true,
            #[cfg(feature = "postgres")]
            Self::Unknown => false,
        }
    }
}
