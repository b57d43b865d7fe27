//! `--path-prefix`: the whole service is below a path, beside other services of the same host, and nothing answers elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Request, header};
use dhih_serve::{AppState, CollectionName, Keys, Limits, QueueConfig, Shared, app};
use serde_json::Value;

use crate::common::{Fixture, form, get, json, png, post, send, with_method};

const KEY: &str = "admin-key-0123456789";

fn below(fixture: &Fixture, prefix: &str, keys: Keys) -> (Arc<AppState>, Router) {
    let shared = Shared::new(Limits::default(), keys, QueueConfig::default());
    let shared = Arc::new(shared.with_path_prefix(prefix.parse().unwrap()));
    let state = AppState::of(CollectionName::default(), fixture.writable(), shared);
    let state = Arc::new(state.unwrap());
    (state.clone(), app(state))
}

#[tokio::test]
async fn every_path_of_an_answer_is_below_the_prefix() {
    let fixture = Fixture::new();
    let (state, app) = below(&fixture, "/a/dhih", Keys::default());
    let mut search = form("image", &png(7));
    *search.uri_mut() = "/a/dhih/v1/search?k=3".parse().unwrap();
    let found = send(&app, search).await.ok();
    let item = send(&app, get("/a/dhih/v1/items/7")).await.ok();
    let samples = send(&app, get("/a/dhih/v1/samples?count=1")).await.ok();
    for url in
        [&found["hits"][0]["image_url"], &item["image_url"], &samples["samples"][0]["image_url"]]
    {
        let url = url.as_str().unwrap();
        assert!(url.starts_with("/a/dhih/v1/"), "{url}");
        assert_eq!(send(&app, get(url)).await.header("content-type"), "image/png", "{url}");
    }
    let code = format!("{{\"code\":{}}}", found["code"]);
    let added = send(&app, json("/a/dhih/v1/items", &code)).await;
    assert_eq!(added.status, 201);
    let location = added.header("location");
    assert!(location.starts_with("/a/dhih/v1/items/"), "{location}");
    assert_eq!(send(&app, get(location)).await.ok(), added.json());
    // The prefix stays after a reload. A changed file makes the run reload.
    let evaluation = fixture.file("evaluation.json");
    std::fs::write(evaluation, "{\"map\": 0.5}").unwrap();
    state.reload().unwrap();
    assert_eq!(send(&app, get("/a/dhih/v1/info")).await.ok()["map"], 0.5);
    let item = send(&app, get("/a/dhih/v1/items/7")).await.ok();
    assert!(item["image_url"].as_str().unwrap().starts_with("/a/dhih/v1/"), "{item}");
}

#[tokio::test]
async fn page_description_and_probes_are_below_it() {
    let (_, app) = below(&Fixture::new(), "/dhih", Keys::default());
    let page = send(&app, get("/dhih/?id=3")).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for asset in ["app.js", "style.css", "icon.svg"] {
        assert!(String::from_utf8_lossy(&page.body).contains(&format!("=\"{asset}\"")), "{asset}");
        assert_eq!(send(&app, get(&format!("/dhih/{asset}"))).await.status, 200, "{asset}");
    }
    let policy =
        |answer: &crate::common::Answer| answer.header("content-security-policy").to_owned();
    let docs = send(&app, get("/dhih/docs/")).await;
    assert_eq!(docs.status, 200);
    assert!(
        policy(&docs).contains("'unsafe-inline'") && !policy(&page).contains("'unsafe-inline'")
    );
    let start = send(&app, get("/dhih/docs/swagger-initializer.js")).await;
    assert!(String::from_utf8_lossy(&start.body).contains("\"/dhih/openapi.json\""));
    assert_eq!(send(&app, get("/dhih/docs")).await.header("location"), "/dhih/docs/");
    let description = send(&app, get("/dhih/openapi.json")).await.ok();
    assert_eq!(description["servers"][0]["url"], "/dhih");
    assert!(description["paths"]["/v1/search"]["post"].is_object());
    for probe in ["/dhih/healthz", "/dhih/readyz"] {
        send(&app, get(probe)).await.ok();
    }
    // Routes appear in metrics without the prefix, so that one dashboard fits all services.
    send(&app, get("/dhih/v1/info")).await.ok();
    let figures = send(&app, get("/dhih/metrics")).await;
    let figures = String::from_utf8(figures.body).unwrap();
    assert!(
        figures.contains("route=\"/v1/info\"") && !figures.contains("route=\"/dhih"),
        "{figures}"
    );
}

#[tokio::test]
async fn nothing_answers_beside_it() {
    let (_, app) = below(&Fixture::new(), "/dhih", Keys::default());
    for request in [
        get("/"),
        get("/v1/info"),
        get("/healthz"),
        get("/dhihx/v1/info"),
        get("/DHIH/v1/info"),
        get("//dhih/v1/info"),
        post("/v1/search", "image/png", png(1)),
        with_method(Method::DELETE, "/v1/items/1"),
    ] {
        let answer = send(&app, request).await;
        answer.refused(404, "not_found", "below /dhih/");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    send(&app, get("/dhih/nothing")).await.refused(404, "not_found", "/nothing");
    for (path, to) in [("/dhih", "/dhih/"), ("/dhih?id=3", "/dhih/?id=3")] {
        let answer = send(&app, get(path)).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (308, to));
    }
    // Host names are checked below a prefix as well.
    let other = Request::get("/dhih/v1/info").header(header::HOST, "evil.example");
    let other = send(&app, other.body(axum::body::Body::empty()).unwrap()).await;
    other.refused(421, "unknown_host", "--host");
    let absolute = send(&app, get("http://localhost/dhih/v1/info")).await;
    assert_eq!(absolute.status, 200);
}

#[tokio::test]
async fn a_session_is_for_the_paths_below_it() {
    let fixture = Fixture::new();
    let keys = Keys::new(None, Some(KEY)).unwrap();
    let (_, app) = below(&fixture, "/dhih", keys);
    let body = serde_json::json!({ "key": KEY }).to_string();
    let begun = send(&app, json("/dhih/v1/session", &body)).await;
    begun.ok();
    let cookie = begun.header("set-cookie");
    assert!(cookie.ends_with("; Path=/dhih; HttpOnly; SameSite=Strict"), "{cookie}");
    let mut request = get("/dhih/v1/session");
    let pair = cookie.split(';').next().unwrap();
    request.headers_mut().insert(header::COOKIE, pair.parse().unwrap());
    let session: Value = send(&app, request).await.ok();
    assert_eq!(session["name"], "admin");
}
