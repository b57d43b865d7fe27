//! Fetches a snapshot of the primary: the list of its files, then each file, which is resumed after an interruption and verified by its
//! checksum.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::StatusCode;
use dhih_index::to_hex;
use sha2::{Digest as _, Sha256};
use tokio::task::block_in_place;

use super::client::Primary;
use super::error::FollowError;
use super::offer::HashWriter;
use super::place::Place;
use crate::api::{FollowFile, FollowSnapshot};
use crate::disk::{remove_directory, sync_directory};
use crate::items::catalogue::{Catalogue, Lineage, Position};
use crate::operation::plain_name::check_plain;

/// The file that stores the list of the snapshot beside the fetched files. A file of a snapshot cannot have this name, because it begins
/// with a dot.
const LIST: &str = ".list.json";
/// The pause before the next request while the primary is still making the snapshot.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches a snapshot into the directory [`Place::taking`]. When this returns, the snapshot is complete and on disk. `lineage` is that of the
/// copy that the snapshot replaces.
///
/// # Errors
/// When the primary or the disk fails, or the primary has the same history as the copy and a lower epoch. The fetched part is kept for the
/// next attempt, unless the disk is full.
pub(super) async fn fetch(
    primary: &Primary,
    place: &Place,
    lineage: &Lineage,
) -> Result<Position, FollowError> {
    let fetched = take(primary, place.taking(), lineage).await;
    if let Err(FollowError::Disk { source, .. }) = &fetched
        && [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&source.kind())
    {
        block_in_place(|| place.give_up());
    }
    fetched
}

async fn take(primary: &Primary, dir: &Path, lineage: &Lineage) -> Result<Position, FollowError> {
    let snapshot = list(primary).await?;
    if lineage.may_be(snapshot.history.as_deref()) && snapshot.epoch < lineage.epoch {
        return Err(FollowError::FormerPrimary { address: primary.address.to_string() });
    }
    let position = check(&snapshot)?;
    block_in_place(|| begin(dir, &snapshot)).map_err(disk(dir))?;
    let bytes: u64 = snapshot.files.iter().map(|file| file.bytes).sum();
    tracing::info!(
        position = position.number,
        files = snapshot.files.len(),
        bytes,
        "a snapshot of the primary is taken"
    );
    for file in &snapshot.files {
        let path = dir.join(&file.name);
        take_file(primary, &snapshot.id, file, &path).await?;
        block_in_place(|| check_file(file, &path))?;
    }
    block_in_place(|| {
        fs::remove_file(dir.join(LIST)).map_err(disk(dir))?;
        let catalogue = Catalogue::open(dir)?;
        if catalogue.head()? != Some(position) {
            return Err(FollowError::List(
                "the catalogue has another position than it says".into(),
            ));
        }
        catalogue.set_primary(&primary.address.to_string())?;
        drop(catalogue);
        sync_directory(dir).map_err(disk(dir))
    })?;
    Ok(position)
}

