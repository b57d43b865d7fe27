//! Access control: host names, pages of other sites, keys with roles, sessions of the page, rate limits, and caching of answers. The bug:
//! pages of other sites could read and change a service on this machine through the browser of a visitor.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use crate::common::{Fixture, ITEMS, fields, get, json, png, send, state, with_method};
use axum::{
    Router,
    body::Body,
    http::{Method, Request},
};
use dhih_serve::{AppState, CollectionName, Hosts, Keys, Limits, QueueConfig, Shared, app};
use serde_json::json as value;

const READ: &str = "read-key-0123456789";
const WRITE: &str = "write-key-0123456789";
const ADMIN: &str = "admin-key-0123456789";

fn with(mut request: Request<Body>, name: &'static str, text: &str) -> Request<Body> {
    request.headers_mut().append(name, text.parse().unwrap());
    request
}

fn with_key(request: Request<Body>, key: &str) -> Request<Body> {
    with(request, "x-api-key", key)
}

fn delete(id: u64) -> Request<Body> {
    with_method(Method::DELETE, &format!("/v1/items/{id}"))
}

fn add() -> Request<Body> {
    fields("/v1/items", &[("image", &png(1))])
}

fn reload() -> Request<Body> {
    with_method(Method::POST, "/v1/admin/reload")
}

/// The keys `read` and `admin`, and a key `shop` from a file with the role `write`.
fn three_keys() -> Keys {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let toml = format!("[[key]]\nname = 'shop'\nrole = 'write'\nkey = '{WRITE}'\n");
    std::fs::write(&path, toml).unwrap();
    Keys::new(Some(READ), Some(ADMIN)).unwrap().with_keys_file(&path).unwrap()
}

fn guarded(fixture: &Fixture) -> Arc<AppState> {
    state(fixture.writable(), Limits::default(), three_keys())
}

/// Begins a session with a key. Returns the name and value of its cookie.
async fn session(app: &Router, key: &str) -> String {
    let answer = send(app, json("/v1/session", &value!({ "key": key }).to_string())).await;
    answer.ok();
    let cookie = answer.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn requests_for_another_host_are_refused_on_every_route() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let to = |request: fn() -> Request<Body>, host: &str| with(request(), "host", host);
    let requests: [fn() -> Request<Body>; 9] = [
        || get("/"),
        || get("/v1/info"),
        || get("/v1/items/1/image"),
        || get("/docs/"),
        || get("/nothing"),
        || with_method(Method::PUT, "/v1/info"),
        || json("/v1/search", "{\"id\":1}"),
        || delete(1),
        || with_method(Method::POST, "/v1/admin/reload"),
    ];
    for request in requests {
        for host in ["rebound.example:7878", "localhost.rebound.example", "10.0.0.1"] {
            send(&app, to(request, host)).await.refused(421, "unknown_host", "--host");
        }
        let twice = with(to(request, "localhost"), "host", "rebound.example");
        send(&app, twice).await.refused(400, "invalid_host", "exactly one");
        send(&app, to(request, "")).await.refused(400, "invalid_host", "host");
    }
    let absolute = get("http://rebound.example/v1/info");
    send(&app, absolute).await.refused(421, "unknown_host", "");
    for path in ["/healthz", "/readyz"] {
        let probe = with(get(path), "host", "rebound.example");
        assert_eq!(send(&app, probe).await.status, 200, "{path} is asked by probes");
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1:7878", "[::1]:7878"] {
        assert_eq!(send(&app, to(|| get("/v1/info"), host)).await.status, 200, "{host}");
    }
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS, "nothing was changed");
}

