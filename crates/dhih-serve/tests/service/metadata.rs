//! What users store with items: metadata and external ids, filters in searches, and what happens when an item is replaced or removed, or
//! the index is rebuilt.

use std::path::Path;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use dhih_index::{CodeSet, Codes, IndexBuilder, Labels, to_hex};
use dhih_serve::{Access, Keys, Limits, Origin, Run, Source, app};
use serde_json::{Value, json as value};

use crate::common::{Fixture, fields, get, json, png, send, state, with_method};

const BITS: u32 = 64;
const ITEMS: u64 = 400;

/// Pseudo-random codes.
fn codes(seed: u64, count: u64) -> Codes {
    let word = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed).to_le_bytes();
    Codes::new(BITS, (0..count).flat_map(word).collect()).unwrap()
}

fn build(dir: &Path, seed: u64) -> Codes {
    let labels = Labels::Single((0..ITEMS as i64).map(|id| id % 4).collect());
    let codes = codes(seed, ITEMS);
    let set = CodeSet {
        labels: Some(labels),
        classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
        ..CodeSet::new(codes.clone())
    };
    IndexBuilder::default().build(&set, dir).unwrap();
    codes
}

pub fn open(dir: &Path, access: Access) -> Router {
    let source = Source::Index { dir: dir.to_owned(), access };
    let run = Run::open(&Origin::Codes, &source).unwrap();
    app(state(run, Limits::default(), Keys::default()))
}

pub fn put(path: &str, body: &Value) -> Request<Body> {
    let request = Request::put(path).header(header::CONTENT_TYPE, "application/json");
    request.body(body.to_string().into()).unwrap()
}

/// A path with a filter in its query string.
pub fn filtered(path: &str, filter: &Value) -> String {
    let text = filter.to_string();
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}filter={escaped}")
}

fn metadata(id: u64) -> Value {
    value!({"camera": (["north", "south"][id as usize % 2]), "taken": id * 10, "tags": [format!("t{}", id % 3), "all"]})
}

pub async fn declare(app: &Router) {
    let fields = value!({"camera": "keyword", "taken": "number", "tags": "keyword"});
    declare_as(app, &fields).await;
}

pub async fn declare_as(app: &Router, fields: &Value) {
    send(app, put("/v1/fields", &value!({ "fields": fields }))).await.ok();
}

