//! `POST /v1/items/batch` with JSON Lines: adds the items of all valid lines in one change and reports the faults of the others.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use rayon::prelude::*;

use crate::api::{AddParams, ItemBody, LineRefused, LinesMade, MAX_FAILURES};
use crate::http::routes::items::change_coded;
use crate::http::routes::new_item::coded;
use crate::http::{ApiError, AppState};
use crate::items::NewItem;
use crate::run::Run;

/// Adds the items of the lines of a body.
pub(super) async fn add(
    state: &Arc<AppState>,
    run: &Arc<Run>,
    params: AddParams,
    request: Request,
) -> Result<Response, ApiError> {
    let body = Bytes::from_request(request, &()).await?;
    let of = run.clone();
    let read = state.shared().work(move || Ok(read(&of, params, &body))).await?;
    let ParsedBody { lines, items, mut refused } = read;
    let changed = change_coded(state, run, move |run| run.items()?.add_each(items)).await?;
    let mut made = LinesMade {
        added: 0,
        replaced: 0,
        ids: vec![None; lines.all],
        failed: Vec::new(),
        failures: 0,
    };
    for (line, outcome) in lines.of_items.into_iter().zip(changed.outcomes) {
        match outcome {
            Ok(item) => {
                made.ids[line] = Some(item.id);
                *if item.replaces { &mut made.replaced } else { &mut made.added } += 1;
            }
            Err(refusal) => refused.push((line, refusal.into())),
        }
    }
    made.failures = refused.len();
    refused.sort_by_key(|(line, _)| *line);
    refused.truncate(MAX_FAILURES);
    let failed = |(line, error): (usize, ApiError)| LineRefused {
        line: line + 1,
        error: error.answer().error,
    };
    made.failed = refused.into_iter().map(failed).collect();
    metrics::counter!("dhih_added_total").increment((made.added + made.replaced) as u64);
    Ok(Json(made).into_response())
}

/// The parsed lines of a body.
struct ParsedBody {
    lines: Lines,
    items: Vec<NewItem>,
    /// The numbers of the lines that were refused, and why.
    refused: Vec<(usize, ApiError)>,
}

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
            Err(error) => refused.push((number, error)),
        }
    }
    ParsedBody { lines: Lines { all: lines.len(), of_items }, items, refused }
}
