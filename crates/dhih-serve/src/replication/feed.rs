//! The primary's side of a feed: changes as they are made, and between them, a few times a second, how far it is, so that a follower knows that
//! it has everything, and that the primary is there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::frame::{MARK, write_change, write_head};
use crate::Result;
use crate::items::catalogue::{Catalogue, LoggedChange, Position};

/// How often it is said how far the primary is while nothing changes.
const BEAT: Duration = Duration::from_millis(100);
/// Bytes of changes that are read and sent together.
const PIECE: usize = 1 << 20;

/// Sends what comes after a position until nobody reads it any more, `goes_on` says no, or the catalogue does not have what comes next any more.
pub(crate) async fn send(
    catalogue: Arc<Catalogue>,
    after: Position,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    goes_on: impl Fn() -> bool,
) {
    let mut published = catalogue.watch_published();
    let (mut at, mut bytes) = (after.number, MARK.to_vec());
    while goes_on() {
        let Some(head) = *published.borrow_and_update() else { return };
        let is_behind = head.number > at;
        if is_behind {
            match next(&catalogue, at, head.number).await {
                Ok(changes) if changes.first().is_some_and(|first| first.number == at + 1) => {
                    changes.iter().for_each(|change| write_change(change, &mut bytes));
                    at += changes.len() as u64;
                }
                // It was dropped meanwhile, or another history has begun.
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "a follower is not told of changes any more");
                    return;
                }
            }
        }
        write_head(head.number, &mut bytes);
        if pieces.send(Ok(std::mem::take(&mut bytes).into())).await.is_err() {
            return;
        }
        if !is_behind && matches!(timeout(BEAT, published.changed()).await, Ok(Err(_))) {
            return;
        }
    }
}

async fn next(catalogue: &Arc<Catalogue>, after: u64, last: u64) -> Result<Vec<LoggedChange>> {
    let catalogue = catalogue.clone();
    let read = spawn_blocking(move || catalogue.logged(after, last, PIECE)).await;
    read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
