//! The bounds of requests: bodies, lists, labels and fields are bounded while they arrive, and fields without effect are refused.

use std::{convert::Infallible, time::Duration};

use crate::common::{CLASSES, Fixture, fields, form, json, png, post, send};
use axum::{Router, body::Body, http::Request};
use dhih_index::{CodeSet, IndexBuilder, IndexConfig};
use dhih_serve::Limits;
use futures_util::{Stream, StreamExt, stream};
use tokio::task::JoinHandle;

const FORM: &str = "multipart/form-data; boundary=edge";
const HEAD: &[u8] =
    b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";

/// A service with 48 MiB of memory for all bodies: as much as the largest body takes that grows when it is parsed.
fn tight() -> Router {
    let limits = Limits {
        max_body_bytes: 3 << 20,
        body_memory_bytes: 4 << 20,
        request_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    Fixture::new().app_with(limits)
}

/// A body of unknown length that arrives in pieces and never ends.
fn endless(pieces: impl Stream<Item = Vec<u8>> + Send + 'static) -> Request<Body> {
    let pieces = pieces.map(Ok::<_, Infallible>).chain(stream::pending());
    post("/v1/search", FORM, Body::from_stream(pieces))
}

/// Sends a body of this size and keeps the request open. Sends to `arrived` when all of the body was read.
fn hold(
    app: &Router,
    bytes: usize,
    arrived: &tokio::sync::mpsc::UnboundedSender<()>,
) -> JoinHandle<u16> {
    let (app, arrived) = (app.clone(), arrived.clone());
    let pieces =
        stream::iter([HEAD.to_vec()]).chain(stream::repeat(vec![7; 1 << 14]).take(bytes >> 14));
    // The last piece is requested after those before it were read.
    let last = stream::once(async move {
        arrived.send(()).unwrap();
        vec![7]
    });
    tokio::spawn(async move { send(&app, endless(pieces.chain(last))).await.status.as_u16() })
}

#[tokio::test]
async fn bodies_are_charged_for_what_has_arrived() {
    let app = tight();
    let (arrived, mut seen) = tokio::sync::mpsc::unbounded_channel();
    // Forty bodies of unknown length have hardly begun. Each could grow to 3 MiB.
    let begun: Vec<_> = (0..40).map(|_| hold(&app, 0, &arrived)).collect();
    for _ in &begun {
        seen.recv().await.unwrap();
    }
    assert_eq!(send(&app, form("image", &png(7))).await.status, 200);
    // Two dozen bodies that have almost arrived take almost all of the memory.
    let large: Vec<_> = (0..24).map(|_| hold(&app, 2 << 20, &arrived)).collect();
    for _ in &large {
        seen.recv().await.unwrap();
    }
    let one_more = [HEAD, &vec![7; 2 << 20], b"\r\n--edge--\r\n"].concat();
    send(&app, post("/v1/search", FORM, one_more.clone())).await.refused(503, "busy", "again");
    // Small bodies are still accepted, with or without a declared length.
    assert_eq!(send(&app, form("image", &png(7))).await.status, 200);
    let chunks = Body::from_stream(stream::iter(["{\"id\"", ":1}"].map(Ok::<_, Infallible>)));
    assert_eq!(send(&app, post("/v1/search", "application/json", chunks)).await.status, 200);
    // Released memory is available to others.
    large.iter().for_each(JoinHandle::abort);
    for request in large {
        assert!(request.await.is_err());
    }
    let answer = send(&app, post("/v1/search", FORM, one_more)).await;
    answer.refused(415, "not_an_image", "JPEG");
    assert!(begun.iter().all(|request| !request.is_finished()), "those that wait were let be");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let app = tight();
    let large = vec![7; 3 << 20];
    let whole = [HEAD, &large, b"\r\n--edge--\r\n"].concat();
    let pieces: Vec<_> = whole.chunks(50_000).map(<[u8]>::to_vec).collect();
    send(&app, post("/v1/search", FORM, whole)).await.refused(413, "body_too_large", "smaller");
    let pieces = Body::from_stream(stream::iter(pieces).map(Ok::<_, Infallible>));
    send(&app, post("/v1/search", FORM, pieces)).await.refused(413, "body_too_large", "smaller");
    // The service does not wait for a body that never ends.
    let endless = endless(stream::repeat(vec![7; 1 << 14]));
    send(&app, endless).await.refused(413, "body_too_large", "smaller");
}

#[tokio::test]
async fn a_batch_of_a_million_nothings_is_refused() {
    let app = Fixture::new().app();
    let batch = |count: usize| format!("{{\"queries\":[{}]}}", vec!["{}"; count].join(","));
    let large = send(&app, json("/v1/search/batch", &batch(2_000_000))).await;
    large.refused(413, "body_too_large", "4 MiB");
    for count in [33, 1_000_000] {
        let answer = send(&app, json("/v1/search/batch", &batch(count))).await;
        answer.refused(400, "invalid_parameter", "more than 32 queries; give 1 to 32");
    }
    let answer = send(&app, json("/v1/search/batch", &batch(32))).await;
    assert_eq!(answer.ok()["answers"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn labels_are_bounded_in_number_and_length() {
    let app = Fixture::new().writable_app();
    let many = |count: usize| format!("/v1/search?{}", vec!["label=ring"; count].join("&"));
    assert_eq!(send(&app, json(&many(64), "{\"id\":1}")).await.status, 200);
    let answer = send(&app, json(&many(65), "{\"id\":1}")).await;
    answer.refused(400, "unknown_label", "give at most 64");
    let long = "a".repeat(257);
    let answer = send(&app, json(&format!("/v1/search?label={long}"), "{\"id\":1}")).await;
    answer.refused(400, "invalid_parameter", "longer than 256 bytes");

    let image = png(7);
    let labels =
        |count: usize| [vec![("label", &b"ring"[..]); count], vec![("image", &image[..])]].concat();
    let answer = send(&app, fields("/v1/items", &labels(65))).await;
    answer.refused(400, "unknown_label", "give at most 64");
    for (name, code) in
        [("label", "unknown_label"), ("id", "invalid_id"), ("external_id", "invalid_id")]
    {
        let long = fields("/v1/items", &[(name, long.as_bytes()), ("image", &image)]);
        send(&app, long).await.refused(400, code, "longer than");
    }
}

#[tokio::test]
async fn fields_that_would_not_count_are_refused() {
    let app = Fixture::new().writable_app();
    let image = png(7);
    for (name, code, says) in [
        ("k", "invalid_parameter", "?k="),
        ("radius", "invalid_parameter", "?radius="),
        ("label", "invalid_parameter", "?label="),
        ("filter", "invalid_parameter", "?filter="),
        ("codes", "invalid_parameter", "?codes="),
        ("metadata", "invalid_parameter", "?metadata="),
        ("rerank", "invalid_parameter", "?rerank="),
        ("id", "ambiguous_query", "`id` as JSON"),
        ("sample", "ambiguous_query", "`sample` as JSON"),
        ("code", "ambiguous_query", "`code` as JSON"),
        ("vector", "ambiguous_query", "`vector` as JSON"),
        ("rescore", "invalid_parameter", "`?rescore=...`"),
    ] {
        for path in ["/v1/search", "/v1/search/batch"] {
            let request = fields(path, &[("image", &image), (name, b"1")]);
            send(&app, request).await.refused(400, code, says);
        }
    }
    for (name, says) in [
        ("k", "`image`, `label`, `id`"),
        ("radius", "`image`, `label`, `id`"),
        ("filter", "`image`, `label`, `id`"),
        ("codes", "`image`, `label`, `id`"),
        ("rerank", "`image`, `label`, `id`"),
        ("rescore", "`image`, `label`, `id`"),
        ("sample", "`image`, `label`, `id`"),
        ("offset", "`image`, `label`, `id`"),
        ("mean", "`image`, `label`, `id`"),
        ("explain", "`image`, `label`, `id`"),
        ("values", "`image`, `label`, `id`"),
        ("upsert", "`?upsert=...`"),
        ("code", "`code` as JSON"),
        ("vector", "`vector` as JSON"),
    ] {
        let request = fields("/v1/items", &[("image", &image), (name, b"1")]);
        let answer = send(&app, request).await;
        answer.refused(400, "invalid_parameter", says);
    }
    // Of a field that is sent twice, one value would not count.
    for (name, text) in [("id", &b"99"[..]), ("external_id", b"a"), ("metadata", b"{}")] {
        let twice = fields("/v1/items", &[(name, text), ("image", &image), (name, text)]);
        let says = format!("more than one field `{name}`");
        send(&app, twice).await.refused(400, "invalid_parameter", &says);
    }
    // A field without a meaning anywhere is ignored.
    let request = fields("/v1/search", &[("image", &image), ("comment", b"mine")]);
    assert_eq!(send(&app, request).await.status, 200);
}

#[tokio::test]
async fn a_label_is_refused_where_items_have_none() {
    let fixture = Fixture::new();
    let (codes, index) = (fixture.file("codes.safetensors"), fixture.file("index"));
    let set = CodeSet { labels: None, ..CodeSet::read(&codes, None).unwrap() };
    set.write(&codes).unwrap();
    std::fs::remove_dir_all(&index).unwrap();
    IndexBuilder::new(IndexConfig::default()).build(&set, &index).unwrap();
    let app = fixture.app();
    let path = format!("/v1/search?label={}", CLASSES[0]);
    send(&app, json(&path, "{\"id\":1}")).await.refused(400, "unknown_label", "have no labels");
    let batch = format!("/v1/search/batch?label={}", CLASSES[0]);
    let answer = send(&app, json(&batch, "{\"queries\":[{\"id\":1}]}")).await;
    answer.refused(400, "unknown_label", "have no labels");
    assert_eq!(send(&app, json("/v1/search", "{\"id\":1}")).await.status, 200);
}
