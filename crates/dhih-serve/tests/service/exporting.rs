//! Exports of items: a codes file for other programs, or lines that a service accepts again.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use dhih_index::{CodeSet, Labels, to_hex};
use dhih_serve::{Keys, Limits, app};
use serde_json::{Value, json as value};
use tower::ServiceExt;

use crate::common::{Fixture, HOST, ITEMS, fields, get, json, png, post, send, state};
use crate::metadata::{declare, filtered};

fn read(dir: &Path, file: &[u8]) -> CodeSet {
    let path = dir.join("items.parquet");
    std::fs::write(&path, file).unwrap();
    CodeSet::read(&path, None).unwrap()
}

const LINES: &str = "/v1/items/export?format=ndjson";

async fn lines(app: &Router, path: &str) -> Vec<Value> {
    let answer = send(app, get(path)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, "application/x-ndjson")
    );
    let text = String::from_utf8(answer.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_items_are_in_a_parquet_file_that_indexes_are_built_of() {
    let fixture = Fixture::new();
    let app = app(state(fixture.writable(), Limits::default(), Keys::default()));
    let add =
        fields("/v1/items", &[("image", &png(90)), ("label", b"2"), ("external_id", b"mine")]);
    let added = send(&app, add).await;
    assert_eq!(added.status, 201, "{}", String::from_utf8_lossy(&added.body));
    let id = added.json()["id"].as_u64().unwrap();
    let answer = send(&app, get("/v1/items/export")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/vnd.apache.parquet");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"items.parquet\"");
    let dir = tempfile::tempdir().unwrap();
    let set = read(dir.path(), &answer.body);
    let own = fixture.codes();
    let Some(Labels::Single(labels)) = &set.labels else { panic!("{:?}", set.labels) };
    assert_eq!((set.codes.len(), labels.len()), (ITEMS + 1, ITEMS + 1));
    assert_eq!((&set.model_sha256, &set.classes), (&own.model_sha256, &own.classes));
    assert!(own.codes.iter().eq(set.codes.iter().take(ITEMS)));
    assert_eq!(set.ids.as_ref().unwrap().last(), Some(&id));
    assert_eq!(labels.last(), Some(&2));
    assert_eq!(to_hex(set.codes.get(ITEMS)), added.json()["code"].as_str().unwrap());
    // Only the selected items, and an empty file where none is selected.
    let some = send(&app, get("/v1/items/export?label=2")).await;
    let some = read(dir.path(), &some.body);
    let Some(Labels::Single(labels)) = &some.labels else { panic!("{:?}", some.labels) };
    assert!(labels.len() > 1 && labels.iter().all(|label| *label == 2));
    let strings = [b"mine".as_slice()];
    assert!(strings.iter().all(|text| answer.body.windows(text.len()).any(|part| part == *text)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_taken_again() {
    let (from, to) = (Fixture::new(), Fixture::new());
    let [from, to] = [&from, &to]
        .map(|fixture| app(state(fixture.writable(), Limits::default(), Keys::default())));
    declare(&from).await;
    let codes: Vec<Value> = (0..40_u64)
        .map(|i| {
            let item =
                value!({"code": to_hex(&i.to_le_bytes()[..6]), "external_id": format!("x{i}")});
            if i % 2 == 0 {
                item
            } else {
                merged(item, value!({"metadata": {"taken": i}, "label": 1}))
            }
        })
        .collect();
    let body: Vec<String> = codes.iter().map(Value::to_string).collect();
    let made =
        send(&from, post("/v1/items/batch", "application/x-ndjson", body.join("\n"))).await.ok();
    assert_eq!(made["failures"], 0, "{made}");
    let all = lines(&from, LINES).await;
    assert_eq!(all.len(), ITEMS + 40);
    let filter = value!({"must": [{"field": "taken", "exists": true}]});
    let some = lines(&from, &filtered(LINES, &filter)).await;
    assert_eq!(some.len(), 20);
    assert!(
        some.iter().all(|line| line["label"].is_string() && line["metadata"]["taken"].is_u64())
    );
    let again: Vec<String> = some.iter().map(Value::to_string).collect();
    let made =
        send(&to, post("/v1/items/batch", "application/x-ndjson", again.join("\n"))).await.ok();
    assert_eq!((&made["added"], &made["failures"]), (&value!(20), &value!(0)), "{made}");
    let there = lines(&to, LINES).await;
    assert_eq!(there[ITEMS..], some);
}

fn merged(mut item: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

/// The bug: an export too many was told that too many requests were under way, and to come back in a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_too_many_is_told_so() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    // The files are longer than what waits for a client that does not read.
    let item = |i: u64| value!({ "code": to_hex(&i.to_le_bytes()[..6]) }).to_string();
    let items: Vec<String> = (0..20_000).map(item).collect();
    send(&app, post("/v1/items/batch", "application/x-ndjson", items.join("\n"))).await.ok();
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut request = get(LINES);
        request.headers_mut().insert("host", HOST);
        unread.push(app.clone().oneshot(request).await.unwrap());
    }
    assert!(unread.iter().all(|answer| answer.status() == 200));
    let refused = send(&app, get(LINES)).await;
    refused.refused(503, "exports_under_way", "as many exports");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(wait >= 10, "{wait}");
    drop(unread);
    // The threads notice that their clients are gone when they send the next piece.
    let free = async { while send(&app, get(LINES)).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(60), free).await.expect("the places are free again");
}

#[tokio::test]
async fn what_cannot_be_exported_says_why() {
    let fixture = Fixture::new();
    let app = fixture.app();
    for (query, part) in
        [("format=csv", "parquet or ndjson"), ("limit=3", "format"), ("label=none", "")]
    {
        let answer = send(&app, get(&format!("/v1/items/export?{query}"))).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(part), "{query}");
    }
    send(&app, json("/v1/items/export", "{}")).await.refused(405, "method_not_allowed", "");
}
