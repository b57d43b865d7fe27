//! The primary's side of a snapshot. A snapshot is made when a follower requests one, is kept for a while in the index directory, and is
//! sent file by file, by byte ranges. Followers that request one soon after one another share it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use dhih_index::to_hex;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::api::{FollowFile, FollowSnapshot};
use crate::disk::remove_directory;
use crate::items::catalogue::{Lineage, Position, Reach};
use crate::items::{ChangeError, LocalItems};
use crate::operation::plain_name::check_plain;

/// The directory of snapshots for followers. It is inside the index directory, so that the files of a snapshot can be hard links to those
/// of the index.
const DIR: &str = ".followers";
/// How long a snapshot is kept after the last request for it.
const KEPT: Duration = Duration::from_secs(600);

/// Why no snapshot can be offered to a follower.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfferError {
    #[error(
        "this service keeps no journal, so that nobody can follow it: start it with --journal-mib"
    )]
    NoJournal,
    #[error("a snapshot for followers is being made: ask again in a second")]
    UnderWay,
    #[error(
        "there is no snapshot of this id (any more), or no such file in it: ask for another one"
    )]
    Gone,
    #[error(transparent)]
    Items(Box<ChangeError>),
    #[error(transparent)]
    Failed(Box<Error>),
}

impl From<ChangeError> for OfferError {
    fn from(refusal: ChangeError) -> Self {
        Self::Items(refusal.into())
    }
}

impl From<Error> for OfferError {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A snapshot for a follower.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) snapshot: FollowSnapshot,
    /// Whether it was made for this follower, so that its expiry has to be watched from now on.
    pub(crate) is_new: bool,
}

/// The snapshot that is offered to followers, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    current: Mutex<Option<Offer>>,
    /// Held while a snapshot is made: only one at a time.
    making: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Offer {
    snapshot: FollowSnapshot,
    position: Position,
    dir: PathBuf,
    used: Instant,
}

impl Offers {
    /// A snapshot after which the journal continues: the current one, or a new one. Blocks while a new one is made.
    ///
    /// # Errors
    /// When no journal is kept, another snapshot is being made, or the disk is full or fails.
    pub(crate) fn offered(&self, items: &Arc<LocalItems>) -> Result<Offered, OfferError> {
        let _one = match self.making.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(OfferError::UnderWay),
        };
        let catalogue = items.catalogue().ok_or(OfferError::NoJournal)?;
        let lineage = items.lineage()?;
        let known = self.current().as_ref().map(|offer| (offer.position, offer.snapshot.epoch));
        // After a promotion, the epoch of an older snapshot would look like that of a former primary.
        if let Some((position, epoch)) = known
            && epoch == lineage.epoch
            && catalogue.reach(&position)? == Reach::Here
            && let Some(offer) = self.current().as_mut()
        {
            offer.used = Instant::now();
            return Ok(Offered { snapshot: offer.snapshot.clone(), is_new: false });
        }
        let offer = self.current().take();
        offer.into_iter().for_each(|offer| remove(&offer.dir));
        let offer = make(items, &items.dir().join(DIR), lineage)?;
        let snapshot = offer.snapshot.clone();
        *self.current() = Some(offer);
        Ok(Offered { snapshot, is_new: true })
    }

    /// Removes the snapshot, and those that an earlier run of the program has left in the directory of these items. Waits for one that is being
    /// made. Does nothing for items that were opened read-only: their directory may be that of another program.
    pub(crate) fn withdraw(&self, items: &LocalItems) {
        if !items.is_changeable() {
            return;
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = self.current().take();
        offer.into_iter().for_each(|offer| remove(&offer.dir));
        remove(&items.dir().join(DIR));
    }

    /// The list entry and the path of the file `name` of the snapshot `id`.
    ///
    /// # Errors
    /// When the snapshot no longer exists, or has no such file.
    pub(crate) fn file(&self, id: &str, name: &str) -> Result<(FollowFile, PathBuf), OfferError> {
        let mut current = self.current();
        let offer = current.as_mut().filter(|offer| offer.snapshot.id == id);
        let offer = offer.ok_or(OfferError::Gone)?;
        offer.used = Instant::now();
        let file = offer.snapshot.files.iter().find(|file| file.name == name);
        let file = file.ok_or(OfferError::Gone)?;
        Ok((file.clone(), offer.dir.join(name)))
    }

    /// Removes the snapshot if no follower has requested it for a while. Returns whether none is left.
    pub(crate) fn expire(&self) -> bool {
        let mut current = self.current();
        if let Some(offer) = current.take_if(|offer| offer.used.elapsed() > KEPT) {
            remove(&offer.dir);
        }
        current.is_none()
    }

    fn current(&self) -> MutexGuard<'_, Option<Offer>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(items: &Arc<LocalItems>, parent: &Path, lineage: Lineage) -> Result<Offer, OfferError> {
    let failed = |source| Error::written(parent, source);
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| failed(io::Error::other(error)))?;
    let id = to_hex(&id);
    let dir = parent.join(&id);
    fs::create_dir_all(parent).map_err(failed)?;
    let made = items.snapshot_to_follow(&dir).map_err(OfferError::from);
    let listed = made.and_then(|position| {
        let position = position.ok_or(OfferError::NoJournal)?;
        Ok((position, files(&dir).map_err(failed)?))
    });
    let (position, files) = listed.inspect_err(|_| remove(&dir))?;
    tracing::info!(
        position = position.number,
        files = files.len(),
        "a snapshot for followers was made"
    );
    let Lineage { epoch, history, .. } = lineage;
    let snapshot = FollowSnapshot { id, position: position.to_string(), epoch, history, files };
    Ok(Offer { snapshot, position, dir, used: Instant::now() })
}

