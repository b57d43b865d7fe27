//! `/v1/items`, labels, batches and reloads: all routes that change what is served. `access.rs` tests who may do so.

use crate::common::{
    CLASSES, Fixture, ITEMS, fields, form, get, json, png, post, send, with_method,
};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use serde_json::{Value, json as value};

async fn search(app: &Router, query: &str, body: &Value) -> Value {
    send(app, json(&format!("/v1/search?{query}"), &body.to_string())).await.ok()
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

fn delete(id: u64) -> Request<Body> {
    with_method(Method::DELETE, &format!("/v1/items/{id}"))
}

#[tokio::test]
async fn an_added_item_is_found_looked_at_and_deleted() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let picture = png(3 * ITEMS);
    let add = fields("/v1/items", &[("image", &picture), ("label", b"ring")]);
    let added = send(&app, add).await;
    assert_eq!((added.status.as_u16(), added.header("location")), (201, "/v1/items/60"));
    let item = added.json();
    assert_eq!((&item["id"], &item["label"]), (&60.into(), &"ring".into()));
    // Of a path that a client sends, only the last component is kept.
    assert_eq!(item["source"], "b c.png");
    assert_eq!(send(&app, get("/v1/items/60")).await.ok(), item);
    let image = send(&app, get(item["image_url"].as_str().unwrap())).await;
    assert_eq!(image.header("content-type"), "image/png");
    let decoded = image::load_from_memory(&image.body).unwrap().into_rgb8();
    assert_eq!(decoded.into_raw(), crate::common::picture(3 * ITEMS));
    let again = Request::get("/v1/items/60/image").header("if-none-match", image.header("etag"));
    assert_eq!(send(&app, again.body(Body::empty()).unwrap()).await.status, 304);

    let found = send(&app, form("image", &picture)).await.ok();
    assert!(ids(&found).contains(&60) && found["hits"][0]["distance"] == 0);
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 61);

    assert_eq!(send(&app, delete(60)).await.status, 204);
    send(&app, get("/v1/items/60")).await.refused(404, "not_found", "60");
    send(&app, get("/v1/items/60/image")).await.refused(404, "not_found", "60");
    send(&app, delete(60)).await.refused(404, "not_found", "60");
    assert!(!ids(&send(&app, form("image", &picture)).await.ok()).contains(&60));
    // Items of the run can be deleted, too, and ids are never reused.
    assert_eq!(send(&app, delete(5)).await.status, 204);
    let next = send(&app, fields("/v1/items", &[("image", &picture)])).await.json();
    assert_eq!((&next["id"], &next["label"]), (&61.into(), &Value::Null));
    assert_eq!(send(&app, get("/readyz")).await.ok()["items"], 60);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let fixture = Fixture::new();
    {
        let app = fixture.writable_app();
        for (id, class) in [("100", "disc"), ("70", "cross")] {
            let image = png(id.len() * ITEMS);
            let parts = [("image", &image[..]), ("id", id.as_bytes()), ("label", class.as_bytes())];
            assert_eq!(send(&app, fields("/v1/items", &parts)).await.status, 201);
        }
        assert_eq!(send(&app, delete(70)).await.status, 204);
        assert_eq!(send(&app, delete(3)).await.status, 204);
    }
    // A rebuilt index has all items of the run; the catalogue corrects it.
    std::fs::rename(fixture.file("index/catalogue.redb"), fixture.file("kept")).unwrap();
    std::fs::remove_dir_all(fixture.file("index")).unwrap();
    dhih_index::IndexBuilder::default().build(&fixture.codes(), &fixture.file("index")).unwrap();
    std::fs::rename(fixture.file("kept"), fixture.file("index/catalogue.redb")).unwrap();
    let app = fixture.writable_app();
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS);
    assert_eq!(send(&app, get("/v1/items/100")).await.ok()["label"], "disc");
    for gone in [3, 70] {
        send(&app, get(&format!("/v1/items/{gone}"))).await.refused(404, "not_found", "");
    }
    let next = send(&app, fields("/v1/items", &[("image", &png(1))])).await.json();
    assert_eq!(next["id"], 101);
}

