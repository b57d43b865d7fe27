//! Labels and metadata in the store: searches that are narrowed by them find what they find over an index, and hits show them.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use dhih_index::{CodeSet, IndexBuilder, Labels};
use dhih_serve::postgres::{Error, LoadConfig, Loaded, Loader};
use dhih_serve::{Access, Keys, Limits, Origin, Run, Source, app};
use serde_json::{Value, json as value};

use super::{
    codes::{Kind, items},
    common::{get, json, send, state},
    servers::{Servers, Size},
};

const FIELDS: [&str; 3] = ["camera=keyword", "taken=number", "public=bool"];

/// Items of four named classes, of which some have none.
fn labelled(count: usize) -> CodeSet {
    let set = items(64, count, Kind::Learned(30), 3);
    let labels = (0..count as i64).map(|row| if row % 9 == 4 { Labels::NONE } else { row % 4 });
    CodeSet {
        labels: Some(Labels::Single(labels.collect())),
        classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
        ..set
    }
}

/// The metadata of the item in a row; of some there is none.
fn metadata(row: usize) -> Option<Value> {
    let camera = ["north", "south", "größer \"x\"", "a\n\\b"][row % 4];
    match row % 5 {
        0 => None,
        1 => Some(value!({ "camera": camera, "taken": row as i64 - 50, "note": "not declared" })),
        2 => Some(
            value!({ "camera": [camera, "all"], "public": row.is_multiple_of(2), "taken": 0.5 * row as f64 }),
        ),
        3 => Some(value!({ "public": true, "camera": [] })),
        _ => Some(value!({ "taken": [row, -1e300, 1.5e-7], "camera": null })),
    }
}

fn put(path: &str, body: &Value) -> Request<Body> {
    let request = Request::put(path).header(header::CONTENT_TYPE, "application/json");
    request.body(body.to_string().into()).unwrap()
}

fn filtered(path: &str, filter: &Value) -> String {
    let text = filter.to_string();
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}filter={escaped}")
}

fn router(source: &Source) -> Router {
    app(state(Run::open(&Origin::Codes, source).unwrap(), Limits::default(), Keys::default()))
}