/// The files of a snapshot, ordered by name, with their lengths and checksums.
fn files(dir: &Path) -> io::Result<Vec<FollowFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Empty files are locks. They have no content to copy.
        if !entry.file_type()?.is_file()
            || check_plain(&name).is_err()
            || entry.metadata()?.len() == 0
        {
            continue;
        }
        let mut file = fs::File::open(entry.path())?;
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut file, &mut HashWriter(&mut hash))?;
        files.push(FollowFile { name, bytes, sha256: to_hex(&hash.finalize()) });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// A writer that only hashes.
pub(super) struct HashWriter<'h>(pub(super) &'h mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn remove(dir: &Path) {
    if let Err(error) = remove_directory(dir) {
        tracing::warn!(%error, dir = %dir.display(), "a snapshot for followers could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use dhih_index::{CodeSet, Codes, IndexBuilder};

    use super::*;
    use crate::items::{Access, Opening};

    #[test]
    fn a_snapshot_is_shared_until_it_is_withdrawn_or_its_epoch_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let set = CodeSet::new(Codes::new(8, vec![1, 2, 3]).unwrap());
        IndexBuilder::default().build(&set, dir.path()).unwrap();
        let access = Access::Writable;
        let (model_sha256, catalogue) = (None, None);
        let opening =
            Opening { dir: dir.path(), model_sha256, access, catalogue, makes_catalogue: true };
        let items = Arc::new(LocalItems::open(opening, |_| Ok(())).unwrap());
        items.keep_journal(1 << 20).unwrap();
        let offers = Offers::default();
        let offered = || offers.offered(&items).unwrap();
        let first = offered();
        let second = offered();
        assert!(first.is_new && !second.is_new && first.snapshot == second.snapshot);
        // Followers of the new epoch refused a snapshot of the one before, and kept it alive by asking for it.
        items.supersede(3).unwrap();
        items.promote().unwrap();
        let third = offered();
        assert!(third.is_new && third.snapshot.epoch == 4);
        let parent = items.dir().join(DIR);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 1, "the first one is gone");
        offers.withdraw(&items);
        assert!(!parent.exists());
        let file = &third.snapshot.files[0].name;
        assert!(matches!(offers.file(&third.snapshot.id, file), Err(OfferError::Gone)));
        let fourth = offered();
        assert!(fourth.is_new && parent.join(&fourth.snapshot.id).join(file).exists());
    }
}