#[tokio::test]
async fn items_that_cannot_be_added_are_refused_and_change_nothing() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let good = png(1);
    let refused = async |parts: &[(&str, &[u8])], status, code: &str, says: &str| {
        send(&app, fields("/v1/items", parts)).await.refused(status, code, says);
    };
    refused(&[("image", &good), ("id", b"7")], 409, "id_taken", "7").await;
    refused(&[("image", &good), ("id", b"x")], 400, "invalid_id", "whole number").await;
    refused(&[("image", &good), ("label", b"moon")], 400, "unknown_label", "disc, square").await;
    refused(
        &[("image", &good), ("label", b"disc"), ("label", b"ring")],
        400,
        "unknown_label",
        "one",
    )
    .await;
    refused(&[("label", b"disc")], 400, "missing_image", "image").await;
    refused(&[("image", b"")], 400, "missing_image", "empty").await;
    refused(&[("image", b"text")], 415, "not_an_image", "").await;
    refused(&[("image", &good[..60])], 422, "unusable_image", "").await;
    refused(&[("image", &good), ("image", &good)], 400, "ambiguous_query", "one").await;
    send(&app, json("/v1/items", "{}")).await.refused(400, "missing_item", "`code` or `vector`");
    let text = post("/v1/items", "text/plain", "a");
    send(&app, text).await.refused(415, "unsupported_media_type", "multipart");
    let mut compressed = json("/v1/items", "{}");
    compressed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    send(&app, compressed).await.refused(415, "unsupported_media_type", "uncompressed");
    // The values of an item in the order of the program's fields were an item.
    let list = json("/v1/items", r#"["00000000000", null, null, null, 7]"#);
    send(&app, list).await.refused(400, "malformed_body", "expected a JSON object");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS);
    drop(app);
    let read_only = fixture.app();
    let answer = send(&read_only, fields("/v1/items", &[("image", &good)])).await;
    answer.refused(403, "read_only", "--read-only");
    send(&read_only, delete(1)).await.refused(403, "read_only", "--read-only");
    assert_eq!(send(&read_only, get("/v1/info")).await.ok()["writable"], false);
}

#[tokio::test]
async fn no_id_ends_numbering() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let greatest = (1_u64 << 53) - 1;
    let add = async |id: Option<u64>| {
        let (image, id) = (png(1), id.map(|id| id.to_string()));
        let mut parts = vec![("image", &image[..])];
        parts.extend(id.as_ref().map(|id| ("id", id.as_bytes())));
        send(&app, fields("/v1/items", &parts)).await
    };
    for id in [u64::MAX, greatest + 1] {
        add(Some(id)).await.refused(400, "invalid_id", &greatest.to_string());
    }
    assert_eq!(add(Some(greatest)).await.status, 201);
    assert_eq!(add(None).await.json()["id"], 60);
    assert_eq!(send(&app, delete(greatest)).await.status, 204);
    assert_eq!(add(None).await.json()["id"], 61);
    drop(app);
    // The same holds for an index that already contains such an id.
    let mut codes = fixture.codes();
    codes.ids = Some((0..ITEMS as u64 - 1).chain([u64::MAX]).collect());
    dhih_index::IndexBuilder::default().build(&codes, &fixture.file("index")).unwrap();
    let app = fixture.writable_app();
    let next = send(&app, fields("/v1/items", &[("image", &png(1))])).await;
    assert_eq!(next.json()["id"], 62);
}