#[tokio::test]
async fn a_service_with_names_of_its_own_answers_to_them() {
    let fixture = Fixture::new();
    let names = ["photos.example".parse().unwrap()];
    let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &names, false);
    let shared = Shared::new(Limits::default(), Keys::default(), QueueConfig::default());
    let shared = Arc::new(shared.with_hosts(hosts));
    let state = AppState::of(CollectionName::default(), fixture.load().unwrap(), shared);
    let app = app(Arc::new(state.unwrap()));
    for (host, status) in [("photos.example:443", 200), ("localhost", 200), ("b.example", 421)] {
        assert_eq!(send(&app, with(get("/v1/info"), "host", host)).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let requests: [fn() -> Request<Body>; 3] = [|| delete(1), add, reload];
    for request in requests {
        for (name, text) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
        ] {
            let answer = send(&app, with(request(), name, text)).await;
            answer.refused(403, "cross_site", "only the service's own page");
        }
    }
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS);
    for (id, name, text) in [
        (1, "sec-fetch-site", "same-origin"),
        (2, "sec-fetch-site", "none"),
        (3, "origin", "http://localhost:7878"),
    ] {
        assert_eq!(send(&app, with(delete(id), name, text)).await.status, 204, "{name}: {text}");
    }
    // A page of another site may send a search but not read the answer, because no CORS header allows it.
    for request in [json("/v1/search", "{\"id\":9}"), with_method(Method::OPTIONS, "/v1/search")] {
        let answer = send(&app, with(request, "origin", "http://evil.example")).await;
        let cors = |name: &axum::http::HeaderName| name.as_str().starts_with("access-control");
        assert!(!answer.headers.keys().any(cors), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn keys_open_what_they_are_for() {
    let fixture = Fixture::new();
    let app = app(guarded(&fixture));
    for path in ["/v1/info", "/v1/items/1", "/v1/items/1/image", "/v1/samples", "/metrics"] {
        let refused = send(&app, get(path)).await;
        refused.refused(401, "unauthorized", "authorization: Bearer");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        for key in [READ, WRITE, ADMIN] {
            assert_eq!(send(&app, with_key(get(path), key)).await.status, 200, "{path}");
        }
    }
    for path in ["/", "/app.js", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(send(&app, get(path)).await.status, 200, "{path} needs no key");
    }
    let info = send(&app, with_key(get("/v1/info"), READ)).await.ok();
    assert_eq!(info["auth"], value!({"read": true, "write": true}));
    let requests: [fn() -> Request<Body>; 3] = [reload, add, || delete(1)];
    for request in requests {
        send(&app, request()).await.refused(401, "unauthorized", "key");
        let unknown = send(&app, with_key(request(), "another-key-0123456789")).await;
        unknown.refused(401, "unauthorized", "key");
    }
    send(&app, with_key(add(), READ)).await.refused(403, "forbidden", "`write`");
    send(&app, with_key(delete(1), READ)).await.refused(403, "forbidden", "`write`");
    send(&app, with_key(reload(), READ)).await.refused(403, "forbidden", "`admin`");
    send(&app, with_key(reload(), WRITE)).await.refused(403, "forbidden", "`admin`");
    assert_eq!(send(&app, with_key(add(), WRITE)).await.status, 201);
    assert_eq!(send(&app, with_key(delete(1), WRITE)).await.status, 204);
    assert_eq!(send(&app, with_key(add(), ADMIN)).await.status, 201);
    assert_eq!(send(&app, with_key(reload(), ADMIN)).await.status, 200);
    // Of several keys the one with the most rights counts. A key in a cookie has no effect.
    let both = with(with_key(reload(), READ), "authorization", &format!("Bearer {ADMIN}"));
    assert_eq!(send(&app, both).await.status, 200);
    let cookie = with(get("/v1/info"), "cookie", &format!("dhih-key={ADMIN}"));
    send(&app, cookie).await.refused(401, "unauthorized", "");
}

#[tokio::test]
async fn a_session_stands_for_its_key_in_the_browser() {
    let fixture = Fixture::new();
    let app = app(guarded(&fixture));
    let cookie = session(&app, WRITE).await;
    let by = |request| with(request, "cookie", &cookie);
    let who = send(&app, by(get("/v1/session"))).await.ok();
    assert_eq!(who, value!({"name": "shop", "role": "write"}));
    assert_eq!(send(&app, by(get("/v1/items/1/image"))).await.status, 200);
    assert_eq!(send(&app, by(json("/v1/search", "{\"id\":1}"))).await.status, 200);
    // A browser sends the cookie on its own, so it must also state that the page is one of this service.
    for request in [delete(1), with(delete(1), "sec-fetch-site", "none")] {
        send(&app, by(request)).await.refused(403, "cross_site", "");
    }
    let own_page = |request| with(by(request), "origin", "http://localhost:7878");
    assert_eq!(send(&app, own_page(delete(1))).await.status, 204);
    send(&app, own_page(reload())).await.refused(403, "forbidden", "`admin`");
    // A key in a header takes precedence over the session.
    let unknown = with_key(by(get("/v1/info")), "another-key-0123456789");
    send(&app, unknown).await.refused(401, "unauthorized", "");

    let end = || with_method(Method::DELETE, "/v1/session");
    send(&app, with(by(end()), "origin", "http://evil.example")).await.refused(
        403,
        "cross_site",
        "",
    );
    assert_eq!(send(&app, by(get("/v1/session"))).await.status, 200, "it goes on");
    let ended = send(&app, own_page(end())).await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("set-cookie").contains("dhih-session=; "), "the browser forgets it");
    send(&app, by(get("/v1/session"))).await.refused(401, "unauthorized", "");
}

#[tokio::test]
async fn only_who_has_a_key_begins_a_session() {
    let fixture = Fixture::new();
    let app = app(guarded(&fixture));
    let begin = |body: &str| json("/v1/session", body);
    let key = |key: &str| begin(&value!({ "key": key }).to_string());
    let wrong = send(&app, key("another-key-0123456789")).await;
    wrong.refused(401, "unauthorized", "key");
    assert_eq!(wrong.header("set-cookie"), "");
    for body in ["", "{}", "{\"key\":7}", "{\"key\":\"a\",\"b\":1}"] {
        send(&app, begin(body)).await.refused(400, "malformed_body", "{\"key\": \"...\"}");
    }
    send(&app, key(&"x".repeat(5000))).await.refused(413, "body_too_large", "");
    let other_site = with(key(READ), "origin", "http://evil.example");
    send(&app, other_site).await.refused(403, "cross_site", "");
    send(&app, get("/v1/session")).await.refused(401, "unauthorized", "");
    let by_key = send(&app, with_key(get("/v1/session"), ADMIN)).await.ok();
    assert_eq!(by_key, value!({"name": "admin", "role": "admin"}));

    let open = Fixture::new().app();
    send(&open, key(READ)).await.refused(404, "not_found", "asks for no key");
    let anybody = send(&open, get("/v1/session")).await.ok();
    assert_eq!(anybody, value!({"name": null, "role": "admin"}));
}

#[tokio::test]
async fn keys_that_are_replaced_open_nothing_and_their_sessions_end() {
    let fixture = Fixture::new();
    let state = guarded(&fixture);
    let app = app(state.clone());
    let (of_read, of_shop) = (session(&app, READ).await, session(&app, WRITE).await);
    state.shared().set_keys(Keys::new(Some(READ), Some("admin-key-of-today-01")).unwrap());
    for (key, status) in [(READ, 200), (WRITE, 401), (ADMIN, 401), ("admin-key-of-today-01", 200)] {
        assert_eq!(send(&app, with_key(get("/v1/info"), key)).await.status, status);
    }
    for (cookie, status) in [(&of_read, 200), (&of_shop, 401)] {
        assert_eq!(send(&app, with(get("/v1/info"), "cookie", cookie)).await.status, status);
    }
    state.shared().set_keys(three_keys());
    let back = send(&app, with(get("/v1/info"), "cookie", &of_shop)).await;
    assert_eq!(back.status, 401, "a session that has ended does not come back with its key");
}

/// An address has 20 wrong attempts and one more per second. The holder of a right key is never locked out.
#[tokio::test]
async fn wrong_keys_are_limited_and_right_ones_are_not() {
    let fixture = Fixture::new();
    let app = app(guarded(&fixture));
    let (started, mut refused) = (Instant::now(), 0);
    for i in 0..60 {
        let answer = send(&app, with_key(get("/v1/info"), &format!("guess-{i:020}"))).await;
        if answer.status == 429 {
            answer.refused(429, "too_many_requests", "retry-after");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            refused += 1;
        } else {
            answer.refused(401, "unauthorized", "");
        }
    }
    assert!(refused as f64 >= 39.0 - started.elapsed().as_secs_f64(), "{refused} refused");
    assert_eq!(send(&app, with_key(get("/v1/info"), READ)).await.status, 200);
    let no_key = send(&app, get("/v1/info")).await;
    no_key.refused(401, "unauthorized", "");
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_back() {
    let fixture = Fixture::new();
    let limits = Limits { rate_limit: NonZeroU32::new(1), ..Limits::default() };
    let app = app(state(fixture.writable(), limits, three_keys()));
    // Each key is a client, and all requests without a key are another one. They do not share their limits.
    for key in [Some(READ), Some(ADMIN), None] {
        let (started, mut passed) = (Instant::now(), 0);
        for _ in 0..20 {
            let request = key.map_or_else(|| get("/"), |key| with_key(get("/"), key));
            let answer = send(&app, request).await;
            match answer.status.as_u16() {
                200 => passed += 1,
                _ => answer.refused(429, "too_many_requests", "retry-after"),
            }
        }
        assert!(passed >= 2, "a burst of two passes");
        assert!(f64::from(passed) <= 3.0 + started.elapsed().as_secs_f64(), "{passed} passed");
        assert_eq!(send(&app, get("/healthz")).await.status, 200, "probes are not counted");
    }
}

#[tokio::test]
async fn what_is_behind_a_key_is_kept_by_nobody_else() {
    let (fixture, open) = (Fixture::new(), Fixture::new());
    let guarded = app(guarded(&fixture));
    for (path, control) in
        [("/v1/items/3", "max-age=31536000, immutable"), ("/v1/samples/3", "max-age")]
    {
        let url = send(&guarded, with_key(get(path), READ)).await.ok()["image_url"].clone();
        let url = url.as_str().unwrap().to_owned();
        let kept = send(&guarded, with_key(get(&url), READ)).await;
        let tag = kept.header("etag").to_owned();
        assert!(kept.header("cache-control").starts_with("private, "), "{:?}", kept.headers);
        assert!(kept.header("cache-control").contains(control));
        let again = with(with_key(get(&url), READ), "if-none-match", &tag);
        let again = send(&guarded, again).await;
        assert_eq!(
            (again.status.as_u16(), again.header("cache-control").starts_with("private")),
            (304, true)
        );
        let bare = url.split('?').next().unwrap();
        let bare = send(&guarded, with_key(get(bare), READ)).await;
        assert_eq!(bare.header("cache-control"), "private, no-cache");
        send(&guarded, get(&url)).await.refused(401, "unauthorized", "");
    }
    // If reading needs no key, shared caches may store the answer.
    let open = open.app();
    let url = send(&open, get("/v1/items/3")).await.ok()["image_url"].clone();
    let kept = send(&open, get(url.as_str().unwrap())).await;
    assert_eq!(kept.header("cache-control"), "public, max-age=31536000, immutable");
    let added = send(&guarded, with_key(add(), ADMIN)).await.json();
    let url = added["image_url"].as_str().unwrap();
    let own = send(&guarded, with_key(get(url), READ)).await;
    assert_eq!((own.status.as_u16(), own.header("cache-control")), (200, "private, no-cache"));
    for path in ["/v1/info", "/v1/items/1", "/metrics"] {
        let answer = send(&guarded, with_key(get(path), READ)).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

/// The new item has the same code as the old one, so that only its thumbnail distinguishes it.
#[tokio::test]
async fn an_id_that_is_used_again_has_another_picture_address() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let old = send(&app, get("/v1/items/3")).await.ok();
    assert_eq!(send(&app, delete(3)).await.status, 204);
    let image = png(3);
    let add = fields("/v1/items", &[("image", &image), ("id", b"3")]);
    let new = send(&app, add).await.json();
    assert_eq!(new["code"], old["code"]);
    assert_ne!(new["image_url"], old["image_url"]);
    let hits = send(&app, json("/v1/search?radius=0", "{\"id\":3}")).await.ok();
    let hit = hits["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == 3).unwrap();
    assert_eq!(hit["image_url"], new["image_url"]);
    // The thumbnail of an added item may change, so it is revalidated on each use.
    let picture = send(&app, get(new["image_url"].as_str().unwrap())).await;
    assert_eq!((picture.status.as_u16(), picture.header("cache-control")), (200, "no-cache"));
}
