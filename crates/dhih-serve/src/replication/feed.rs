//! The primary's side of a feed. It sends each change once it is published. While nothing changes, it sends the number of the last change
//! several times a second. From this number the follower knows that it has every change, and that the primary is alive.

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

/// The interval at which the number of the last change is sent while nothing changes.
const BEAT: Duration = Duration::from_millis(100);
/// The bytes of changes that are read from the journal and sent together.
const PIECE: usize = 1 << 20;

/// Sends the changes after a position. Returns when the receiver is dropped, `goes_on` returns false, or the journal no longer has the next
/// change.
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
                // The journal has dropped the next change meanwhile, or a new history has begun. The follower asks again and then gets the
                // reason.
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