#[tokio::test]
async fn labels_filter_and_k_counts_what_is_left() {
    let app = Fixture::new().app();
    let all = search(&app, "k=60", &value!({"id": 4})).await;
    for wanted in [&["ring"][..], &["ring", "disc"]] {
        let query: String = wanted.iter().map(|label| format!("&label={label}")).collect();
        let some = search(&app, &format!("k=9{query}"), &value!({"id": 4})).await;
        let hits = all["hits"].as_array().unwrap().iter();
        let expected: Vec<&Value> =
            hits.filter(|hit| wanted.iter().any(|label| hit["label"] == *label)).take(9).collect();
        assert_eq!(some["hits"].as_array().unwrap().iter().collect::<Vec<_>>(), expected);
    }
    let by_number = search(&app, "label=2", &value!({"id": 4})).await;
    assert!(by_number["hits"].as_array().unwrap().iter().all(|hit| hit["label"] == CLASSES[2]));
    let unknown = send(&app, json("/v1/search?label=moon", "{\"id\":4}")).await;
    unknown.refused(400, "unknown_label", "disc, square");
}

#[tokio::test]
async fn ties_go_by_the_querys_real_values() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let plain = send(&app, fields("/v1/search?k=60&codes=true", &[("image", &png(7))])).await.ok();
    let request = fields("/v1/search?k=60&codes=true&rerank=true", &[("image", &png(7))]);
    let ranked = send(&app, request).await.ok();
    let values = fixture.encoder().encode(&crate::common::picture(7)).unwrap();
    let agreement = |hit: &Value| {
        let codes = dhih_index::Codes::from_hex(44, hit["code"].as_str().unwrap()).unwrap();
        let bit = |k: usize| codes.get(0)[k / 8] >> (k % 8) & 1 == 1;
        values.iter().enumerate().map(|(k, v)| f64::from(if bit(k) { *v } else { -v })).sum::<f64>()
    };
    let mut expected = plain["hits"].as_array().unwrap().clone();
    expected.sort_by(|a, b| {
        let distance = |hit: &Value| hit["distance"].as_u64();
        distance(a).cmp(&distance(b)).then(agreement(b).total_cmp(&agreement(a)))
    });
    assert_eq!(ranked["hits"].as_array().unwrap(), &expected);
    assert_ne!(ids(&ranked), ids(&plain), "some are as near as others");
    // The first hits are the same as with a larger `k`.
    let request = fields("/v1/search?k=5&codes=true&rerank=true", &[("image", &png(7))]);
    assert_eq!(send(&app, request).await.ok()["hits"].as_array().unwrap()[..], expected[..5]);
    send(&app, json("/v1/search?rerank=true", "{\"id\":4}")).await.refused(
        400,
        "invalid_parameter",
        "image",
    );
}

#[tokio::test]
async fn a_batch_answers_each_and_refuses_each() {
    let app = Fixture::new().app();
    let (good, other) = (png(7), png(8));
    let images: [(&str, &[u8]); 3] = [("image", &good), ("image", b"text"), ("image", &other)];
    let batch = send(&app, fields("/v1/search/batch?k=4", &images)).await.ok();
    let answers = batch["answers"].as_array().unwrap();
    for (answer, image) in [(&answers[0], &good), (&answers[2], &other)] {
        let alone = send(&app, fields("/v1/search?k=4", &[("image", image)])).await.ok();
        assert_eq!((&answer["hits"], &answer["code"]), (&alone["hits"], &alone["code"]));
    }
    assert_eq!((answers.len(), &answers[1]["error"]["code"]), (3, &"not_an_image".into()));
    let body = value!({"queries": [{"id": 7}, {"id": 999}, {}, {"sample": 1}]}).to_string();
    let batch = send(&app, json("/v1/search/batch?k=4", &body)).await.ok();
    assert_eq!(batch["answers"][0]["hits"], search(&app, "k=4", &value!({"id": 7})).await["hits"]);
    assert_eq!(batch["answers"][1]["error"]["code"], "not_found");
    assert_eq!(batch["answers"][2]["error"]["code"], "missing_query");
    assert!(batch["answers"][3]["hits"].is_array());
    let many = value!({"queries": vec![value!({"id": 1}); 33]}).to_string();
    let none = "{\"queries\":[]}";
    for body in [&many[..], none] {
        let answer = send(&app, json("/v1/search/batch", body)).await;
        answer.refused(400, "invalid_parameter", "1 to 32");
    }
    let many = vec![("image", &good[..]); 33];
    send(&app, fields("/v1/search/batch", &many)).await.refused(400, "ambiguous_query", "32");
}

