//! `/v1/replication/...` serves changes and snapshots to followers. `POST /v1/admin/promote` makes a follower a primary.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::task::spawn_blocking;

use crate::api::{
    ChangesParams, ErrorAnswer, ErrorBody, FollowSnapshot, Promoted, Succeeded, Succession,
};
use crate::http::json::json;
use crate::http::readiness::Phase;
use crate::http::routes::pieces::{channel, endless_channel};
use crate::http::{ApiError, AppState};
use crate::items::LocalItems;
use crate::items::catalogue::{Catalogue, NoPosition, Position, Reach};
use crate::replication::feed;
use crate::replication::offer::OfferError;

/// The bytes of a file that are read and sent together.
const PIECE: usize = 256 << 10;
/// The interval of checks whether the snapshot has expired.
const EXPIRY: std::time::Duration = std::time::Duration::from_secs(60);

/// Streams the changes after a position, as they are made, until either side closes the connection. The stream begins with `dhihfee1`;
/// frames follow. A frame that begins with the byte 1 is a change: its number and its time in milliseconds since 1970 (`u64` each), the
/// SHA-256 of this and all earlier changes (32 bytes), the length of its payload (`u64`), a check, and the payload. A frame that begins
/// with the byte 2 is sent several times a second: the number of the last change (`u64`) and a check. A check is the first four bytes of
/// the SHA-256 of the frame's bytes before it. All integers are little-endian.
#[utoipa::path(
    get, operation_id = "follow_changes", path = "/v1/replication/changes", tag = "replication", params(ChangesParams),
    responses(
        (status = 200, description = "The changes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = ErrorAnswer, description = "The position is none"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key may not do this, or the codes are in a store"),
        (status = 409, body = ErrorAnswer, description = "The position is one of another history, or what comes next is not kept any more: take a snapshot"),
        (status = 422, body = ErrorAnswer, description = "The service keeps no journal"),
    )
)]
pub(crate) async fn changes(
    State(state): State<Arc<AppState>>,
    params: Result<Query<ChangesParams>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(ChangesParams { after }) = params?;
    let after = position("after", &after)?;
    let run = state.run();
    check_not_superseded(run.items()?)?;
    let catalogue = run.catalogue().cloned().ok_or(OfferError::NoJournal)?;
    check_reach(&state, &catalogue, after).await?;
    let (pieces, body) = endless_channel();
    let (served, of) = (state.clone(), catalogue.clone());
    // A reload may open another catalogue, and a collection that was removed may be made anew under its name. Their histories need not
    // continue this one, so the follower has to ask again.
    let goes_on = move || {
        let run = served.run();
        let may_follow = |items: &LocalItems| !items.is_superseded() && items.check_open().is_ok();
        let is_served = run.catalogue().is_some_and(|now| Arc::ptr_eq(now, &of))
            && run.items().is_ok_and(|items| may_follow(items));
        is_served && served.shared().phase() == Phase::Serving
    };
    tokio::spawn(async move {
        let followers = metrics::gauge!("dhih_followers");
        followers.increment(1.0);
        feed::send(catalogue, after, pieces, goes_on).await;
        followers.decrement(1.0);
    });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// Returns the list of a snapshot from which a follower can go on, with the checksums of its files. Followers that ask soon after one
/// another get the same snapshot.
#[utoipa::path(
    get, operation_id = "follow_snapshot", path = "/v1/replication/snapshot", tag = "replication",
    responses(
        (status = 200, body = FollowSnapshot, description = "Its files"),
        (status = 202, description = "It is being made: ask again in a second"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key may not do this, or the codes are in a store"),
        (status = 422, body = ErrorAnswer, description = "The service keeps no journal"),
        (status = 503, body = ErrorAnswer, description = "Another index is being opened, or nothing can be written: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn snapshot(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let run = state.run();
    run.items()?.check_open()?;
    check_not_superseded(run.items()?)?;
    let offering = state.clone();
    let offer = move || -> Result<FollowSnapshot, OfferError> {
        let offered = offering.offers().offered(run.items()?);
        let offered =
            offered.inspect_err(|error| tracing::error!(%error, "no snapshot for a follower"))?;
        if offered.is_new {
            // Even if this took too long for an answer, nobody may ever request the snapshot.
            expire(&offering);
        }
        Ok(offered.snapshot)
    };
    match state.shared().work_at_length(offer).await? {
        Some(Ok(snapshot)) => Ok(Json(snapshot).into_response()),
        Some(Err(OfferError::UnderWay)) | None => Ok(StatusCode::ACCEPTED.into_response()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Starts a task that removes the snapshot once no follower has requested it for a while.
fn expire(state: &Arc<AppState>) {
    let state = Arc::downgrade(state);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EXPIRY).await;
            let Some(state) = state.upgrade() else { return };
            if spawn_blocking(move || state.offers().expire()).await.unwrap_or(true) {
                return;
            }
        }
    });
}

/// Returns a file of a snapshot, or a part of it: the header `range: bytes=FROM-` asks for the bytes from an offset on.
#[utoipa::path(
    get, operation_id = "follow_file", path = "/v1/replication/snapshot/{id}/{file}", tag = "replication",
    params(
        ("id" = String, Path, description = "The snapshot's id"),
        ("file" = String, Path, description = "The file's name"),
        ("range" = Option<String>, Header, description = "`bytes=FROM-` or `bytes=FROM-LAST`"),
    ),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "A part of it", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = ErrorAnswer, description = "Malformed"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key may not do this"),
        (status = 404, body = ErrorAnswer, description = "There is no such snapshot (any more), or no such file in it"),
        (status = 416, body = ErrorAnswer, description = "The file ends before"),
    )
)]
pub(crate) async fn file(
    State(state): State<Arc<AppState>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((id, name)) = path?;
    let (file, path) = state.offers().file(&id, &name)?;
    let wanted = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(range);
    let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
    let length = |bytes: u64| (header::CONTENT_LENGTH, bytes.to_string());
    let accepts = (header::ACCEPT_RANGES, "bytes".to_owned());
    let tag = (header::ETAG, format!("\"{}\"", file.sha256));
    let Some((first, last)) = wanted else {
        let body = read(path, 0, file.bytes).await?;
        return Ok(([kind, length(file.bytes), accepts, tag], body).into_response());
    };
    if first >= file.bytes {
        let code = "invalid_range";
        let message = format!("the file has {} bytes", file.bytes);
        let answer = Json(ErrorAnswer { error: ErrorBody { code, message } });
        let headers = [(header::CONTENT_RANGE, format!("bytes */{}", file.bytes))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers, answer).into_response());
    }
    let last = last.unwrap_or(u64::MAX).min(file.bytes - 1);
    let of = (header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", file.bytes));
    let bytes = last - first + 1;
    let body = read(path, first, bytes).await?;
    let headers = [kind, length(bytes), accepts, tag, of];
    Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
}

