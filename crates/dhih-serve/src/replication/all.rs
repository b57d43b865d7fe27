//! Following: one collection, or all collections of a primary, each by a follower of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;
use serde::Deserialize;

use super::client::Primary;
use super::error::FollowError;
use super::following::{Begun, Follower, Pauses};
use super::place::Place;
use crate::collections::CollectionName;
use crate::collections::folder::Folder;
use crate::items::Access;
use crate::{Error, Result};

/// The directory of the index in that of a collection.
const INDEX: &str = "index";

/// What a service follows.
pub(crate) enum Following {
    /// A collection of the primary, with the collection `default`.
    One(Follower),
    /// All collections of the primary, with collections of the same names in the folder.
    All { primary: Primary, folder: PathBuf },
}

/// The part of the answer of `GET /v1/collections` that is read here.
#[derive(Deserialize)]
struct Listed {
    collections: Vec<ListedOne>,
}

#[derive(Deserialize)]
struct ListedOne {
    name: String,
}

impl Following {
    /// Fetches the first snapshot of each collection of which there is no copy yet. Retries until there is a copy of one collection at least.
    /// Returns the followers by the names of their collections, without those that the primary does not let anybody follow, and without those
    /// of which the primary gave no copy in several attempts.
    ///
    /// # Errors
    /// When a directory cannot be created, read or renamed.
    pub(crate) async fn begin(self) -> Result<Vec<(CollectionName, Follower)>> {
        let (primary, folder) = match self {
            Self::One(follower) => {
                let mut pauses = Pauses::default();
                while let Begun::WithoutCopy(error) = follower.begin(|| false).await? {
                    tracing::warn!(%error, "the primary refuses a follower; it is tried again");
                    pauses.wait().await;
                }
                return Ok(vec![(CollectionName::default(), follower)]);
            }
            Self::All { primary, folder } => (primary, folder),
        };
        fs::create_dir_all(&folder).map_err(|source| Error::written(&folder, source))?;
        let mut followers = Vec::new();
        let copies = copies(&folder)?;
        let has_copy = AtomicBool::new(!copies.is_empty());
        for name in names(&primary, copies).await {
            let place = Place::new(&folder.join(name.as_str()).join(INDEX))?;
            followers.push((name.clone(), Follower::new(primary.of_collection(&name), place)));
        }
        let begin_one = |(name, follower)| begin(name, follower, &has_copy);
        let begun = try_join_all(followers.into_iter().map(begin_one)).await?;
        Ok(begun.into_iter().flatten().collect())
    }
}

/// The names of the collections of which there are copies. Completes replacements that were interrupted.
fn copies(folder: &Path) -> Result<Vec<CollectionName>> {
    let mut copies = Vec::new();
    // A directory alone is no copy: it may have been made for a model, or have a part of a snapshot.
    for name in Folder::open(folder.to_owned(), Access::ReadOnly)?.names()? {
        if Place::new(&folder.join(name.as_str()).join(INDEX))?.recover()? {
            copies.push(name);
        }
    }
    Ok(copies)
}

/// Begins to follow one of several collections. Returns `None` if the primary refuses it, or was lost before there was a copy: neither may
/// keep the others from being served. `has_copy` says whether there is a copy of any of them.
async fn begin(
    name: CollectionName,
    follower: Follower,
    has_copy: &AtomicBool,
) -> Result<Option<(CollectionName, Follower)>> {
    match follower.begin(|| has_copy.load(Ordering::Relaxed)).await? {
        Begun::WithCopy => {
            has_copy.store(true, Ordering::Relaxed);
            Ok(Some((name, follower)))
        }
        Begun::WithoutCopy(error) => {
            tracing::error!(%error, collection = %name, "this collection is not followed; the next start tries it again");
            Ok(None)
        }
    }
}

/// The names of the copies and of the primary's collections. If there are copies, the primary may be away.
async fn names(primary: &Primary, copies: Vec<CollectionName>) -> BTreeSet<CollectionName> {
    let mut pauses = Pauses::default();
    loop {
        match list(primary).await {
            Ok(names) => return names.into_iter().chain(copies).collect(),
            Err(error) if !copies.is_empty() => {
                tracing::warn!(%error, "the primary does not list its collections: those that are here are served");
                return copies.into_iter().collect();
            }
            Err(error) => {
                tracing::warn!(%error, "the primary does not list its collections; it is tried again");
            }
        }
        pauses.wait().await;
    }
}

async fn list(primary: &Primary) -> Result<Vec<CollectionName>, FollowError> {
    let Listed { collections } = primary.get("/collections", 0).await?.json().await?;
    // The names become directories, so that only valid ones may pass.
    let name = |one: ListedOne| one.name.parse();
    let names: Result<Vec<_>, _> = collections.into_iter().map(name).collect();
    names.map_err(|error| FollowError::List(format!("a collection's name: {error}")))
}