#[tokio::test]
async fn a_reload_serves_what_is_there_now_or_what_was() {
    let (fixture, other) = (Fixture::with(1, None), Fixture::with(2, None));
    let app = fixture.writable_app();
    assert_eq!(send(&app, fields("/v1/items", &[("image", &png(9))])).await.status, 201);
    let reload = async || send(&app, with_method(Method::POST, "/v1/admin/reload")).await;
    assert_eq!(reload().await.ok()["items"], ITEMS + 1);
    // Changes continue with the reloaded run.
    assert_eq!(send(&app, fields("/v1/items", &[("image", &png(9))])).await.status, 201);

    let model = std::fs::read(fixture.file("model.safetensors")).unwrap();
    std::fs::write(fixture.file("model.safetensors"), b"damaged").unwrap();
    let refused = reload().await;
    refused.refused(409, "not_reloaded", "log");
    assert!(!String::from_utf8_lossy(&refused.body).contains("safetensors"), "no path is told");
    assert_eq!(send(&app, fields("/v1/items", &[("image", &png(9))])).await.status, 201);

    // The index of one model together with another model.
    for name in ["model", "codes", "queries", "gallery"].map(|name| format!("{name}.safetensors")) {
        std::fs::copy(other.file(&name), fixture.file(&name)).unwrap();
    }
    reload().await.refused(409, "not_reloaded", "");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS + 3);
    std::fs::write(fixture.file("model.safetensors"), model).unwrap();
    for name in ["codes", "queries", "gallery"].map(|name| format!("{name}.safetensors")) {
        std::fs::copy(Fixture::with(1, None).file(&name), fixture.file(&name)).unwrap();
    }
    assert_eq!(reload().await.ok()["items"], ITEMS + 3);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let app = Fixture::new().app();
    let api = send(&app, get("/openapi.json")).await.ok();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method) in [
        ("/v1/search", "post"),
        ("/v1/search/batch", "post"),
        ("/v1/items", "post"),
        ("/v1/items/{id}", "get"),
        ("/v1/items/{id}", "delete"),
        ("/v1/admin/reload", "post"),
        ("/metrics", "get"),
        ("/v1/session", "get"),
    ] {
        let responses = &api["paths"][path][method]["responses"];
        for status in ["400", "401", "421", "429"] {
            assert!(responses[status]["description"].is_string(), "{method} {path}: {status}");
        }
    }
    let page = send(&app, get("/docs/")).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html"));
    assert!(String::from_utf8_lossy(&page.body).contains("swagger-ui"));
}

#[tokio::test]
async fn figures_are_told_to_prometheus() {
    let app = Fixture::new().app();
    send(&app, form("image", &png(7))).await.ok();
    let answer = send(&app, get("/metrics")).await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for part in [
        "dhih_requests_total{route=\"/v1/search\",status=\"200\"}",
        "dhih_request_seconds_bucket{route=\"/v1/search\",le=\"0.001\"}",
        "dhih_decode_seconds_count",
        "dhih_queue_seconds_count",
        "dhih_encode_seconds_sum",
        "dhih_search_seconds_bucket",
        "dhih_encode_batch_images_bucket{le=\"32\"}",
        "dhih_encode_queue_images 0",
        "dhih_items 60",
        "# HELP dhih_search_seconds",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn requests_carry_an_id() {
    let app = Fixture::new().app();
    let own = send(&app, get("/healthz")).await;
    assert_eq!(own.header("x-request-id").len(), 16);
    assert_ne!(
        send(&app, get("/healthz")).await.header("x-request-id"),
        own.header("x-request-id")
    );
    let given = |id: &str| Request::get("/healthz").header("x-request-id", id);
    let answer = send(&app, given("abc-1").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id"), "abc-1");
    let long = "x".repeat(65);
    let answer = send(&app, given(&long).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id").len(), 16);
}