/// Parses a header `range` with one range of bytes. `None` for any other form; HTTP permits answering it with the whole file.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
    let first = number(first)??;
    let last = if last.is_empty() { None } else { Some(number(last)??) };
    last.is_none_or(|last| last >= first).then_some((first, last))
}

/// A body that reads the file while it is sent.
async fn read(path: PathBuf, from: u64, bytes: u64) -> Result<Body, ApiError> {
    let opened = spawn_blocking(move || {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok::<_, io::Error>(file.take(bytes))
    });
    let file = opened.await.map_err(ApiError::internal)?;
    let mut file = file.map_err(|error| match error.kind() {
        // The snapshot expired between the lookup and the opening of the file.
        io::ErrorKind::NotFound => OfferError::Gone.into(),
        _ => ApiError::internal(error),
    })?;
    let (pieces, body) = channel();
    spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = io::copy(&mut file.by_ref().take(PIECE as u64), &mut piece);
            let piece = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            if pieces.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    Ok(body)
}

/// Tells a primary that another service was promoted. If the promoted service has the history or changes of this primary and a higher epoch,
/// the primary has missed the promotion: it refuses changes and followers from then on, until it is promoted itself. A promoted service sends
/// this to its former primary.
#[utoipa::path(
    post, operation_id = "succeed", path = "/v1/replication/epoch", tag = "replication", request_body = Succession,
    responses(
        (status = 200, body = Succeeded, description = "Whether the collection gives way"),
        (status = 400, body = ErrorAnswer, description = "The body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "This collection has another history and never had this position, or does not keep what comes after it any more"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 422, body = ErrorAnswer, description = "The service keeps no journal"),
        (status = 503, body = ErrorAnswer, description = "Another index is being opened, or nothing can be written: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn epoch(
    State(state): State<Arc<AppState>>,
    request: axum::extract::Request,
) -> Result<Json<Succeeded>, ApiError> {
    let Succession { epoch, position: at, history } = json(request).await?;
    let (run, at) = (state.run(), position("position", &at)?);
    run.items()?;
    let catalogue = run.catalogue().cloned().ok_or(OfferError::NoJournal)?;
    let asked = catalogue.clone();
    let lineage = move || asked.lineage().map_err(ApiError::internal);
    if !state.shared().work(lineage).await?.is_surely(history.as_deref()) {
        check_reach(&state, &catalogue, at).await?;
    }
    let superseded = state.shared().change(move || Ok(run.items()?.supersede(epoch)?)).await?;
    if superseded {
        tracing::warn!(
            epoch,
            "another service has taken the place of this primary: changes are refused from now on"
        );
    }
    Ok(Json(Succeeded { superseded }))
}

fn position(name: &str, text: &str) -> Result<Position, ApiError> {
    text.parse().map_err(|error: NoPosition| {
        ApiError::BadRequest("invalid_parameter", format!("{name}: {error}"))
    })
}

/// Checks that the journal continues from a position, which is therefore one of this history.
async fn check_reach(
    state: &Arc<AppState>,
    catalogue: &Arc<Catalogue>,
    position: Position,
) -> Result<(), ApiError> {
    let asked = catalogue.clone();
    let reach = move || asked.reach(&position).map_err(ApiError::internal);
    let conflict = |code, message: &str| Err(ApiError::Conflict(code, message.into()));
    match state.shared().work(reach).await? {
        Reach::Here => Ok(()),
        Reach::NoJournal => Err(OfferError::NoJournal.into()),
        Reach::TooFarBehind => conflict(
            "too_far_behind",
            "what comes after this position is not kept any more: take a snapshot",
        ),
        Reach::OtherHistory => {
            conflict("other_history", "this service never had this position: take a snapshot")
        }
    }
}

/// Refuses followers of a former primary, which would not get the changes of the new one.
fn check_not_superseded(items: &LocalItems) -> Result<(), ApiError> {
    match items.is_superseded() {
        true => {
            let message = "another service has taken the place of this primary: follow that one";
            Err(ApiError::Conflict("superseded", message.into()))
        }
        false => Ok(()),
    }
}

/// Makes a follower a primary, which accepts changes of clients and follows no other service. It keeps the changes that it has received;
/// later changes of the former primary are lost. Ensure that the former primary accepts no further changes. A former primary whose place
/// another service has taken becomes a primary again.
#[utoipa::path(
    post, operation_id = "promote", path = "/v1/admin/promote", tag = "replication",
    responses(
        (status = 200, body = Promoted, description = "It is a primary"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 503, body = ErrorAnswer, description = "Another index is being opened, or nothing can be written: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn promote(
    State(state): State<Arc<AppState>>,
) -> Result<Json<Promoted>, ApiError> {
    let run = state.run();
    run.items()?.check_open()?;
    let promote = state.shared().change(move || Ok(run.items()?.promote()?));
    let promoted = promote.await?;
    Ok(Json(Promoted { promoted }))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn a_range_is_one_of_bytes_from_the_front() {
        assert_eq!(range("bytes=0-"), Some((0, None)));
        assert_eq!(range("bytes=5-9"), Some((5, Some(9))));
        for other in
            ["", "bytes=", "bytes=-5", "bytes=9-5", "bytes=1-2,4-5", "bytes=+1-", "rows=1-"]
        {
            assert_eq!(range(other), None, "{other}");
        }
    }
}
