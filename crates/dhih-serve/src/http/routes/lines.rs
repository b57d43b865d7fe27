//! `POST /v1/items/batch` with JSON Lines: adds the items of all valid lines in one change and reports the faults of the others.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use rayon::prelude::*;

use crate::api::{AddParams, ErrorBody, ItemBody, LineRefused, LinesMade, MAX_FAILURES};
use crate::http::idempotency::{KeyedRequest, first, repeated};
use crate::http::routes::items::change_coded;
use crate::http::routes::new_item::coded;
use crate::http::{ApiError, AppState};
use crate::items::{Answer, NewItem, Outcomes};
use crate::run::Run;

/// A request with JSON Lines.
pub(super) struct LinesRequest {
    pub(super) request: Request,
    pub(super) params: AddParams,
    /// The idempotency key, if the request has one.
    pub(super) key: Option<KeyedRequest>,
}

/// Adds the items of the lines of a body.
pub(super) async fn add(
    state: &Arc<AppState>,
    run: &Arc<Run>,
    sent: LinesRequest,
) -> Result<Response, ApiError> {
    let LinesRequest { request, params, key } = sent;
    let body = Bytes::from_request(request, &()).await?;
    let keyed = key.map(|key| key.with_body(&body));
    if let Some(answer) = repeated(state, keyed.as_ref()).await? {
        return Ok(answer);
    }
    let of = run.clone();
    let read = state.shared().work(move || Ok(read(&of, params, &body))).await?;
    let ParsedBody { lines, items, refused } = read;
    let once = keyed.clone().map(|keyed| {
        let (lines, refused) = (lines.clone(), refused.clone());
        keyed.once(move |outcomes| {
            let body = serde_json::json!(made(&lines, refused, outcomes)).to_string();
            Answer { status: 200, body, location: None }
        })
    });
    let changed = change_coded(state, run, move |run| run.items()?.add_each(items, once)).await;
    let changed = match changed {
        // The same request has arrived twice at the same time, and the other one was made first.
        Err(ApiError::KeyUsed) => {
            return repeated(state, keyed.as_ref()).await?.ok_or(ApiError::KeyUsed);
        }
        changed => changed?,
    };
    let made = made(&lines, refused, &changed.outcomes);
    metrics::counter!("dhih_added_total").increment((made.added + made.replaced) as u64);
    let answer = first(state, keyed.as_ref()).await?;
    Ok(answer.unwrap_or_else(|| Json(made).into_response()))
}

/// The answer for all lines, including those without an item.
fn made(lines: &Lines, mut refused: Vec<(usize, ErrorBody)>, outcomes: &Outcomes) -> LinesMade {
    let (mut added, mut replaced, mut ids) = (0, 0, vec![None; lines.all]);
    for (line, outcome) in lines.of_items.iter().zip(outcomes) {
        match outcome {
            Ok(item) => {
                ids[*line] = Some(item.id);
                *if item.replaces { &mut replaced } else { &mut added } += 1;
            }
            Err(refusal) => {
                refused.push((*line, ApiError::from(refusal.again()).answer().error));
            }
        }
    }
    let failures = refused.len();
    refused.sort_by_key(|(line, _)| *line);
    refused.truncate(MAX_FAILURES);
    let failed = refused.into_iter().map(|(line, error)| LineRefused { line: line + 1, error });
    LinesMade { added, replaced, ids, failed: failed.collect(), failures }
}

/// The parsed lines of a body.
struct ParsedBody {
    lines: Lines,
    items: Vec<NewItem>,
    /// The numbers of the lines that were refused, and why.
    refused: Vec<(usize, ErrorBody)>,
}

#[derive(Clone)]
struct Lines {
    /// The number of lines, without an empty last one.
    all: usize,
    /// The line number of each item.
    of_items: Vec<usize>,
}

/// Parses the lines on all cores. Empty lines are allowed and have no item.
fn read(run: &Run, params: AddParams, body: &[u8]) -> ParsedBody {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let lines: Vec<&[u8]> = match body.is_empty() {
        true => Vec::new(),
        false => body.split(|byte| *byte == b'\n').collect(),
    };
    let one = |(number, line): (usize, &&[u8])| {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let item = serde_json::from_slice::<ItemBody>(line).map_err(|error| {
            let message = format!("the line is not the JSON expected: {error}");
            ApiError::BadRequest("malformed_body", message)
        });
        Some((number, item.and_then(|item| coded(run, params, item))))
    };
    let read: Vec<_> = lines.par_iter().enumerate().filter_map(one).collect();
    let (mut items, mut of_items, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (number, item) in read {
        match item {
            Ok(item) => {
                items.push(item);
                of_items.push(number);
            }
            Err(error) => refused.push((number, error.answer().error)),
        }
    }
    ParsedBody { lines: Lines { all: lines.len(), of_items }, items, refused }
}
