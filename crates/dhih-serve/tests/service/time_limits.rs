//! Requests whose time is up, or whose client goes away. The bugs: most changes that may still be made were answered by 408 "send it again",
//! a slow list by 504 "may be made all the same", and a change that was given up left no line in the log.

use std::convert::Infallible;
#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use std::net::TcpStream;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use dhih_serve::{Keys, Limits, app};
use futures_util::stream;
#[cfg(unix)]
use serde_json::Value;
use tower::ServiceExt;

#[cfg(unix)]
use crate::acknowledged;
use crate::common::{Fixture, HOST, fields, get, json, png, send, state, with_method};

/// A service whose requests have no time beyond what they do at once.
fn hurried(fixture: &Fixture) -> Router {
    let limits = Limits { request_timeout: Duration::ZERO, ..Limits::default() };
    app(state(fixture.writable(), limits, Keys::default()))
}

/// Runs a test while the only thread for blocking work is taken, so that no such work begins.
fn while_stuck(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || waiting.recv());
    runtime.block_on(test);
    drop(done);
}

/// A request whose body never arrives.
fn endless(method: Method, path: &str, kind: &str) -> Request<Body> {
    let body = Body::from_stream(stream::pending::<Result<Vec<u8>, Infallible>>());
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    request.body(body).unwrap()
}

#[test]
fn a_request_that_takes_too_long_is_cut_off() {
    while_stuck(cut_off());
}

async fn cut_off() {
    let fixture = Fixture::new();
    let app = hurried(&fixture);
    let (put, post, json_kind) = (Method::PUT, Method::POST, "application/json");
    let changes = [
        fields("/v1/items", &[("image", &png(1))]),
        json("/v1/items", r#"{"code": "000000000000"}"#),
        endless(post.clone(), "/v1/items/batch", json_kind),
        endless(post.clone(), "/v1/items/batch", "application/x-ndjson"),
        endless(put.clone(), "/v1/items/1/metadata", json_kind),
        endless(put.clone(), "/v1/fields", json_kind),
        endless(put, "/v1/collections/other", json_kind),
        endless(post.clone(), "/v1/replication/epoch", json_kind),
        with_method(Method::DELETE, "/v1/items/1"),
        with_method(Method::DELETE, "/v1/items?label=ring"),
        with_method(post.clone(), "/v1/admin/promote"),
    ];
    // A change may still be made, so the answer does not suggest a retry.
    for change in changes {
        let what = format!("{} {}", change.method(), change.uri());
        let answer = send(&app, change).await;
        assert_eq!(answer.status, 504, "{what}");
        answer.refused(504, "outcome_unknown", "may be made");
    }
    let reads = [
        json("/v1/search?label=ring", "{\"id\":1}"),
        endless(post.clone(), "/v1/search/batch", json_kind),
        endless(post.clone(), "/v1/encode", json_kind),
        endless(post, "/v1/session", json_kind),
        get("/v1/items"),
        get("/v1/items/1"),
        get("/v1/items/count?label=ring"),
        get("/v1/fields"),
    ];
    for read in reads {
        let what = format!("{} {}", read.method(), read.uri());
        let answer = send(&app, read).await;
        assert_eq!(answer.status, 408, "{what}");
        answer.refused(408, "timeout", "too long");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

/// The description says of each operation which of the two it answers.
#[test]
fn the_description_says_which_requests_are_changes() {
    while_stuck(described());
}

async fn described() {
    let fixture = Fixture::new();
    let app = hurried(&fixture);
    let api = send(&app, get("/openapi.json")).await.ok();
    let mut seen = 0;
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let parts = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let uri = parts.collect::<Vec<_>>().join("/");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let kinds = operation["requestBody"]["content"].as_object();
            let kinds = kinds.map(|kinds| kinds.keys().cloned().collect::<Vec<_>>());
            for kind in kinds.unwrap_or_else(|| vec!["text/plain".to_owned()]) {
                let mut request = endless(method.clone(), &uri, &kind);
                request.headers_mut().insert(header::HOST, HOST);
                // The answer is not read: that of an export does not end here.
                let status = app.clone().oneshot(request).await.unwrap().status().as_u16();
                let described = |status: &str| operation["responses"].get(status).is_some();
                if path != "/healthz" && path != "/readyz" {
                    assert_ne!(described("408"), described("504"), "{method} {path}");
                }
                assert!(status != 408 || described("408"), "{method} {path}");
                assert!(status != 504 || described("504"), "{method} {path}");
                seen += usize::from(status == 408 || status == 504);
            }
        }
    }
    assert!(seen > 15, "{seen} ran out of time");
}

/// Sends a request and goes away.
async fn give_up(app: &Router, request: Request<Body>) {
    let sent = tokio::time::timeout(Duration::from_millis(50), send(app, request)).await;
    assert!(sent.is_err(), "it was answered");
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_counted() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    give_up(&app, endless(Method::PUT, "/v1/items/7/metadata", "application/json")).await;
    give_up(&app, endless(Method::POST, "/v1/search", "application/json")).await;
    let figures = String::from_utf8(send(&app, get("/metrics")).await.body).unwrap();
    for route in ["/v1/items/{id}/metadata", "/v1/search"] {
        let counted = format!("dhih_requests_total{{route=\"{route}\",status=\"499\"}}");
        assert!(figures.contains(&counted), "{figures}");
    }
}

#[cfg(unix)]
#[test]
fn a_change_that_is_given_up_is_logged() {
    let fixture = Fixture::new();
    let mut command = crate::common::program();
    command.arg("--run").arg(fixture.run()).args(["--request-timeout", "1"]);
    command.args(["--log-format", "json"]).stderr(std::process::Stdio::piped());
    let (mut program, address) = acknowledged::start(&mut command);
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = "PUT /v1/items/7/metadata HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let status =
        |head: &str| acknowledged::ask(&address, &format!("{head} HTTP/1.1"), b"").unwrap().0;
    assert_eq!(status("GET /v1/admin/snapshots"), 422, "a list is no change");
    assert_eq!(status("DELETE /v1/items/7"), 204);
    let stopped = std::process::Command::new("kill").arg(program.id().to_string()).status();
    assert!(stopped.unwrap().success());
    let mut log = String::new();
    program.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<String> = lines
        .filter(|line| line["path"].is_string())
        .map(|line| format!("{} {}", line["method"], line["message"]).replace('"', ""))
        .collect();
    let expected = [
        "PUT given up before its answer: the change may have been made",
        "PUT request",
        "GET request",
        "DELETE changed",
        "DELETE request",
    ];
    assert_eq!(lines, expected, "{log}");
}