/// A file of metadata by ids, as JSON Lines.
fn lines(dir: &Path, rows: impl Iterator<Item = Value>) -> PathBuf {
    let file = dir.join("metadata.jsonl");
    let lines: Vec<String> = rows.map(|row| row.to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    file
}

fn load(servers: &Servers, set: &CodeSet, metadata: PathBuf) -> Result<Loaded, Error> {
    let fields = FIELDS.map(|field| field.parse().unwrap()).to_vec();
    let config =
        LoadConfig { metadata: Some(metadata), fields, ..LoadConfig::new(servers.store()) };
    Loader::new(config)?.stage(vec![set.clone()])?.switch()
}

/// What is to be the same, whatever is searched.
fn part(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("took_ms");
    answer.as_object_mut().unwrap().remove("exhaustive");
    for hit in answer["hits"].as_array_mut().unwrap() {
        hit.as_object_mut().unwrap().remove("image_url");
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_narrowed_as_over_an_index() {
    let servers = Servers::of(Size::shards(2));
    let dir = tempfile::tempdir().unwrap();
    let set = labelled(3000);
    let ids = set.ids.clone().unwrap();
    let index = dir.path().join("index");
    IndexBuilder::default().build(&set, &index).unwrap();
    let local = router(&Source::Index { dir: index, access: Access::Writable });
    let declared = value!({"fields": {"camera": "keyword", "taken": "number", "public": "bool"}});
    send(&local, put("/v1/fields", &declared)).await.ok();
    // The first rows alone have metadata: the others are let through by what an item must not have.
    for (row, id) in ids.iter().enumerate().take(300) {
        if let Some(metadata) = metadata(row) {
            send(&local, put(&format!("/v1/items/{id}/metadata"), &metadata)).await.ok();
        }
    }
    let rows = ids.iter().enumerate().take(300).filter_map(|(row, id)| {
        let mut metadata = metadata(row)?;
        metadata["id"] = value!(id);
        Some(metadata)
    });
    let unknown = value!({"id": 12, "camera": "north"});
    let loaded = load(&servers, &set, lines(dir.path(), rows.chain([unknown]))).unwrap();
    assert_eq!((loaded.rows, &loaded.unmatched[..]), (3000, &["12".to_owned()][..]));
    let store = router(&Source::Postgres(servers.store()));

    let one = |condition: Value| value!({ "must": [condition] });
    let filters = [
        one(value!({"field": "camera", "equals": "north"})),
        one(value!({"field": "camera", "equals": "größer \"x\""})),
        one(value!({"field": "camera", "any": ["a\n\\b", "all", "nul\0"]})),
        one(value!({"field": "camera", "any": []})),
        one(value!({"field": "camera", "range": {"gte": "all", "lt": "south"}})),
        one(value!({"field": "camera", "range": {"gt": "north\0", "lte": "south\0"}})),
        one(value!({"field": "taken", "range": {"gte": -20, "lt": 70.5}})),
        one(value!({"field": "taken", "range": {"lt": -1e299}})),
        one(value!({"field": "taken", "equals": 1.5e-7})),
        one(value!({"field": "public", "equals": true})),
        one(value!({"field": "public", "range": {"lt": true}})),
        one(value!({"field": "camera", "exists": true})),
        one(value!({"field": "camera", "exists": false})),
        value!({"must_not": [{"field": "camera", "exists": true}, {"field": "public", "equals": true}]}),
        value!({"should": [{"field": "public", "equals": false}, {"field": "taken", "equals": 6}]}),
        value!({"should": []}),
        value!({
            "must": [{"should": [{"field": "camera", "equals": "all"}, {"must_not": [{"field": "taken", "exists": true}]}]}],
            "must_not": [{"field": "camera", "equals": "south"}],
        }),
    ];
    let body = format!(r#"{{"id":{}}}"#, ids[7]);
    let mut paths: Vec<String> = Vec::new();
    for query in
        ["?k=5", "?k=1000&metadata=true", "?k=1000&radius=20", "?k=3&radius=0", "?k=40&label=b"]
    {
        let path = format!("/v1/search{query}");
        paths.extend(filters.iter().map(|filter| filtered(&path, filter)));
    }
    paths.extend(
        ["/v1/search?label=a", "/v1/search?label=3&label=b&k=1000", "/v1/search?metadata=true"]
            .map(String::from),
    );
    let mut found_some = 0;
    for path in &paths {
        let expected = part(send(&local, json(path, &body)).await.ok());
        let found = part(send(&store, json(path, &body)).await.ok());
        assert_eq!(found, expected, "{path}");
        found_some += usize::from(!found["hits"].as_array().unwrap().is_empty());
    }
    assert!(found_some * 2 > paths.len(), "{found_some} of {}", paths.len());
    let fields = send(&store, get("/v1/fields")).await.ok();
    assert_eq!(fields, send(&local, get("/v1/fields")).await.ok());
    for id in [ids[0], ids[1], ids[4], ids[2999]] {
        let item = async |app| {
            let mut item = send(app, get(&format!("/v1/items/{id}"))).await.ok();
            item.as_object_mut().unwrap().remove("image_url");
            item
        };
        assert_eq!(item(&store).await, item(&local).await);
    }
    assert_eq!(send(&store, get("/v1/info")).await.ok()["labels"], "single");
    let unknown = filtered("/v1/search", &one(value!({"field": "lens", "exists": true})));
    send(&store, json(&unknown, &body)).await.refused(
        400,
        "invalid_filter",
        "camera, public, taken",
    );

    // A generation of codes alone.
    servers.load(&items(64, 50, Kind::Random, 1));
    let store = router(&Source::Postgres(servers.store()));
    let id = items(64, 50, Kind::Random, 1).ids.unwrap()[0];
    let body = format!(r#"{{"id":{id}}}"#);
    let path = filtered("/v1/search", &filters[0]);
    send(&store, json(&path, &body)).await.refused(
        400,
        "invalid_filter",
        "dhih-serve load --metadata",
    );
    assert_eq!(
        send(&store, json("/v1/search?metadata=true", &body)).await.ok()["hits"][0]["metadata"],
        value!({})
    );
}

#[test]
fn several_labels_an_item_and_ids_of_the_user_are_kept() {
    let servers = Servers::of(Size::shards(1));
    let dir = tempfile::tempdir().unwrap();
    let set = items(16, 60, Kind::Random, 5);
    let ids = set.ids.clone().unwrap();
    let values = (0..60_u8).flat_map(|row| [row % 2, u8::from(row % 3 == 0), 0]).collect();
    let labels = Some(Labels::MultiHot { classes: 3, values });
    let classes = ["x", "y", "z"].map(String::from).to_vec();
    let set = CodeSet { labels, classes, ..set };
    let rows = [
        value!({"id": ids[3], "external_id": "three"}),
        value!({"id": ids[4].to_string(), "camera": "n"}),
    ];
    load(&servers, &set, lines(dir.path(), rows.into_iter())).unwrap();
    let app = router(&Source::Postgres(servers.store()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = |path: String| runtime.block_on(send(&app, get(&path))).ok();
    let item = answer(format!("/v1/items/{}", ids[3]));
    assert_eq!((&item["label"], &item["external_id"]), (&value!(["x", "y"]), &value!("three")));
    let item = answer(format!("/v1/items/{}", ids[4]));
    assert_eq!((&item["label"], &item["metadata"]), (&value!([]), &value!({"camera": "n"})));
    let hits = runtime
        .block_on(send(&app, json("/v1/search?k=60&label=y", &format!(r#"{{"id":{}}}"#, ids[0]))));
    let mut found: Vec<u64> = hits.ok()["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_u64().unwrap())
        .collect();
    found.sort_unstable();
    let mut expected: Vec<u64> = ids.iter().copied().step_by(3).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn metadata_that_cannot_be_loaded_is_refused_before_anything_is() {
    let servers = Servers::of(Size::shards(1));
    let dir = tempfile::tempdir().unwrap();
    let set = items(16, 60, Kind::Random, 5);
    let ids = set.ids.clone().unwrap();
    for (rows, says) in [
        (vec![value!({"camera": "north"})], "line 1: there is no `id`"),
        (vec![value!({"id": -1})], "line 1: the id -1 is no whole number"),
        (vec![value!({"id": "07"})], "line 1: the id \"07\" is no whole number"),
        (vec![value!({"id": 1}), value!({"id": "1"})], "line 2: line 1 names \"1\", too"),
        (vec![value!({"id": 1, "taken": "late"})], "declared as `number`, and is given a text"),
        (
            vec![value!({"id": 1, "external_id": "a"}), value!({"id": 2, "external_id": "a"})],
            "line 2: line 1 has the external id \"a\", too",
        ),
        (vec![value!({"id": ids[0], "camera": "a\0b"})], "U+0000"),
    ] {
        let error = load(&servers, &set, lines(dir.path(), rows.into_iter())).unwrap_err();
        assert!(matches!(error, Error::Metadata { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let missing = load(&servers, &set, dir.path().join("none.csv")).unwrap_err();
    assert!(missing.to_string().contains("none.csv"), "{missing}");
    let several = Some(Labels::MultiHot { classes: 1, values: vec![1; 60] });
    let (one, two) = (
        CodeSet { labels: Some(Labels::Single(vec![0; 60])), ..set.clone() },
        CodeSet { labels: several, ids: Some((0..60).collect()), ..set },
    );
    let error = servers.loader().stage(vec![one, two]).err().unwrap();
    assert!(error.to_string().contains("one label an item, and some have several"), "{error}");
}
