//! An index without a model: it is searched by codes and ids, and changed by codes. Requests that need a model are refused. Changes are
//! written to the index and, if it has one, to its catalogue.

use std::path::Path;

use axum::Router;
use axum::http::Method;
use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Labels, to_hex};
use dhih_serve::{Access, Keys, Limits, Origin, Run, Source, app};
use serde_json::{Value, json as value};

use crate::common::{Fixture, fields, form, get, json, picture, png, send, state, with_method};

const BITS: u32 = 44;
const ITEMS: u64 = 300;

/// Codes, some of which are near each other.
fn codes() -> Codes {
    let mut random = 7_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 20
    };
    let centres: Vec<u64> = (0..20).map(|_| next()).collect();
    let code = |i: usize| centres[i % 20] ^ 1 << (i * 7 % 44) ^ 1 << (i * 13 % 44);
    let bytes = |i: usize| (code(i) & ((1 << BITS) - 1)).to_le_bytes()[..6].to_vec();
    Codes::new(BITS, (0..ITEMS as usize).flat_map(bytes).collect()).unwrap()
}

fn build(dir: &Path, labels: Option<Labels>) -> CodeSet {
    let set = CodeSet { labels, ..CodeSet::new(codes()) };
    IndexBuilder::default().build(&set, dir).unwrap();
    set
}

fn open(dir: &Path, access: Access) -> Router {
    let source = Source::Index { dir: dir.to_owned(), access };
    let run = Run::open(&Origin::Codes, &source).unwrap();
    app(state(run, Limits::default(), Keys::default()))
}

/// All items, ordered by distance to a code, then id.
fn nearest(codes: &Codes, to: &[u8]) -> Vec<(u64, u64)> {
    let distance = |code: &[u8]| code.iter().zip(to).map(|(a, b)| (a ^ b).count_ones()).sum();
    let mut all: Vec<(u32, u64)> = codes.iter().map(distance).zip(0..).collect();
    all.sort_unstable();
    all.into_iter().map(|(distance, id)| (distance.into(), id)).collect()
}

fn hits(answer: &Value) -> Vec<(u64, u64)> {
    let hit = |hit: &Value| (hit["distance"].as_u64().unwrap(), hit["id"].as_u64().unwrap());
    answer["hits"].as_array().unwrap().iter().map(hit).collect()
}

#[tokio::test]
async fn codes_and_ids_find_the_exact_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let codes = build(dir.path(), None).codes;
    let app = open(dir.path(), Access::ReadOnly);
    for id in [0, 17, 299] {
        let expected = nearest(&codes, codes.get(id));
        let by_id = value!({ "id": id }).to_string();
        let by_code = value!({ "code": codes.to_hex(id) }).to_string();
        for body in [&by_id, &by_code] {
            let found = send(&app, json("/v1/search?k=15", body)).await.ok();
            assert_eq!(hits(&found), expected[..15]);
            let found = send(&app, json("/v1/search?k=1000&radius=9", body)).await.ok();
            let within: Vec<_> = expected.iter().copied().filter(|hit| hit.0 <= 9).collect();
            assert_eq!(hits(&found), within);
            assert_eq!(found.get("exact"), None, "nothing was rescored");
        }
        let batch = format!("{{\"queries\":[{by_id},{by_code},{{\"id\":999}}]}}");
        let batch = send(&app, json("/v1/search/batch?k=4", &batch)).await.ok();
        assert_eq!(hits(&batch["answers"][0]), expected[..4]);
        assert_eq!(batch["answers"][0]["hits"], batch["answers"][1]["hits"]);
        assert_eq!(batch["answers"][2]["error"]["code"], "not_found");
        // The near duplicates of the item, without itself.
        let pairs = send(&app, get(&format!("/v1/items/{id}/pairs?radius=9"))).await.ok();
        let others: Vec<_> =
            expected.iter().copied().filter(|hit| hit.0 <= 9 && hit.1 != id as u64).collect();
        assert!(others.len() > 3);
        assert_eq!((hits(&pairs), &pairs["complete"]), (others.clone(), &true.into()));
        assert_eq!((&pairs["code"], &pairs["radius"]), (&codes.to_hex(id).into(), &9.into()));
        for k in [others.len(), others.len() - 1] {
            let path = format!("/v1/items/{id}/pairs?radius=9&k={k}&codes=true");
            let some = send(&app, get(&path)).await.ok();
            let complete = k == others.len();
            assert_eq!((hits(&some), &some["complete"]), (others[..k].to_vec(), &complete.into()));
            let first = others[0].1 as usize;
            assert_eq!(some["hits"][0]["code"], codes.to_hex(first));
        }
    }
    for (query, says) in [
        ("", "`radius` is missing"),
        ("?radius=45", "44 bits"),
        ("?radius=9&k=0", "1 to 1000"),
        ("?radius=9&rerank=true", "within a distance"),
        ("?radius=9&rescore=100", "within a distance"),
    ] {
        let answer = send(&app, get(&format!("/v1/items/3/pairs{query}"))).await;
        answer.refused(400, "invalid_parameter", says);
    }
    let gone = send(&app, get("/v1/items/999/pairs?radius=3")).await;
    gone.refused(404, "not_found", "item 999");
}