async fn list(primary: &Primary) -> Result<FollowSnapshot, FollowError> {
    loop {
        let answer = primary.get("/replication/snapshot", 0).await?;
        if answer.status != StatusCode::ACCEPTED {
            return answer.json().await;
        }
        tracing::info!("the primary is making a snapshot");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Refuses a list whose names could lead out of the directory or occur twice. Returns the position of the snapshot.
fn check(snapshot: &FollowSnapshot) -> Result<Position, FollowError> {
    let wrong = |what: String| Err(FollowError::List(what));
    if check_plain(&snapshot.id).is_err() {
        return wrong(format!("{:?} is no id of a snapshot", snapshot.id));
    }
    let mut names = BTreeSet::new();
    for file in &snapshot.files {
        if check_plain(&file.name).is_err() || !names.insert(&file.name) {
            return wrong(format!("{:?} is no name of a file in it, or is there twice", file.name));
        }
    }
    snapshot.position.parse().or_else(|error| wrong(format!("{:?}: {error}", snapshot.position)))
}

/// Creates the directory. Files that an earlier attempt fetched of the same snapshot are kept; everything else is removed.
fn begin(dir: &Path, snapshot: &FollowSnapshot) -> io::Result<()> {
    let list = serde_json::to_vec(snapshot)?;
    if fs::read(dir.join(LIST)).is_ok_and(|known| known == list) {
        return Ok(());
    }
    remove_directory(dir)?;
    fs::create_dir_all(dir)?;
    fs::write(dir.join(LIST), list)
}

async fn take_file(
    primary: &Primary,
    id: &str,
    file: &FollowFile,
    path: &Path,
) -> Result<(), FollowError> {
    let failed = disk(path);
    let mut out = OpenOptions::new().create(true).append(true).open(path).map_err(&failed)?;
    let mut have = out.metadata().map_err(&failed)?.len();
    if have > file.bytes {
        out.set_len(0).map_err(&failed)?;
        have = 0;
    }
    if have < file.bytes {
        let at = format!("/replication/snapshot/{id}/{}", file.name);
        let mut answer = primary.get(&at, have).await?;
        if have > 0 && answer.status != StatusCode::PARTIAL_CONTENT {
            out.set_len(0).map_err(&failed)?;
            have = 0;
        }
        while let Some(bytes) = answer.next().await? {
            have += bytes.len() as u64;
            if have > file.bytes {
                break;
            }
            block_in_place(|| out.write_all(&bytes)).map_err(&failed)?;
        }
        if have < file.bytes {
            return Err(FollowError::Ended);
        }
    }
    block_in_place(|| out.sync_all()).map_err(&failed)
}

/// Refuses a file whose length or checksum differs from the list, and removes it, so that the next attempt fetches it again.
fn check_file(file: &FollowFile, path: &Path) -> Result<(), FollowError> {
    let mut hash = Sha256::new();
    let read =
        File::open(path).and_then(|mut from| io::copy(&mut from, &mut HashWriter(&mut hash)));
    let bytes = read.map_err(disk(path))?;
    if bytes == file.bytes && to_hex(&hash.finalize()) == file.sha256 {
        return Ok(());
    }
    fs::remove_file(path).map_err(disk(path))?;
    Err(FollowError::Checksum { name: file.name.clone() })
}

fn disk(path: &Path) -> impl Fn(io::Error) -> FollowError {
    let path: PathBuf = path.to_owned();
    move |source| FollowError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(names: &[&str]) -> FollowSnapshot {
        let file = |name: &&str| FollowFile { name: (*name).into(), bytes: 1, sha256: "0".into() };
        let position = format!("7-{}", "0".repeat(64));
        let files = names.iter().map(file).collect();
        FollowSnapshot { id: "a1".into(), position, epoch: 0, history: None, files }
    }

    #[test]
    fn a_list_names_no_file_elsewhere() {
        assert_eq!(check(&snapshot(&["a", "b"])).unwrap().number, 7);
        for names in [&["../a"][..], &["/a"], &[""], &[LIST], &["a", "a"]] {
            assert!(matches!(check(&snapshot(names)), Err(FollowError::List(_))), "{names:?}");
        }
        let other = FollowSnapshot { position: "7".into(), ..snapshot(&["a"]) };
        assert!(matches!(check(&other), Err(FollowError::List(_))));
    }

    #[test]
    fn what_was_taken_is_kept_for_the_same_snapshot_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("taking");
        begin(&dir, &snapshot(&["a"])).unwrap();
        fs::write(dir.join("a"), "x").unwrap();
        begin(&dir, &snapshot(&["a"])).unwrap();
        assert!(dir.join("a").exists());
        begin(&dir, &snapshot(&["a", "b"])).unwrap();
        assert!(!dir.join("a").exists());
    }

    #[test]
    fn a_file_with_another_content_is_refused_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        // The checksum is the output of `printf abc | sha256sum`.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let right = FollowFile { name: "a".into(), bytes: 3, sha256: sha256.into() };
        check_file(&right, &path).unwrap();
        fs::write(&path, "abd").unwrap();
        assert!(matches!(check_file(&right, &path), Err(FollowError::Checksum { .. })));
        assert!(!path.exists());
    }
}
