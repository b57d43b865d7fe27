//! `GET /v1/items/export` streams a file of items while it is written, so that only a part of it is in memory.

use std::io::{self, Write};
use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use tokio::sync::mpsc;

use crate::api::{ErrorAnswer, ExportFormat, ExportLine, ExportParams};
use crate::http::list_params::exported;
use crate::http::params::Bounds;
use crate::http::routes::pieces::channel;
use crate::http::routes::search::scope;
use crate::http::{ApiError, AppState};
use crate::run::view::View;
#[cfg(feature = "parquet")]
use crate::{
    items::MAX_ID,
    run::{Run, exporting::Exported},
};

/// Items that are read and written together.
const PART: usize = 16 << 10;
/// Bytes of one piece of the stream.
const PIECE: usize = 64 << 10;

/// Exports items as a file, ordered by id: all of them, or those that a class or a filter selects. Codes and labels are a snapshot;
/// external ids, sources and metadata are as of the moment when they are read. A transfer that ends early is incomplete and must be
/// discarded.
///
/// `parquet` is a codes file for `dhih-index build` and for other programs, with the columns `external_id`, `source` and `metadata` (JSON)
/// beside the codes. `ndjson` has one line for each item, in the form that `POST /v1/items/batch` accepts.
#[utoipa::path(
    get, operation_id = "export_items", path = "/v1/items/export", tag = "items", params(ExportParams),
    responses(
        (status = 200, description = "The file", content(
            (Vec<u8> = "application/vnd.apache.parquet"),
            (String = "application/x-ndjson"),
        )),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The service searches a store, whose items are not listed"),
        (status = 503, body = ErrorAnswer, description = "Other exports are under way: see Retry-After"),
    )
)]
pub(crate) async fn export(
    State(state): State<Arc<AppState>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let run = state.run();
    let ExportParams { label, filter, format } = exported(&uri, Bounds::of(&run))?;
    run.items()?;
    let scope = scope(&run, &label, filter.as_deref())?;
    let place = state.shared().exports().clone().try_acquire_owned();
    let place = place.map_err(|_| ApiError::TooManyExports)?;
    let (pieces, body) = channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut file = Pieces { pieces, piece: Vec::with_capacity(PIECE) };
        let view = run.view();
        let Some(index) = view.index() else { return };
        let ids = match &scope {
            Some(scope) => scope.selection(index).ids_from(0, usize::MAX),
            None => index.ids_from(0, usize::MAX),
        };
        let written = match format {
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => {
                write_parquet(&run, &ids, &mut file, |ids| view.exported(index, ids))
            }
            // Refused with the query string.
            #[cfg(not(feature = "parquet"))]
            ExportFormat::Parquet => Err(io::ErrorKind::Unsupported.into()),
            ExportFormat::Ndjson => write_lines(&view, &ids, &mut file),
        };
        match written.and_then(|()| file.flush()) {
            Ok(()) => (),
            // The client has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => (),
            Err(error) => {
                tracing::error!(%error, "an export was cut off");
                let _ = file.pieces.blocking_send(Err(error));
            }
        }
    });
    let (kind, name) = match format {
        ExportFormat::Parquet => ("application/vnd.apache.parquet", "items.parquet"),
        ExportFormat::Ndjson => ("application/x-ndjson", "items.ndjson"),
    };
    let named = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, named)];
    Ok((headers, body).into_response())
}

/// Writes a Parquet file of the items with the given ids.
#[cfg(feature = "parquet")]
fn write_parquet(
    run: &Run,
    ids: &[u64],
    file: &mut Pieces,
    read: impl Fn(&[u64]) -> io::Result<Exported>,
) -> io::Result<()> {
    let mut like = run.without_items().map_err(io::Error::other)?;
    // The greatest id decides the type of the column. Only an index that was built with greater ids exceeds `MAX_ID`.
    like.ids = Some(vec![ids.last().copied().unwrap_or_default().max(MAX_ID)]);
    let texts = ["external_id", "source", "metadata"];
    let mut parquet = dhih_index::ParquetCodes::new(file, &like, &texts)?;
    for part in ids.chunks(PART) {
        let Exported { set, external_ids, sources, metadata } = read(part)?;
        parquet.write(&set, &[external_ids, sources, metadata])?;
    }
    parquet.finish()
}

/// Writes one line of JSON for each item with the given ids.
fn write_lines(view: &View<'_>, ids: &[u64], file: &mut Pieces) -> io::Result<()> {
    for part in ids.chunks(PART) {
        for item in view.items(part).map_err(io::Error::other)? {
            serde_json::to_writer(&mut *file, &ExportLine::from(item))?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A writer whose bytes are sent to the client in pieces.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        // Waits for a slow client. `operation/server/timed_stream.rs` limits how long.
        let sent = self.pieces.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
