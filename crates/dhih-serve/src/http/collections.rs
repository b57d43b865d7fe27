//! The open collections of a service and their routers. Any thread may look up a collection while others are opened and removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::Router;

use crate::collections::folder::Folder;
use crate::collections::template;
use crate::collections::{CollectionName, DEFAULT};
use crate::http::figures;
use crate::http::shared::Shared;
use crate::http::state::AppState;
use crate::items::Access;
use crate::run::Run;
use crate::run::source::Served;
use crate::{Error, Result};

/// The hidden directory in that of `--snapshot-dir` with one directory for each collection other than the default one.
const SNAPSHOTS: &str = ".collections";

/// Why a service that was started with `--follow` makes and removes no collections. It stays true once some of them are promoted.
pub(crate) const FOLLOWER: &str = "the collections of this service are those of the primary that it was started to follow (--follow): make and remove them there; \
                                   once all of them are promoted, start this service without --follow";

/// The collections that a service opens.
#[derive(Debug, Clone)]
pub struct CollectionsConfig {
    /// What the collection `default` serves. If absent, the folder may have a collection of this name.
    pub default: Option<Served>,
    /// The folder of further collections, in which collections can be made and removed.
    pub folder: Option<PathBuf>,
    /// Whether the collections of the folder are opened for reading or writing.
    pub access: Access,
    /// The directory of snapshots.
    pub snapshots: Option<PathBuf>,
    /// The most bytes of changes that each journal keeps; 0 ends the journals. If absent, each collection keeps the journal that it has.
    pub journal_bytes: Option<u64>,
}

/// The collections of a service. Clones share them.
#[derive(Debug, Clone)]
pub struct Collections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    opening: Opening,
    /// Whether the collection `default` was given by `CollectionsConfig::default` and is not in the folder.
    is_default_given: bool,
    open: ArcSwap<BTreeMap<CollectionName, Open>>,
    /// Held while a collection is made or removed: one at a time.
    changing: Mutex<()>,
}

/// How collections are opened.
#[derive(Debug)]
struct Opening {
    folder: Option<Folder>,
    snapshots: Option<PathBuf>,
    journal_bytes: Option<u64>,
}

/// An open collection.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) state: Arc<AppState>,
    /// Answers the paths of the collection, as if it were the only one.
    pub(crate) router: Router,
}

/// Why a collection cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectionError {
    #[error("this service makes and removes no collections: start it with --collections DIR")]
    NoFolder,
    #[error("this service only searches: it was started with --read-only")]
    ReadOnly,
    #[error("{FOLLOWER}")]
    Follower,
    #[error("there is a collection {0} already: remove it first, or give this one another name")]
    Exists(CollectionName),
    /// The folder has it, but it could not be opened, or came after the last reload.
    #[error(
        "there is something called {0} in the folder of the collections that is not served: take it away, mend it and reload, or give this one another name"
    )]
    NotServed(CollectionName),
    #[error("there is no collection {0}")]
    Unknown(CollectionName),
    #[error("the collection {0} was named when the service was started, and is not removed by it")]
    Named(CollectionName),
    #[error("a code has 1 to {most} bits, not {bits}")]
    Bits { bits: u32, most: u32 },
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What a new collection is made from.
#[derive(Debug, Clone)]
pub(crate) enum Template {
    /// Codes with this many bits.
    Codes { bits: u32 },
    /// Items like those of another collection.
    Like(CollectionName),
}

impl From<Arc<AppState>> for Collections {
    /// A service with a single collection.
    fn from(state: Arc<AppState>) -> Self {
        let shared = state.shared().clone();
        let opening = Opening { folder: None, snapshots: None, journal_bytes: None };
        let collections = Self::none(shared, opening, true);
        collections.insert(state);
        collections
    }
}

impl Collections {
    /// Opens and checks the collections.
    ///
    /// # Errors
    /// As for [`Run::load`], for the first collection that cannot be opened; when the folder cannot be read, or has a collection `default`
    /// although one is given.
    pub fn open(shared: Arc<Shared>, config: CollectionsConfig) -> Result<Self> {
        let CollectionsConfig { default, folder, access, snapshots, journal_bytes } = config;
        let folder = folder.map(|dir| Folder::open(dir, access)).transpose()?;
        let opening = Opening { folder, snapshots, journal_bytes };
        let collections = Self::none(shared, opening, default.is_some());
        if let Some(served) = default {
            collections.open_one(CollectionName::default(), &served)?;
        }
        let Some(folder) = &collections.0.opening.folder else { return Ok(collections) };
        for name in folder.names()? {
            if collections.get(name.as_str()).is_some() {
                return Err(Error::TwoCollections { name: name.to_string() });
            }
            collections.open_one(name.clone(), &folder.served(&name))?;
        }
        Ok(collections)
    }

    fn none(shared: Arc<Shared>, opening: Opening, is_default_given: bool) -> Self {
        let (open, changing) = (ArcSwap::default(), Mutex::default());
        Self(Arc::new(Inner { shared, opening, is_default_given, open, changing }))
    }