fn hits(answer: &Value) -> Vec<(u64, u64)> {
    let hit = |hit: &Value| (hit["distance"].as_u64().unwrap(), hit["id"].as_u64().unwrap());
    answer["hits"].as_array().unwrap().iter().map(hit).collect()
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_filtered_search_finds_the_exact_nearest_of_those_that_pass() {
    let dir = tempfile::tempdir().unwrap();
    let codes = build(dir.path(), 1);
    let app = open(dir.path(), Access::Writable);
    declare(&app).await;
    for id in 0..ITEMS {
        send(&app, put(&format!("/v1/items/{id}/metadata"), &metadata(id))).await.ok();
    }
    // Delete some items, so that the ids have gaps.
    for id in [0, 17, 200] {
        let gone = send(&app, with_method(Method::DELETE, &format!("/v1/items/{id}"))).await;
        assert_eq!(gone.status, 204);
    }
    let there = |id: u64| ![0, 17, 200].contains(&id);
    let nearest = |to: &[u8], passes: &dyn Fn(u64) -> bool| -> Vec<(u64, u64)> {
        let distance =
            |code: &[u8]| code.iter().zip(to).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        let mut all: Vec<(u64, u64)> =
            codes.iter().map(|code| distance(code).into()).zip(0..).collect();
        all.retain(|(_, id)| there(*id) && passes(*id));
        all.sort_unstable();
        all
    };
    type Passes = Box<dyn Fn(u64) -> bool>;
    let cases: [(Value, &str, Passes); 6] = [
        (
            value!({"must": [{"field": "camera", "equals": "north"}]}),
            "",
            Box::new(|id| id % 2 == 0),
        ),
        (value!({"must_not": [{"field": "tags", "equals": "t1"}]}), "", Box::new(|id| id % 3 != 1)),
        (
            value!({"must": [{"field": "taken", "range": {"gte": 1000, "lt": 1500}}]}),
            "",
            Box::new(|id| (100..150).contains(&id)),
        ),
        (value!({"must": [{"field": "taken", "equals": 70}]}), "", Box::new(|id| id == 7)),
        (
            value!({"should": [{"field": "tags", "any": ["t0", "t2"]}], "must": [{"field": "taken", "exists": true}]}),
            "&label=c",
            Box::new(|id| id % 3 != 1 && id % 4 == 2),
        ),
        (value!({"must": [{"field": "camera", "equals": "west"}]}), "", Box::new(|_| false)),
    ];
    for (filter, label, passes) in &cases {
        for query in [1_u64, 50, 399] {
            let expected = nearest(codes.get(query as usize), passes);
            let path = filtered(&format!("/v1/search?k=15{label}"), filter);
            // The second search uses the cached selection.
            for _ in 0..2 {
                let found = send(&app, json(&path, &value!({"id": query}).to_string())).await.ok();
                assert_eq!(hits(&found), expected[..expected.len().min(15)], "{filter}");
            }
            let pairs = filtered(&format!("/v1/items/{query}/pairs?radius=30{label}"), filter);
            let found = send(&app, get(&pairs)).await.ok();
            let within: Vec<_> =
                expected.iter().copied().filter(|hit| hit.0 <= 30 && hit.1 != query).collect();
            assert_eq!(hits(&found), within, "{filter}");
        }
        let count = filtered(&format!("/v1/items/count?{}", label.trim_start_matches('&')), filter);
        let count = send(&app, get(&count)).await.ok()["count"].as_u64().unwrap();
        assert_eq!(count as usize, nearest(codes.get(1), passes).len());
    }
    // New metadata is effective in filters as soon as it is acknowledged.
    let path = filtered("/v1/search?k=1&metadata=true", &cases[3].0);
    for moved in [8_u64, 9, 7] {
        let other = value!({"taken": 70, "note": [1, {"deep": null}]});
        let item = send(&app, put(&format!("/v1/items/{moved}/metadata"), &other)).await.ok();
        assert_eq!(item["metadata"], other);
        for id in [7, 8, 9].iter().filter(|id| **id != moved) {
            send(&app, put(&format!("/v1/items/{id}/metadata"), &value!({}))).await.ok();
        }
        let found = send(&app, json(&path, "{\"id\":5}")).await.ok();
        assert_eq!(
            (&found["hits"][0]["id"], &found["hits"][0]["metadata"]),
            (&moved.into(), &other)
        );
        assert_eq!(found["hits"][0].get("external_id"), None);
    }
    let plain = send(&app, json("/v1/search?k=1", "{\"id\":7}")).await.ok();
    assert_eq!(plain["hits"][0].get("metadata"), None, "it was not asked for");
}

#[tokio::test]
async fn metadata_is_there_after_a_restart_and_goes_with_its_item() {
    let fixture = Fixture::new();
    let picture = png(400);
    {
        let app = fixture.writable_app();
        declare(&app).await;
        let text = metadata(1).to_string();
        let parts: [(&str, &[u8]); 3] =
            [("image", &picture), ("metadata", text.as_bytes()), ("external_id", b"IMG 1.png")];
        let added = send(&app, fields("/v1/items", &parts)).await;
        assert_eq!(added.status, 201);
        assert_eq!(
            (&added.json()["metadata"], &added.json()["external_id"]),
            (&metadata(1), &"IMG 1.png".into())
        );
        send(&app, fields("/v1/items", &parts)).await.refused(409, "external_id_taken", "item 60");
        send(&app, put("/v1/items/3/metadata", &metadata(2))).await.ok();
    }
    let app = fixture.writable_app();
    let item = send(&app, get("/v1/items/60")).await.ok();
    assert_eq!((&item["metadata"], &item["external_id"]), (&metadata(1), &"IMG 1.png".into()));
    let known = send(&app, get("/v1/items?external_id=IMG%201.png")).await.ok();
    assert_eq!((ids(&known["items"]), &known["next"]), (vec![60], &Value::Null));
    assert_eq!(ids(&send(&app, get("/v1/items?external_id=other")).await.ok()["items"]), [0; 0]);
    let with = |camera: &str| {
        filtered("/v1/items", &value!({"must": [{"field": "camera", "equals": camera}]}))
    };
    assert_eq!(ids(&send(&app, get(&with("south"))).await.ok()["items"]), [60]);
    assert_eq!(ids(&send(&app, get(&with("north"))).await.ok()["items"]), [3]);
    let declared = send(&app, get("/v1/fields")).await.ok();
    let camera = &declared["fields"]["camera"];
    assert_eq!(
        (&camera["type"], &camera["items"], &camera["distinct"]),
        (&"keyword".into(), &2.into(), &2.into())
    );
    assert_eq!(
        camera["values"],
        value!([{"value": "north", "items": 1}, {"value": "south", "items": 1}])
    );
    // Metadata is deleted with their item, and the external id becomes free.
    assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/60")).await.status, 204);
    assert_eq!(ids(&send(&app, get(&with("south"))).await.ok()["items"]), [0; 0]);
    let parts: [(&str, &[u8]); 2] = [("image", &picture), ("external_id", b"IMG 1.png")];
    let again = send(&app, fields("/v1/items", &parts)).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["id"], &again.json()["metadata"]),
        (201, &61.into(), &value!({}))
    );
}

