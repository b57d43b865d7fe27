//! Requests with an idempotency key: a client that lost the answer repeats the request, gets the same answer, and the items are added once.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use dhih_index::{CodeSet, Codes, IndexBuilder};
use dhih_serve::{Access, AppState, Keys, Limits, Origin, QueueConfig, Run, Source, app};
use serde_json::{Value, json as value};

use crate::common::{Answer, Fixture, get, png, post, send, with_method};

fn open(dir: &Path, keys: Keys) -> Router {
    let source = Source::Index { dir: dir.to_owned(), access: Access::Writable };
    let run = Run::open(&Origin::Codes, &source).unwrap();
    app(Arc::new(AppState::new(run, Limits::default(), keys, QueueConfig::default()).unwrap()))
}

fn build(dir: &Path) {
    let set = CodeSet::new(Codes::new(64, vec![0; 80]).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn keyed(key: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

fn item(key: &str, body: &Value) -> Request<Body> {
    keyed(key, post("/v1/items", "application/json", body.to_string()))
}

async fn count(app: &Router) -> Value {
    send(app, get("/v1/items/count")).await.ok()["count"].clone()
}

/// Status, body and `location` of an answer, and whether it is marked as a repetition.
fn told(answer: &Answer) -> (u16, Value, String, String) {
    let header = |name| answer.header(name).to_owned();
    (answer.status.as_u16(), answer.json(), header("location"), header("idempotent-replayed"))
}

fn again(first: &Answer) -> (u16, Value, String, String) {
    let (status, body, location, _) = told(first);
    (status, body, location, "true".into())
}

#[tokio::test]
async fn a_request_that_comes_again_adds_nothing_and_is_answered_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Keys::default());
    let body = value!({"code": "00000000000000ff", "external_id": "x", "metadata": {"n": 1}});
    let first = send(&app, item("one", &body)).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201.try_into().unwrap(), ""));
    assert_eq!(send(&app, get(first.header("location"))).await.ok(), first.json());
    // Without an idempotency key the repetition would be refused, because the external id is taken.
    assert_eq!(told(&send(&app, item("one", &body)).await), again(&first));
    assert_eq!(count(&app).await, 11);
    // The answer is the same after the item was deleted.
    send(&app, with_method(Method::DELETE, first.header("location"))).await;
    assert_eq!(told(&send(&app, item("one", &body)).await), again(&first));
    assert_eq!(count(&app).await, 10);
    // The answer survives a restart.
    drop(app);
    let app = open(dir.path(), Keys::default());
    assert_eq!(told(&send(&app, item("one", &body)).await), again(&first));
    assert_eq!(send(&app, item("two", &body)).await.status, 201, "another key, another request");
    let other = value!({"code": "00000000000000fe"});
    let reused = send(&app, item("one", &other)).await;
    reused.refused(422, "idempotency_key_reused", "a key of its own");
    let query = keyed("one", post("/v1/items?upsert=true", "application/json", body.to_string()));
    send(&app, query).await.refused(422, "idempotency_key_reused", "a key of its own");
    assert_eq!(count(&app).await, 11);
}

#[tokio::test]
async fn batches_and_lines_are_answered_again_with_what_was_wrong() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Keys::default());
    let items = value!({"items": [{"code": "00000000000000ff"}, {"code": "00000000000000fe"}]});
    let batch = || keyed("b", post("/v1/items/batch", "application/json", items.to_string()));
    let first = send(&app, batch()).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.json()["items"].as_array().unwrap().len(), 2);
    assert_eq!(told(&send(&app, batch()).await), again(&first));

    let lines = "{\"code\":\"00000000000000fd\"}\n{\"code\":\"0\"}\n{\"code\":\"00000000000000fc\",\"id\":3}\n";
    let lines = || keyed("l", post("/v1/items/batch", "application/x-ndjson", lines.to_owned()));
    let first = send(&app, lines()).await;
    let made = first.json();
    assert_eq!((&made["added"], &made["failures"]), (&value!(1), &value!(2)), "{made}");
    assert_eq!(made["failed"][1]["error"]["code"], "id_taken");
    assert_eq!(told(&send(&app, lines()).await), again(&first));
    assert_eq!(count(&app).await, 13);
}

