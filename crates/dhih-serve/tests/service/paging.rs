//! Pages of hits and explanations of searches: the joined pages are equal to a single search, in every order, and an explained search has
//! the same hits.

use axum::Router;
use dhih_index::{Index, Strategy};
use dhih_serve::Access;
use serde_json::{Value, json as value};

use crate::common::{Fixture, form, json, png, send};
use crate::metadata::filtered;
use crate::vectors::{Coded, vectors};

async fn hits(app: &Router, path: &str, body: &Value) -> Vec<Value> {
    let answer = send(app, json(path, &body.to_string())).await.ok();
    answer["hits"].as_array().unwrap().clone()
}

/// Checks that pages of seven hits add up to the first 53.
async fn check_pages(app: &Router, path: &str, body: &Value) {
    let all = hits(app, &format!("{path}k=53"), body).await;
    assert!(all.len() > 14, "{path}: {} hits", all.len());
    let mut joined = Vec::new();
    for offset in (0..53).step_by(7) {
        let k = 7.min(53 - offset);
        joined.extend(hits(app, &format!("{path}k={k}&offset={offset}"), body).await);
    }
    assert_eq!(joined, all, "{path}");
}

#[tokio::test]
async fn pages_are_the_parts_of_one_order() {
    let fixture = Fixture::new();
    let app = fixture.app();
    for path in
        ["/v1/search?", "/v1/search?radius=21&codes=true&", "/v1/search?label=ring&label=disc&"]
    {
        check_pages(&app, path, &value!({ "id": 7 })).await;
    }
    let image = value!({ "image": crate::uploads::base64(&png(7)) });
    check_pages(&app, "/v1/search?rerank=true&", &image).await;
    let after_the_last = hits(&app, "/v1/search?offset=60", &value!({ "id": 7 })).await;
    assert!(after_the_last.is_empty(), "{after_the_last:?}");

    let coded = Coded::new(Some(dhih_index::VectorType::F32));
    let app = coded.app(Access::ReadOnly);
    let vector = value!({ "vector": vectors(1, 9) });
    check_pages(&app, "/v1/search?rescore=80&", &vector).await;
    let rescored = hits(&app, "/v1/search?rescore=80&k=3&offset=4", &vector).await;
    assert!(rescored.iter().all(|hit| hit["similarity"].is_number()), "{rescored:?}");

    let batch = value!({"queries": [{"id": 7}, {"id": 8}]}).to_string();
    let answers = send(&app, json("/v1/search/batch?k=3&offset=2", &batch)).await.ok();
    let alone = hits(&app, "/v1/search?k=5", &value!({ "id": 8 })).await;
    assert_eq!(answers["answers"][1]["hits"], value!(alone[2..]));
}

#[tokio::test]
async fn a_page_beyond_the_bound_is_refused() {
    let app = Fixture::new().app();
    for (query, says) in [
        ("k=500&offset=501", "together give at most 1000"),
        ("offset=-1", "whole number"),
        ("offset=1&offset=2", "twice"),
        ("explain=1", "true or false"),
        ("explain=true&rerank=true", "leave `rerank`"),
    ] {
        let answer = send(&app, json(&format!("/v1/search?{query}"), r#"{"id":1}"#)).await;
        answer.refused(400, "invalid_parameter", says);
    }
    for query in ["radius=3&offset=1", "radius=3&explain=true"] {
        let answer = send(&app, crate::common::get(&format!("/v1/items/1/pairs?{query}"))).await;
        answer.refused(400, "invalid_parameter", "leave `offset`, `explain` and `mean` out");
    }
    let field = crate::common::fields("/v1/search", &[("image", &png(1)), ("offset", b"3")]);
    send(&app, field).await.refused(400, "invalid_parameter", "?offset=");
}

#[tokio::test]
async fn an_explanation_is_that_of_the_library_and_leaves_the_hits_as_they_are() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let plain = send(&app, form("image", &png(7))).await.ok();
    assert_eq!(plain.get("explanation"), None);
    let code = fixture.codes().codes.get(7).to_vec();
    for (path, k, radius) in [("k=9", 9, 44), ("k=9&radius=3", 9, 3), ("k=2&offset=7", 9, 44)] {
        let path = format!("/v1/search?{path}");
        let joint = format!("{path}&explain=true");
        let explained = send(&app, json(&joint, r#"{"id":7}"#)).await.ok();
        assert_eq!(explained["hits"], value!(hits(&app, &path, &value!({ "id": 7 })).await));
        let explanation = &explained["explanation"];
        let index = Index::open(fixture.file("index")).unwrap();
        let (_, expected) = index.explain_knn_within(Strategy::Auto, &code, k, radius).unwrap();
        assert_eq!(explanation["components"], value!({"segments": 1, "memtable": 0}));
        assert_eq!(explanation["scanned"], expected.scanned);
        assert_eq!(explanation["probes"], expected.probes);
        assert_eq!(explanation["candidates"], expected.candidates);
        let steps = explanation["steps"].as_array().unwrap();
        assert_eq!(steps.len(), expected.steps.len());
        assert!(expected.scanned + expected.candidates > 0, "{expected:?}");
        for (step, expected) in steps.iter().zip(&expected.steps) {
            assert_eq!(step["action"], value!(expected.action));
            assert_eq!(step["costs"]["scan"], expected.costs.scan);
        }
    }
    // Items that are only in memory are scanned, and a filter is taken into account.
    let added = value!({ "code": fixture.codes().codes.to_hex(7), "metadata": {"n": 1} });
    let added = send(&app, json("/v1/items", &added.to_string())).await;
    assert_eq!(added.status, 201);
    let declared = crate::metadata::put("/v1/fields", &value!({"fields": {"n": "number"}}));
    send(&app, declared).await.ok();
    let path =
        filtered("/v1/search?explain=true", &value!({"must": [{"field": "n", "equals": 1}]}));
    let one = send(&app, json(&path, r#"{"id":7}"#)).await.ok();
    assert_eq!(one["hits"].as_array().unwrap().len(), 1);
    assert_eq!(one["explanation"]["components"], value!({"segments": 1, "memtable": 1}));
}
