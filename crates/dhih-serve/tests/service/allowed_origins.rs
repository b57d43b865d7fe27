//! `--cors-origin`: pages of the given origins may read answers and, with a key in a header, make changes. Pages of all other sites may do
//! neither, as without the flag.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use dhih_serve::{AppState, CollectionName, Keys, Limits, QueueConfig, Shared, app};

use crate::common::{Answer, Fixture, ITEMS, get, json, send, with_method};

const APP: &str = "https://app.example";
const READ: &str = "read-key-0123456789";
const ADMIN: &str = "admin-key-0123456789";

fn allowing(fixture: &Fixture, keys: Keys) -> Router {
    let origins = [APP, "http://localhost:3000"].map(|origin| origin.parse().unwrap());
    let shared = Shared::new(Limits::default(), keys, QueueConfig::default());
    let shared = Arc::new(shared.with_allowed_origins(origins.to_vec()));
    let state = AppState::of(CollectionName::default(), fixture.writable(), shared);
    app(Arc::new(state.unwrap()))
}

fn from(origin: &str, mut request: Request<Body>) -> Request<Body> {
    let headers = request.headers_mut();
    headers.insert(header::ORIGIN, origin.parse().unwrap());
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    request
}

fn with_key(mut request: Request<Body>, key: &str) -> Request<Body> {
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

fn preflight(path: &str, method: &str) -> Request<Body> {
    let mut request = with_method(Method::OPTIONS, path);
    let headers = request.headers_mut();
    headers.insert("access-control-request-method", method.parse().unwrap());
    headers.insert("access-control-request-headers", "authorization,content-type".parse().unwrap());
    request
}

fn readable(answer: &Answer) -> Option<&str> {
    answer.headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap())
}

fn delete() -> Request<Body> {
    with_method(Method::DELETE, "/v1/items/1")
}

#[tokio::test]
async fn an_allowed_page_may_read_every_answer_and_others_none() {
    let fixture = Fixture::new();
    let service = allowing(&fixture, Keys::default());
    let requests: [fn() -> Request<Body>; 5] = [
        || get("/v1/info"),
        || json("/v1/search", "{\"id\":1}"),
        || get("/v1/items/1/image"),
        || get("/nothing"),
        || json("/v1/search", "{}"),
    ];
    for request in requests {
        for origin in [APP, "http://localhost:3000"] {
            let answer = send(&service, from(origin, request())).await;
            assert_eq!(readable(&answer), Some(origin));
            assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
            assert_eq!(answer.header("vary"), "origin");
            assert_eq!(answer.headers.get("access-control-allow-credentials"), None);
        }
        for origin in
            ["https://evil.example", "http://app.example", "https://app.example:8443", "null"]
        {
            assert_eq!(readable(&send(&service, from(origin, request())).await), None, "{origin}");
        }
        let unsaid = send(&service, request()).await;
        assert_eq!((readable(&unsaid), unsaid.header("vary")), (None, "origin"));
    }
    drop(service);
    let plain = fixture.app();
    let answer = send(&plain, from(APP, get("/v1/info"))).await;
    assert_eq!((readable(&answer), answer.headers.get("vary")), (None, None));
}

#[tokio::test]
async fn an_allowed_page_changes_with_a_key_alone() {
    let fixture = Fixture::new();
    let service = allowing(&fixture, Keys::new(Some(READ), Some(ADMIN)).unwrap());
    send(&service, from(APP, delete())).await.refused(403, "cross_site", "sends a key");
    let wrong = with_key(delete(), "no-such-key-0123456");
    send(&service, from(APP, wrong)).await.refused(403, "cross_site", "sends a key");
    let reading = from(APP, with_key(delete(), READ));
    send(&service, reading).await.refused(403, "forbidden", "role");
    let other = from("https://evil.example", with_key(delete(), ADMIN));
    send(&service, other).await.refused(403, "cross_site", "");
    // A browser sends the cookie of a session on its own, so only pages of the service itself may use one.
    let body = serde_json::json!({ "key": ADMIN }).to_string();
    let begun = send(&service, json("/v1/session", &body)).await;
    begun.ok();
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    let mut by_session = from(APP, delete());
    by_session.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    send(&service, by_session).await.refused(403, "cross_site", "");
    send(&service, from(APP, json("/v1/session", &body))).await.refused(403, "cross_site", "");
    let count = with_key(get("/v1/info"), READ);
    assert_eq!(send(&service, count).await.ok()["items"], ITEMS, "nothing was changed");
    let deleted = send(&service, from(APP, with_key(delete(), ADMIN))).await;
    assert_eq!((deleted.status.as_u16(), readable(&deleted)), (204, Some(APP)));
    drop(service);
    // Without any keys, a page cannot prove that it may make changes.
    let open = allowing(&Fixture::new(), Keys::default());
    send(&open, from(APP, delete())).await.refused(403, "cross_site", "sends a key");
}

/// The bug: a page could not send `idempotency-key`, nor see whether its answer was a repeated one.
#[tokio::test]
async fn a_page_may_send_every_header_that_the_description_names() {
    let fixture = Fixture::new();
    let service = allowing(&fixture, Keys::default());
    let answer = send(&service, from(APP, preflight("/v1/items", "POST"))).await;
    let allowed = answer.header("access-control-allow-headers").to_owned();
    let api = send(&service, get("/openapi.json")).await.ok();
    let paths = api["paths"].as_object().unwrap().values();
    let parameters = paths
        .flat_map(|operations| operations.as_object().unwrap().values())
        .filter_map(|operation| operation["parameters"].as_array())
        .flatten();
    let headers: Vec<&str> = parameters
        .filter(|parameter| parameter["in"] == "header")
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert!(headers.contains(&"idempotency-key"), "{headers:?}");
    for header in headers {
        assert!(allowed.split(", ").any(|name| name == header), "{header}: {allowed}");
    }
    let readable = send(&service, from(APP, get("/v1/info"))).await;
    assert!(readable.header("access-control-expose-headers").contains("idempotent-replayed"));
}

#[tokio::test]
async fn preflights_of_allowed_pages_are_answered() {
    let fixture = Fixture::new();
    let service = allowing(&fixture, Keys::new(Some(READ), Some(ADMIN)).unwrap());
    for (path, method) in [("/v1/search", "POST"), ("/v1/items/1", "DELETE"), ("/v1/fields", "PUT")]
    {
        let answer = send(&service, from(APP, preflight(path, method))).await;
        assert_eq!((answer.status.as_u16(), readable(&answer)), (204, Some(APP)), "{path}");
        assert!(answer.header("access-control-allow-methods").contains(method));
        let sent = answer.header("access-control-allow-headers");
        assert!(["authorization", "x-api-key", "content-type"].iter().all(|it| sent.contains(it)));
        assert_eq!(answer.header("access-control-max-age"), "7200");
        let other = send(&service, from("https://evil.example", preflight(path, method))).await;
        assert_eq!((other.status.as_u16(), readable(&other)), (401, None), "{path}");
    }
    let no_preflight = from(APP, with_key(with_method(Method::OPTIONS, "/v1/search"), READ));
    assert_eq!(send(&service, no_preflight).await.status, 405);
    let mut elsewhere = from(APP, preflight("/v1/search", "POST"));
    elsewhere.headers_mut().insert(header::HOST, "rebound.example".parse().unwrap());
    send(&service, elsewhere).await.refused(421, "unknown_host", "--host");
}