#[tokio::test]
async fn what_was_refused_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Keys::default());
    let body = value!({"code": "00000000000000ff", "id": 3});
    send(&app, item("one", &body)).await.refused(409, "id_taken", "item 3");
    send(&app, with_method(Method::DELETE, "/v1/items/3")).await;
    assert_eq!(send(&app, item("one", &body)).await.status, 201);
    for wrong in ["", "a\u{7f}", &"k".repeat(257)] {
        let mut request = post("/v1/items", "application/json", body.to_string());
        let Ok(key) = wrong.parse() else { continue };
        request.headers_mut().insert("idempotency-key", key);
        let refused = send(&app, request).await;
        refused.refused(400, "invalid_idempotency_key", "1 to 256");
    }
    let mut twice = item("one", &body);
    twice.headers_mut().append("idempotency-key", "two".parse().unwrap());
    send(&app, twice).await.refused(400, "invalid_idempotency_key", "once");
}

#[tokio::test]
async fn a_key_is_its_senders_own() {
    let dir = tempfile::tempdir().unwrap();
    build(&dir.path().join("index"));
    let file = dir.path().join("keys.toml");
    let entry = |name| {
        format!("[[key]]\nname = \"{name}\"\nrole = \"write\"\nkey = \"{name}-0123456789abcdef\"\n")
    };
    std::fs::write(&file, [entry("ada"), entry("bob")].concat()).unwrap();
    let app = open(&dir.path().join("index"), Keys::default().with_keys_file(&file).unwrap());
    let of = |name: &str| {
        let mut request = item("one", &value!({"code": "00000000000000ff"}));
        let key = format!("{name}-0123456789abcdef").parse().unwrap();
        request.headers_mut().insert("x-api-key", key);
        request
    };
    let (ada, bob) = (send(&app, of("ada")).await.json(), send(&app, of("bob")).await.json());
    assert_ne!(ada["id"], bob["id"]);
    assert_eq!(send(&app, of("ada")).await.json(), ada);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_the_same_time_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Keys::default());
    let sent = (0..20).map(|_| {
        let app = app.clone();
        tokio::spawn(
            async move { send(&app, item("one", &value!({"code": "00000000000000ff"}))).await },
        )
    });
    let sent: Vec<_> = sent.collect();
    let mut ids = Vec::new();
    for answer in sent {
        let answer = answer.await.unwrap();
        match answer.status.as_u16() {
            201 => ids.push(answer.json()["id"].clone()),
            _ => answer.refused(409, "idempotency_key_in_use", "again"),
        }
    }
    ids.dedup();
    assert_eq!((ids.len(), count(&app).await), (1, value!(11)));
}

#[tokio::test]
async fn a_picture_comes_again_in_another_form_and_a_compaction_forgets_it() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let form = |edge: &str, image: usize| {
        let mut body = format!(
            "--{edge}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"
        )
        .into_bytes();
        body.extend(png(image));
        body.extend(format!("\r\n--{edge}\r\nContent-Disposition: form-data; name=\"label\"\r\n\r\nring\r\n--{edge}--\r\n").bytes());
        keyed("p", post("/v1/items", &format!("multipart/form-data; boundary={edge}"), body))
    };
    let first = send(&app, form("edge", 3)).await;
    assert_eq!(first.status, 201, "{}", String::from_utf8_lossy(&first.body));
    assert_eq!(send(&app, get(first.header("location"))).await.ok(), first.json());
    assert_eq!(told(&send(&app, form("another", 3)).await), again(&first));
    send(&app, form("edge", 4)).await.refused(422, "idempotency_key_reused", "a key of its own");
    // A compaction drops the stored answers, because they contain data of deleted items.
    send(&app, with_method(Method::POST, "/v1/admin/compact")).await.ok();
    let second = send(&app, form("edge", 3)).await;
    assert_eq!((second.status.as_u16(), second.header("idempotent-replayed")), (201, ""));
    assert_ne!(second.json()["id"], first.json()["id"]);
}