#[tokio::test]
async fn what_takes_a_model_a_codec_or_a_run_says_that_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), None);
    let app = open(dir.path(), Access::Writable);
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!(info["search_by"], value!(["code", "id"]));
    for absent in ["model", "codec", "dataset", "map", "store"] {
        assert_eq!(info[absent], Value::Null, "{absent}");
    }
    assert_eq!(info["index"]["vectors"], Value::Null);
    assert_eq!((&info["items"], &info["bits"]), (&ITEMS.into(), &BITS.into()));
    assert_eq!((&info["thumbnails"], &info["writable"]), (&false.into(), &true.into()));
    assert_eq!((&info["samples"], &info["classes"]), (&0.into(), &value!([])));

    let image = png(3);
    send(&app, form("image", &image)).await.refused(422, "no_model", "--run");
    let batch = fields("/v1/search/batch", &[("image", &image)]);
    send(&app, batch).await.refused(422, "no_model", "search_by");
    send(&app, fields("/v1/items", &[("image", &image)])).await.refused(422, "no_model", "--run");
    for path in ["/v1/search", "/v1/items"] {
        let answer = send(&app, json(path, r#"{"vector":[0.5,1]}"#)).await;
        answer.refused(422, "no_codec", "--codec");
    }
    send(&app, json("/v1/search", r#"{"sample":0}"#)).await.refused(422, "no_samples", "no run");
    let rescored = send(&app, json("/v1/search?rescore=50", r#"{"id":0}"#)).await;
    rescored.refused(422, "no_vectors", "--vectors");
    let label = send(&app, json("/v1/search?label=ring", r#"{"id":0}"#)).await;
    label.refused(400, "unknown_label", "no labels");
    let samples = send(&app, get("/v1/samples")).await.ok();
    assert_eq!(samples, value!({ "total": 0, "samples": [] }));
    send(&app, get("/v1/samples/0")).await.refused(404, "not_found", "sample 0");
    let image = send(&app, get("/v1/items/7/image")).await;
    assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/svg+xml"));
    assert_eq!(send(&app, get("/readyz")).await.ok()["items"], ITEMS);
    assert_eq!(send(&app, get("/")).await.status, 200);
}

#[tokio::test]
async fn codes_are_added_and_deleted_in_the_index_itself() {
    let dir = tempfile::tempdir().unwrap();
    let codes = build(dir.path(), Some(Labels::Single(vec![3; ITEMS as usize]))).codes;
    let app = open(dir.path(), Access::Writable);
    let new = "01234567890b";
    let one = value!({ "code": new, "label": 5 }).to_string();
    let added = send(&app, json("/v1/items", &one)).await;
    assert_eq!((added.status.as_u16(), added.header("location")), (201, "/v1/items/300"));
    let added = added.json();
    assert_eq!((&added["code"], &added["label"]), (&value!(new), &value!(5)));
    let found = send(&app, json("/v1/search?radius=0&label=5", &value!({"code": new}).to_string()));
    assert_eq!(hits(&found.await.ok()), [(0, 300)]);

    // All items of a batch are added, or none.
    let taken = value!({ "items": [{ "code": new }, { "code": new, "id": 7 }] }).to_string();
    send(&app, json("/v1/items/batch", &taken)).await.refused(409, "id_taken", "item 7");
    let wrong = value!({ "items": [{ "code": new }, { "code": "xyz" }] }).to_string();
    send(&app, json("/v1/items/batch", &wrong)).await.refused(400, "invalid_code", "items[1]: ");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS + 1);
    let batch = value!({ "items": [
        { "code": new, "id": 1_u64 << 40, "label": 4 }, { "code": codes.to_hex(2), "label": "3" },
    ] });
    let batch = send(&app, json("/v1/items/batch", &batch.to_string())).await;
    assert_eq!(batch.status.as_u16(), 201);
    let ids: Vec<_> =
        batch.json()["items"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [value!(1_u64 << 40), value!((1_u64 << 40) + 1)]);
    for (path, body, code, says) in [
        ("/v1/items", "{}", "missing_item", "`code` or `vector`"),
        ("/v1/items", r#"{"code":"00"}"#, "invalid_code", "digits"),
        ("/v1/items", r#"{"code":"000000000000","label":["1","2"]}"#, "unknown_label", "one label"),
        ("/v1/items", r#"{"code":"000000000000","id":9007199254740992}"#, "invalid_id", "above"),
        ("/v1/items", r#"{"code":"000000000000","name":1}"#, "malformed_body", "name"),
        ("/v1/items/batch", r#"{"items":[]}"#, "invalid_parameter", "no items"),
    ] {
        send(&app, json(path, body)).await.refused(400, code, says);
    }
    let many = format!("{{\"items\":[{}]}}", vec!["{}"; 1001].join(","));
    let many = send(&app, json("/v1/items/batch", &many)).await;
    many.refused(400, "invalid_parameter", "more than 1000 items");
    let form = send(&app, fields("/v1/items/batch", &[("image", b"x")])).await;
    form.refused(415, "unsupported_media_type", "application/json");

    for id in [5, 300] {
        let gone = send(&app, with_method(Method::DELETE, &format!("/v1/items/{id}"))).await;
        assert_eq!(gone.status.as_u16(), 204);
        send(&app, get(&format!("/v1/items/{id}"))).await.refused(404, "not_found", "no item");
    }
    drop(app);
    assert!(!dir.path().join("catalogue.redb").exists(), "nothing but the index is there");
    let index = Index::open(dir.path()).unwrap();
    index.verify().unwrap();
    assert_eq!(index.len() as u64, ITEMS + 1);
    assert!(!index.contains(5) && !index.contains(300));
    assert_eq!(index.code(1 << 40).map(to_hex).as_deref(), Some(new));
    // Several read-only services may serve the same index, and none changes it.
    let readers = [(); 2].map(|()| open(dir.path(), Access::ReadOnly));
    for reader in readers {
        send(&reader, json("/v1/items", &one)).await.refused(403, "read_only", "only searches");
        let gone = send(&reader, with_method(Method::DELETE, "/v1/items/7")).await;
        gone.refused(403, "read_only", "only searches");
        assert_eq!(send(&reader, get("/v1/info")).await.ok()["items"], ITEMS + 1);
    }
}

/// An index that was changed with its model has a catalogue. A change that bypasses the catalogue would be undone at the next start.
#[tokio::test]
async fn the_catalogue_of_an_index_is_kept_without_the_model() {
    let fixture = Fixture::new();
    let added = {
        let app = fixture.writable_app();
        let ids = [100, 101].map(|image| (image, fields("/v1/items", &[("image", &png(image))])));
        let mut added = Vec::new();
        for (image, request) in ids {
            added.push((image, send(&app, request).await.json()["id"].as_u64().unwrap()));
        }
        added
    };
    let [(first, shown), (_, deleted)] = added[..] else { panic!("two were added") };
    let by_code = {
        let app = open(&fixture.file("index"), Access::Writable);
        assert_eq!(send(&app, get("/v1/info")).await.ok()["thumbnails"], true);
        let image = send(&app, get(&format!("/v1/items/{shown}/image"))).await;
        let pixels = image::load_from_memory(&image.body).unwrap().into_rgb8().into_raw();
        assert_eq!(pixels, picture(first));
        let gone = send(&app, with_method(Method::DELETE, &format!("/v1/items/{deleted}"))).await;
        assert_eq!(gone.status.as_u16(), 204);
        let added = send(&app, json("/v1/items", r#"{"code":"01234567890b","label":"ring"}"#));
        let added = added.await.json();
        assert_eq!(added["label"], "ring");
        let image = send(&app, get(added["image_url"].as_str().unwrap())).await;
        assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/svg+xml"));
        added["id"].as_u64().unwrap()
    };
    let app = fixture.writable_app();
    send(&app, get(&format!("/v1/items/{deleted}"))).await.refused(404, "not_found", "no item");
    let item = send(&app, get(&format!("/v1/items/{by_code}"))).await.ok();
    assert_eq!((&item["code"], &item["label"]), (&"01234567890b".into(), &"ring".into()));
    assert_eq!(send(&app, get(&format!("/v1/items/{shown}"))).await.status.as_u16(), 200);
}

/// A service with a model also accepts items as codes. They have no picture.
#[tokio::test]
async fn a_run_takes_codes_as_well() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!(info["search_by"], value!(["image", "code", "id", "sample"]));
    let code = fixture.codes().codes.to_hex(9);
    let added = send(&app, json("/v1/items", &value!({ "code": code, "id": 500 }).to_string()));
    assert_eq!(added.await.status.as_u16(), 201);
    let found = send(&app, form("image", &png(9))).await.ok();
    assert!(hits(&found).contains(&(0, 500)));
    let image = send(&app, get("/v1/items/500/image")).await;
    assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/svg+xml"));
    let answer = send(&app, json("/v1/search", r#"{"vector":[1,2]}"#)).await;
    answer.refused(422, "no_codec", "--codec");
    send(&app, json("/v1/search", r#"{"sample":99}"#)).await.refused(404, "not_found", "sample 99");
}

#[test]
fn what_cannot_be_served_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| {
        let source = Source::Index { dir: path.to_owned(), access: Access::Writable };
        Run::open(&Origin::Codes, &source).unwrap_err().to_string()
    };
    let none = refusal(&dir.path().join("none"));
    assert!(none.contains("none is missing") && none.contains("dhih-index -- build"), "{none}");
    std::fs::write(dir.path().join("MANIFEST"), "rubbish").unwrap();
    let broken = refusal(dir.path());
    assert!(broken.contains("make it anew with"), "{broken}");
}

/// After the index was rebuilt, or changed by others, a reload serves its present state.
#[tokio::test]
async fn an_index_alone_is_reloaded() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), None);
    let app = open(dir.path(), Access::Writable);
    let reload = || with_method(Method::POST, "/v1/admin/reload");
    assert_eq!(send(&app, reload()).await.ok()["items"], ITEMS);
    let few = CodeSet::new(Codes::new(BITS, vec![0; 60]).unwrap());
    let other = tempfile::tempdir().unwrap();
    IndexBuilder::default().build(&few, other.path()).unwrap();
    std::fs::rename(dir.path(), dir.path().with_extension("old")).unwrap();
    std::fs::rename(other.path(), dir.path()).unwrap();
    let changed = send(&app, json("/v1/items", r#"{"code":"000000000000"}"#)).await;
    assert!(changed.status.is_server_error(), "what is in its place is not written to");
    assert_eq!(send(&app, reload()).await.ok()["items"], 10);
    let added = send(&app, json("/v1/items", r#"{"code":"000000000000"}"#)).await;
    assert_eq!((added.status.as_u16(), &added.json()["id"]), (201, &10.into()));
    std::fs::remove_dir_all(dir.path().with_extension("old")).unwrap();
}
