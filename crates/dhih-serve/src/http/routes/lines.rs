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
use crate::http::idempotency::{KeyedRequest, answered_meanwhile, first, repeated};
use crate::http::routes::items::change_coded;
use crate::http::routes::new_item::coded;
use crate::http::{ApiError, AppState};
use crate::items::{Answer, NewItem, Outcomes};
use crate::json_object::JsonObject;
use crate::run::Run;

/// Lines that are parsed together.
const CHUNK: usize = 4096;

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
    let stored = keyed.clone();
    let answer = change_coded(state, run, move |run| {
        let changed = run.items()?.add_each(items, once)?;
        let made = made(&lines, refused, &changed.outcomes);
        metrics::counter!("dhih_added_total").increment((made.added + made.replaced) as u64);
        let answer = first(run, stored.as_ref())?;
        Ok(answer.unwrap_or_else(|| Json(made).into_response()))
    });
    match answer.await {
        Err(refused) => answered_meanwhile(state, keyed.as_ref(), refused).await,
        answer => answer,
    }
}

/// The answer for all lines, including those without an item.
fn made(lines: &Lines, refused: Refusals, outcomes: &Outcomes) -> LinesMade {
    let (mut added, mut replaced, mut ids) = (0, 0, vec![None; lines.all]);
    let mut not_added = Refusals::default();
    for (line, outcome) in lines.of_items.iter().zip(outcomes) {
        match outcome {
            Ok(item) => {
                ids[*line] = Some(item.id);
                *if item.replaces { &mut replaced } else { &mut added } += 1;
            }
            Err(refusal) => not_added.push(*line, || ApiError::from(refusal.again())),
        }
    }
    let failures = refused.count + not_added.count;
    let mut first = [refused.first, not_added.first].concat();
    first.sort_by_key(|(line, _)| *line);
    first.truncate(MAX_FAILURES);
    let failed = first.into_iter().map(|(line, error)| LineRefused { line: line + 1, error });
    LinesMade { added, replaced, ids, failed: failed.collect(), failures }
}

/// The parsed lines of a body.
#[derive(Default)]
struct ParsedBody {
    lines: Lines,
    items: Vec<NewItem>,
    refused: Refusals,
}

#[derive(Clone, Default)]
struct Lines {
    /// The number of lines, without an empty last one.
    all: usize,
    /// The line number of each item.
    of_items: Vec<usize>,
}

/// The lines that were refused, in order. Only the first ones are kept, because a body may have millions of them.
#[derive(Clone, Default)]
struct Refusals {
    /// The line number of each refusal, and its cause.
    first: Vec<(usize, ErrorBody)>,
    count: usize,
}

impl Refusals {
    fn push(&mut self, line: usize, cause: impl FnOnce() -> ApiError) {
        self.count += 1;
        if self.first.len() < MAX_FAILURES {
            self.first.push((line, cause().answer().error));
        }
    }
}

impl ParsedBody {
    /// Appends a line; an empty one has no item.
    fn push(&mut self, line: Option<Result<NewItem, ApiError>>) {
        let number = self.lines.all;
        self.lines.all += 1;
        match line {
            Some(Ok(item)) => {
                self.items.push(item);
                self.lines.of_items.push(number);
            }
            Some(Err(error)) => self.refused.push(number, || error),
            None => {}
        }
    }
}

/// Parses the lines on all cores, a bounded number at a time.
fn read(run: &Run, params: AddParams, body: &[u8]) -> ParsedBody {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let mut parsed = ParsedBody::default();
    if body.is_empty() {
        return parsed;
    }
    let mut lines = body.split(|byte| *byte == b'\n');
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.extend(lines.by_ref().take(CHUNK));
        if chunk.is_empty() {
            return parsed;
        }
        let read: Vec<_> = chunk.par_drain(..).map(|line| item_of(run, params, line)).collect();
        read.into_iter().for_each(|line| parsed.push(line));
    }
}

/// The item of a line; `None` for an empty one.
fn item_of(run: &Run, params: AddParams, line: &[u8]) -> Option<Result<NewItem, ApiError>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let item = serde_json::from_slice::<JsonObject<ItemBody>>(line).map_err(|error| {
        let message = format!("the line is not the JSON expected: {error}");
        ApiError::BadRequest("malformed_body", message)
    });
    Some(item.and_then(|JsonObject(item)| coded(run, params, item)))
}
