//! All routes but the search: items, samples, info, health, the page, and the headers that all answers share.

use std::time::Duration;

use crate::common::{CLASSES, Fixture, get, json, send, with_method};
use axum::{
    body::Body,
    http::{Method, Request, header},
};
use dhih_serve::Limits;

#[tokio::test]
async fn an_item_has_label_code_and_thumbnail() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let item = send(&app, get("/v1/items/8")).await.ok();
    assert_eq!((&item["id"], &item["label"]), (&8.into(), &CLASSES[2].into()));
    assert_eq!(item["code"], fixture.codes().codes.to_hex(8));
    let image = send(&app, get(item["image_url"].as_str().unwrap())).await;
    assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/png"));
    let decoded = image::load_from_memory(&image.body).unwrap();
    assert_eq!(decoded.into_rgb8().into_raw(), crate::common::picture(8));
}

#[tokio::test]
async fn what_is_not_there_is_a_404() {
    let app = Fixture::new().app();
    for path in ["/v1/items/60", "/v1/items/60/image", &format!("/v1/items/{}", u64::MAX)] {
        send(&app, get(path)).await.refused(404, "not_found", "no item");
    }
    for path in ["/v1/samples/12", "/v1/samples/12/image"] {
        send(&app, get(path)).await.refused(404, "not_found", "no sample 12");
    }
    for path in
        ["/nothing", "/v1", "/v1/items/", "/v1/items/1/", "/../etc/passwd", "/v1/items/1/image/x"]
    {
        send(&app, get(path)).await.refused(404, "not_found", "/v1");
    }
    for path in
        ["/v1/items/one", "/v1/items/-1/image", "/v1/items/18446744073709551616", "/v1/samples/x"]
    {
        send(&app, get(path)).await.refused(400, "invalid_id", "in the path is no whole number");
    }
}

#[tokio::test]
async fn other_methods_are_a_405_that_names_the_right_ones() {
    let app = Fixture::new().app();
    for (method, path, allow) in [
        (Method::GET, "/v1/search", "POST"),
        (Method::PATCH, "/v1/items/1", "DELETE"),
        (Method::PATCH, "/v1/items", "POST"),
        (Method::PATCH, "/v1/fields", "PUT"),
        (Method::POST, "/", "GET"),
        (Method::PUT, "/v1/info", "GET"),
    ] {
        let answer = send(&app, with_method(method, path)).await;
        answer.refused(405, "method_not_allowed", "allow");
        assert!(answer.header("allow").contains(allow), "{path}: {:?}", answer.header("allow"));
    }
}

#[tokio::test]
async fn thumbnails_are_kept_under_their_version_only() {
    let app = Fixture::new().app();
    let item = send(&app, get("/v1/items/8")).await.ok();
    let url = item["image_url"].as_str().unwrap();
    let first = send(&app, get(url)).await;
    assert!(first.header("cache-control").contains("immutable"));
    let tag = first.header("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2);

    let bare = send(&app, get("/v1/items/8/image")).await;
    assert_eq!((bare.header("cache-control"), bare.header("etag")), ("no-cache", tag));
    assert_eq!(
        send(&app, get("/v1/items/8/image?v=old")).await.header("cache-control"),
        "no-cache"
    );
    assert_ne!(send(&app, get("/v1/items/9/image")).await.header("etag"), tag);
    assert_ne!(send(&app, get("/v1/samples/8/image")).await.header("etag"), tag);

    for (given, status) in
        [(tag, 304), (&format!("\"x\", W/{tag}")[..], 304), ("*", 304), ("\"x\"", 200)]
    {
        let request = Request::get(url).header(header::IF_NONE_MATCH, given);
        let answer = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.is_empty()),
            (status, status == 304),
            "{given}"
        );
    }

    let other = Fixture::with(2, None).app();
    let item = send(&other, get("/v1/items/8")).await.ok();
    assert_ne!(item["image_url"], url, "another run has other thumbnails");
}

#[tokio::test]
async fn samples_are_listed_and_shown() {
    let app = Fixture::new().app();
    let list = send(&app, get("/v1/samples")).await.ok();
    assert_eq!((&list["total"], list["samples"].as_array().unwrap().len()), (&12.into(), 12));
    let few = send(&app, get("/v1/samples?count=5&start=2")).await.ok();
    assert_eq!(few["samples"].as_array().unwrap()[..], list["samples"].as_array().unwrap()[2..7]);
    for sample in list["samples"].as_array().unwrap() {
        let index = usize::try_from(sample["index"].as_u64().unwrap()).unwrap();
        assert_eq!(sample["label"], CLASSES[(crate::common::ITEMS + index) % CLASSES.len()]);
        assert_eq!(&send(&app, get(&format!("/v1/samples/{index}"))).await.ok(), sample);
        let image = send(&app, get(sample["image_url"].as_str().unwrap())).await;
        let decoded = image::load_from_memory(&image.body).unwrap();
        assert_eq!(
            decoded.into_rgb8().into_raw(),
            crate::common::picture(crate::common::ITEMS + index)
        );
    }
    for (query, says) in
        [("count=0", "give 1"), ("count=1001", "1001"), ("start=-1", "start"), ("n=1", "n")]
    {
        let answer = send(&app, get(&format!("/v1/samples?{query}"))).await;
        answer.refused(400, "invalid_parameter", says);
    }
}