#[tokio::test]
async fn an_index_built_anew_has_the_metadata_of_the_items_that_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), 1);
    {
        let app = open(dir.path(), Access::Writable);
        declare(&app).await;
        for id in [3, 5] {
            send(&app, put(&format!("/v1/items/{id}/metadata"), &metadata(id))).await.ok();
        }
    }
    // After the rebuild, item 5 is a different one.
    let (before, other) = (codes(1, ITEMS), codes(2, ITEMS));
    let code = |id: usize| if id == 5 { other.get(id) } else { before.get(id) };
    let bytes: Vec<u8> = (0..ITEMS as usize).flat_map(|id| code(id).to_vec()).collect();
    let kept = dir.path().with_extension("kept");
    std::fs::rename(dir.path().join("catalogue.redb"), &kept).unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    let set = CodeSet::new(Codes::new(BITS, bytes).unwrap());
    IndexBuilder::default().build(&set, dir.path()).unwrap();
    std::fs::rename(&kept, dir.path().join("catalogue.redb")).unwrap();
    let app = open(dir.path(), Access::Writable);
    assert_eq!(send(&app, get("/v1/items/3")).await.ok()["metadata"], metadata(3));
    assert_eq!(send(&app, get("/v1/items/5")).await.ok()["metadata"], value!({}));
    let all = filtered("/v1/items", &value!({"must": [{"field": "taken", "exists": true}]}));
    assert_eq!(ids(&send(&app, get(&all)).await.ok()["items"]), [3]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), 1);
    let app = open(dir.path(), Access::Writable);
    let north = filtered("/v1/search", &value!({"must": [{"field": "camera", "equals": "north"}]}));
    let nothing = send(&app, json(&north, "{\"id\":1}")).await;
    nothing.refused(400, "invalid_filter", "PUT /v1/fields");
    assert!(!dir.path().join("catalogue.redb").exists(), "a search makes no file");
    assert_eq!(send(&app, get("/v1/fields")).await.ok(), value!({"fields": {}}));
    send(&app, put("/v1/items/7/metadata", &value!({"camera": 7, "taken": 1}))).await.ok();
    let text = value!({"fields": {"camera": "keyword"}});
    send(&app, put("/v1/fields", &text)).await.refused(
        400,
        "invalid_metadata",
        "item 7: the field `camera`",
    );
    assert_eq!(
        send(&app, get("/v1/fields")).await.ok(),
        value!({"fields": {}}),
        "it stays as it was"
    );
    send(&app, put("/v1/items/7/metadata", &value!({"taken": 1}))).await.ok();
    declare(&app).await;
    for (body, says) in [
        (value!({"camera": 7}), "`camera` is declared as `keyword`"),
        (value!({"taken": "x"}), "`taken` is declared as `number`"),
        (value!({"note": "x".repeat(17_000)}), "at most 16384"),
    ] {
        send(&app, put("/v1/items/7/metadata", &body)).await.refused(400, "invalid_metadata", says);
        let item = value!({"code": to_hex(&[7; 8]), "metadata": body}).to_string();
        send(&app, json("/v1/items", &item)).await.refused(400, "invalid_metadata", says);
        let batch = format!("{{\"items\":[{{\"code\":\"{}\"}},{item}]}}", to_hex(&[8; 8]));
        send(&app, json("/v1/items/batch", &batch)).await.refused(
            400,
            "invalid_metadata",
            "items[1]: ",
        );
    }
    assert_eq!(send(&app, get("/v1/items/7")).await.ok()["metadata"], value!({"taken": 1}));
    assert_eq!(send(&app, get("/v1/items/count")).await.ok()["count"], ITEMS);
    send(&app, put("/v1/items/999/metadata", &value!({}))).await.refused(404, "not_found", "999");
    send(&app, put("/v1/items/7/metadata", &value!([]))).await.refused(
        400,
        "malformed_body",
        "a JSON object",
    );
    send(&app, put("/v1/fields", &value!({"fields": {"a": "date"}}))).await.refused(
        400,
        "malformed_body",
        "date",
    );
    send(&app, put("/v1/fields", &value!({"fields": {"": "bool"}}))).await.refused(
        400,
        "invalid_fields",
        "empty",
    );
    let item = value!({"code": to_hex(&[7; 8]), "external_id": ""}).to_string();
    send(&app, json("/v1/items", &item)).await.refused(400, "invalid_id", "1 to 256 bytes");
    for (filter, says) in [("{}", "no conditions"), ("x", "not the JSON")] {
        let path = format!("/v1/search?filter={filter}");
        send(&app, json(&path.replace("{}", "%7B%7D"), "{\"id\":1}")).await.refused(
            400,
            "invalid_filter",
            says,
        );
    }
    drop(app);
    // A read-only service does not open the catalogue.
    let app = open(dir.path(), Access::ReadOnly);
    send(&app, json(&north, "{\"id\":1}")).await.refused(400, "invalid_filter", "--read-only");
    send(&app, put("/v1/items/7/metadata", &value!({}))).await.refused(
        403,
        "read_only",
        "--read-only",
    );
    send(&app, put("/v1/fields", &text)).await.refused(403, "read_only", "--read-only");
    send(&app, with_method(Method::DELETE, "/v1/items?label=a")).await.refused(
        403,
        "read_only",
        "",
    );
    let first = send(&app, get("/v1/items?limit=2")).await.ok();
    assert_eq!((ids(&first["items"]), &first["next"]), (vec![0, 1], &1.into()));
}