    /// The state that all collections share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The open collection of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Open> {
        self.0.open.load().get(name).cloned()
    }

    /// All collections, ordered by name.
    pub fn all(&self) -> Vec<Arc<AppState>> {
        self.0.open.load().values().map(|open| open.state.clone()).collect()
    }

    /// The run of the collection `default`, if there is one.
    pub fn default_run(&self) -> Option<Arc<Run>> {
        self.default_one().map(|open| open.state.run())
    }

    /// The collection `default`, which answers paths without a collection's name.
    pub(crate) fn default_one(&self) -> Option<Open> {
        self.get(DEFAULT)
    }

    /// Makes a collection. When this returns, the collection is on disk and served.
    ///
    /// # Errors
    /// See [`CollectionError`].
    pub(crate) fn make(
        &self,
        name: &CollectionName,
        template: &Template,
    ) -> Result<Arc<AppState>, CollectionError> {
        let folder = self.writable_folder()?;
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(name.as_str()).is_some() {
            return Err(CollectionError::Exists(name.clone()));
        }
        if folder.has(name) {
            return Err(CollectionError::NotServed(name.clone()));
        }
        match template {
            Template::Codes { bits } => {
                let most = dhih_index::MAX_BITS;
                if !(1..=most).contains(bits) {
                    return Err(CollectionError::Bits { bits: *bits, most });
                }
                folder.make(name, |dir| template::write_codes(*bits, dir))?;
            }
            Template::Like(other) => {
                let other =
                    self.get(other.as_str()).ok_or(CollectionError::Unknown(other.clone()))?;
                folder.make(name, |dir| template::write_like(&other.state.run(), dir))?;
            }
        }
        let opened = self.open_one(name.clone(), &folder.served(name));
        // A collection that cannot be opened is removed again; otherwise the next start would fail on it.
        Ok(opened.inspect_err(|_| {
            let _ = folder.remove(name);
        })?)
    }

    /// Removes a collection with all its files. Searches in progress still finish with its data; changes are refused.
    ///
    /// # Errors
    /// See [`CollectionError`].
    pub(crate) fn remove(&self, name: &CollectionName) -> Result<(), CollectionError> {
        let folder = self.writable_folder()?;
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.get(name.as_str()).ok_or_else(|| CollectionError::Unknown(name.clone()))?;
        if !folder.has(name) {
            return Err(CollectionError::Named(name.clone()));
        }
        self.take_out(name);
        // Close the run first, so that nothing is written to files that are being removed.
        open.state.run().close();
        folder.remove(name).map_err(|error| {
            let opened = self.open_one(name.clone(), &folder.served(name));
            if let Err(error) = opened {
                tracing::error!(%error, collection = %name, "neither removed nor served");
            }
            CollectionError::Failed(error)
        })
    }

    /// Reopens every collection, opens those that were added to the folder and closes those that were removed from it. A collection that
    /// fails to reopen continues with what it served before.
    ///
    /// # Errors
    /// The errors of all collections that could not be opened.
    pub fn reload(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        if let Some(folder) = &self.0.opening.folder {
            let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
            match folder.names() {
                Ok(names) => errors.extend(self.follow(folder, &names)),
                Err(error) => errors.push(error),
            }
        }
        for state in self.all() {
            errors.extend(state.reload().err());
        }
        errors
    }

    /// Opens and closes collections until the open ones are those of the folder.
    fn follow(&self, folder: &Folder, names: &[CollectionName]) -> Vec<Error> {
        let mut errors = Vec::new();
        for name in names {
            if self.get(name.as_str()).is_none() {
                errors.extend(self.open_one(name.clone(), &folder.served(name)).err());
            }
        }
        for state in self.all() {
            let is_given = self.0.is_default_given && state.name().is_default();
            if !is_given && !names.contains(state.name()) {
                self.take_out(state.name());
                state.run().close();
                tracing::info!(collection = %state.name(), "not served any more");
            }
        }
        errors
    }

    fn writable_folder(&self) -> Result<&Folder, CollectionError> {
        let folder = self.0.opening.folder.as_ref().ok_or(CollectionError::NoFolder)?;
        match folder.access() {
            Access::Writable => Ok(folder),
            Access::Follower => Err(CollectionError::Follower),
            Access::ReadOnly => Err(CollectionError::ReadOnly),
        }
    }

    fn open_one(&self, name: CollectionName, served: &Served) -> Result<Arc<AppState>> {
        let run = Run::open(&served.origin, &served.source)?;
        let Opening { snapshots, journal_bytes, .. } = &self.0.opening;
        let snapshots = snapshots.as_ref().map(|dir| match name.is_default() {
            true => dir.clone(),
            false => dir.join(SNAPSHOTS).join(name.as_str()),
        });
        let state = AppState::of(name, run, self.0.shared.clone());
        let state = state.map_err(|source| Error::System { what: "threads", source })?;
        let state = Arc::new(state.with_snapshots(snapshots).with_journal(*journal_bytes)?);
        self.insert(state.clone());
        Ok(state)
    }

    fn insert(&self, state: Arc<AppState>) {
        let router = super::collection_router(state.clone());
        self.0.open.rcu(|open| {
            let mut open = BTreeMap::clone(open);
            let one = Open { state: state.clone(), router: router.clone() };
            open.insert(state.name().clone(), one);
            open
        });
    }

    fn take_out(&self, name: &CollectionName) {
        self.0.open.rcu(|open| {
            let mut open = BTreeMap::clone(open);
            open.remove(name);
            open
        });
        // Afterwards: a request for metrics in between would measure the collection once more.
        figures::forget(name);
    }
}