#[tokio::test]
async fn info_says_what_is_served() {
    let fixture = Fixture::new();
    let info = send(&fixture.app(), get("/v1/info")).await.ok();
    let encoder = fixture.encoder();
    assert_eq!(info["bits"], encoder.bits());
    assert_eq!(info["items"], crate::common::ITEMS);
    assert_eq!(info["samples"], crate::common::SAMPLES);
    assert_eq!(info["classes"], serde_json::json!(CLASSES));
    assert_eq!(info["model"]["sha256"], encoder.model_sha256());
    assert_eq!(info["model"]["input"], serde_json::json!([32, 32, 3]));
    assert_eq!(info["index"]["distinct"], fixture.codes().codes.distinct());
    assert_eq!((&info["dataset"], &info["protocol"]), (&"shapes".into(), &"test".into()));
    assert_eq!(info["map"], 0.875);
    assert_eq!(info["thumbnails"], true);
    assert_eq!(
        info["limits"],
        serde_json::json!({ "body_bytes": 10 << 20, "k": 1000, "batch": 32, "items": 1000 })
    );
}

#[tokio::test]
async fn health_and_readiness_answer() {
    let app = Fixture::new().app();
    assert_eq!(send(&app, get("/healthz")).await.ok()["status"], "ok");
    assert_eq!(send(&app, get("/readyz")).await.ok()["status"], "ready");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let app = Fixture::new().app();
    let page = send(&app, get("/")).await;
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let targets = |text: &str, before: &str| -> Vec<String> {
        text.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let mut wanted = [targets(&html, "href=\""), targets(&html, "src=\"")].concat();
    let mut assets = 0;
    while let Some(target) = wanted.pop() {
        if target.starts_with('#') {
            continue;
        }
        // Links are relative, so that the page works below any path.
        assert!(
            !target.starts_with('/') && !target.contains(':'),
            "{target} is not of this service"
        );
        let target = format!("/{}", target.trim_start_matches("./"));
        let asset = send(&app, get(&target)).await;
        assert_eq!(asset.status, 200, "{target}");
        let request = Request::get(&target).header(header::IF_NONE_MATCH, asset.header("etag"));
        assert_eq!(send(&app, request.body(Body::empty()).unwrap()).await.status, 304, "{target}");
        assets += 1;
        // Modules import each other without cycles, so this terminates.
        if target.ends_with(".js") {
            wanted.extend(targets(&String::from_utf8(asset.body).unwrap(), "from \""));
        }
    }
    assert!(assets >= 5, "style, scripts and icons, found {assets}");
    for forbidden in ["<style", " style=", "onclick=", "<script>", "javascript:"] {
        assert!(!html.contains(forbidden), "the policy forbids {forbidden}");
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let app = Fixture::new().app();
    for request in [
        get("/"),
        get("/v1/info"),
        get("/v1/items/1/image"),
        get("/nothing"),
        json("/v1/search", "{}"),
    ] {
        let answer = send(&app, request).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'; img-src 'self' blob: data:"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.header("cache-control").is_empty());
    }
    assert_eq!(send(&app, get("/v1/info")).await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_run_without_gallery_serves_a_placeholder() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.file("gallery.safetensors")).unwrap();
    let app = fixture.app();
    assert_eq!(send(&app, get("/v1/info")).await.ok()["thumbnails"], false);
    for path in ["/v1/items/1/image", "/v1/samples/1/image"] {
        let image = send(&app, get(path)).await;
        assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/svg+xml"));
        assert_eq!(image.header("cache-control"), "no-cache");
    }
    send(&app, get("/v1/items/60/image")).await.refused(404, "not_found", "no item");
    assert_eq!(send(&app, json("/v1/search", "{\"id\":1}")).await.status, 200);
}

#[tokio::test]
async fn a_request_that_finds_no_worker_is_told_to_come_back() {
    let fixture = Fixture::new();
    let limits = Limits { workers: 0, queue_timeout: Duration::ZERO, ..Limits::default() };
    let app = fixture.app_with(limits);
    let answer = send(&app, json("/v1/search?label=ring", "{\"id\":1}")).await;
    answer.refused(503, "busy", "again");
    assert!(["1", "2"].contains(&answer.header("retry-after")));
    assert_eq!(send(&app, get("/healthz")).await.status, 200, "what needs no worker goes on");
}
