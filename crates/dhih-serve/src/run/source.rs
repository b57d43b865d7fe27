//! Where the codes are that are searched, and what they are opened to: an index on this machine's disk, or a store.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use dhih_index::{CodeSet, Index};
use rayon::prelude::*;

use crate::items::{Access, LocalItems, Opening};
use crate::run::checks::IndexCheck;
use crate::run::coder::{Coder, Origin};
use crate::{Error, Result};

/// What is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// What makes codes of queries.
    pub origin: Origin,
    /// Where the codes are that are searched.
    pub source: Source,
}

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
pub(super) enum Codes {
    /// The index on this machine's disk.
    Local {
        items: Arc<LocalItems>,
        /// Whether it holds the items of the run, as [`holds_run`] finds; not where there is no run.
        holds_run: bool,
    },
    /// A store elsewhere.
    #[cfg(feature = "postgres")]
    Remote(Box<RemoteCodes>),
}

/// Codes in a store.
#[cfg(feature = "postgres")]
pub(super) struct RemoteCodes {
    pub(super) cluster: crate::postgres::Cluster,
    /// What `/v1/info` tells of it.
    pub(super) store: crate::api::Store,
    /// Whether it holds the items of the run, so that these have the run's labels and thumbnails.
    pub(super) holds_run: bool,
}

impl Codes {
    /// The names of the classes, as far as the codes bring them.
    pub(super) fn classes(&self) -> Vec<String> {
        match self {
            Self::Local { items, .. } => items.index().classes().to_vec(),
            #[cfg(feature = "postgres")]
            Self::Remote(remote) => {
                let facets = remote.cluster.facets();
                facets.map(|facets| facets.classes.clone()).unwrap_or_default()
            }
        }
    }
}

/// What codes are opened for.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) origin: &'a Origin,
    pub(super) coder: &'a Coder,
    /// The run's own codes.
    pub(super) database: Option<&'a CodeSet>,
    /// What is served until now.
    pub(super) current: Option<&'a Arc<LocalItems>>,
}

impl Source {
    /// Opens it.
    pub(super) fn open(&self, owner: Owner<'_>) -> Result<Codes> {
        match self {
            Self::Index { dir, access } => {
                let items = open_index(dir, *access, owner)?;
                let holds_run = owner.database.is_some_and(|own| holds_run(&items, own));
                if !holds_run && owner.database.is_some() {
                    tracing::warn!(
                        "the index holds other items than the run: they have no thumbnails of its gallery"
                    );
                }
                Ok(Codes::Local { items, holds_run })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => {
                let cluster = crate::run::checks::cluster(config, owner.coder)?;
                let holds_run = owner.database.is_some_and(|own| cluster.holds(own));
                if !holds_run && owner.database.is_some() {
                    tracing::warn!(
                        "the store holds other items than the run: they have no thumbnails, and only labels that were loaded with them"
                    );
                }
                let store = crate::api::Store {
                    kind: "postgresql",
                    generation: cluster.generation(),
                    shards: cluster.shards(),
                    substrings: cluster.substrings(),
                };
                Ok(Codes::Remote(Box::new(RemoteCodes { cluster, store, holds_run })))
            }
        }
    }
}

/// Opens an index. The files that are open already stay open, and are changed meanwhile, unless another index has taken their place.
fn open_index(dir: &Path, access: Access, owner: Owner<'_>) -> Result<Arc<LocalItems>> {
    let check = IndexCheck { path: dir, origin: owner.origin, coder: owner.coder };
    check.present()?;
    opened_index(access, owner, check).map_err(|error| match error {
        // The command that builds an index helps against damage, not against a disk that fails.
        Error::Index { source, .. }
            if !matches!(
                source,
                dhih_index::Error::Io { .. } | dhih_index::Error::Poisoned { .. }
            ) =>
        {
            check.unusable(source)
        }
        other => other,
    })
}

fn opened_index(
    access: Access,
    owner: Owner<'_>,
    check: IndexCheck<'_>,
) -> Result<Arc<LocalItems>> {
    let dir = check.path;
    let current = owner.current;
    if let Some(items) = current.filter(|items| items.is_current_at(dir)) {
        // It was verified when it was opened.
        check.same_maker(&items.index())?;
        return Ok(items.clone());
    }
    let maker = owner.coder.maker();
    let of = |catalogue| Opening {
        dir,
        model_sha256: maker.map(|maker| maker.sha256),
        access,
        catalogue,
        // Pictures need a place for their thumbnails; all else is in the index.
        makes_catalogue: owner.coder.model().is_ok(),
    };
    match current.filter(|items| items.is_changeable() && items.is_at(dir)) {
        None => LocalItems::open(of(None), |index| check.whole(index)).map(Arc::new),
        Some(items) => {
            // Another index was built in the place of the one that is open: the lock is needed, and everything that can be checked
            // without it is, before changes are refused.
            check.whole(&Index::open(dir).map_err(|e| check.unusable(e))?)?;
            let catalogue = items.catalogue().filter(|catalogue| catalogue.is_current()).cloned();
            items.close();
            let opened = LocalItems::open(of(catalogue), |index| check.same_maker(index));
            opened.map(Arc::new).inspect_err(|_| items.resume())
        }
    }
}

/// One of so many items may have another code than in the run, where no catalogue tells which ids were used again.
const USED_AGAIN: usize = 16;

/// Whether an index holds the items of the run. Codes of few bits are often equal by chance, so that all ids that both have are compared:
/// in an index of the run they have the same codes, but for those that were deleted and used again.
fn holds_run(items: &LocalItems, database: &CodeSet) -> bool {
    let index = items.index();
    let id = |row: usize| database.ids.as_ref().map_or(row as u64, |ids| ids[row]);
    let was_used_again = |id| items.catalogue().is_some_and(|catalogue| catalogue.has(id));
    let compare = |row: usize| match index.code(id(row)) {
        None => (0, 0),
        Some(code) if code == database.codes.get(row) => (1, 0),
        Some(_) => (1, usize::from(!was_used_again(id(row)))),
    };
    let rows = (0..database.codes.len()).into_par_iter().map(compare);
    let (both, other) = rows.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    match items.catalogue() {
        Some(_) => other == 0,
        None => other * USED_AGAIN <= both,
    }
}

/// Rows of ids in `codes.safetensors`.
pub(super) enum Rows {
    /// The ids are the rows.
    Same,
    Of(HashMap<u64, usize>),
}

impl Rows {
    pub(super) fn of(ids: Option<&[u64]>) -> Self {
        let rows = |ids: &[u64]| ids.iter().enumerate().map(|(row, id)| (*id, row)).collect();
        ids.map_or(Self::Same, |ids| Self::Of(rows(ids)))
    }

    /// The row of an item.
    pub(super) fn row(&self, id: u64) -> Option<usize> {
        match self {
            Self::Of(rows) => rows.get(&id).copied(),
            Self::Same => usize::try_from(id).ok(),
        }
    }
}
