//! Several collections in one service: each has its own codes, keys may be limited to some of them, and the service creates and removes
//! collections.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use dhih_index::{CodeSet, Codes, IndexBuilder, to_hex};
use dhih_serve::{
    Access, Collections, CollectionsConfig, Error, Keys, Limits, QueueConfig, Shared, app,
};
use serde_json::{Value, json as value};

use crate::common::{
    Answer, BITS, Fixture, ITEMS, fields, form, get, json, png, send, with_method, write_run,
};
use crate::metadata::put;

const READ: &str = "read-key-0123456789";
const ADMIN: &str = "admin-key-0123456789";
const PHOTOS: &str = "photos-key-0123456789";

fn collections(folder: &Path, access: Access, keys: Keys) -> dhih_serve::Result<Collections> {
    let shared = Shared::new(Limits::default(), keys, QueueConfig::default());
    let snapshots = Some(folder.with_extension("snapshots"));
    let config = CollectionsConfig {
        default: None,
        folder: Some(folder.to_owned()),
        access,
        snapshots,
        journal_bytes: None,
    };
    Collections::open(Arc::new(shared), config)
}

fn open(folder: &Path) -> Router {
    app(collections(folder, Access::Writable, Keys::default()).unwrap())
}

/// Opens collections that were open until now. A thread that has given its answer may hold their locks for a moment longer.
fn reopen(folder: &Path) -> Router {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match collections(folder, Access::Writable, Keys::default()) {
            Ok(collections) => return app(collections),
            Err(Error::Locked { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn build(dir: &Path, bits: u32, codes: std::ops::Range<u64>) {
    let bytes = codes.flat_map(|code| code.to_le_bytes()[..bits as usize / 8].to_vec());
    let set = CodeSet::new(Codes::new(bits, bytes.collect()).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn delete(path: &str) -> Request<Body> {
    with_method(Method::DELETE, path)
}

fn with(key: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

async fn names(app: &Router) -> Vec<String> {
    let list = send(app, get("/v1/collections")).await.ok();
    let all = list["collections"].as_array().unwrap();
    all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

async fn made(app: &Router, name: &str, like: Value) -> Answer {
    let answer = send(app, put(&format!("/v1/collections/{name}"), &like)).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    answer
}

#[tokio::test]
async fn each_has_its_own_codes_and_paths_without_a_name_are_those_of_default() {
    let folder = tempfile::tempdir().unwrap();
    let dir = |name: &str| folder.path().join(name);
    std::fs::create_dir(dir("photos")).unwrap();
    write_run(&dir("photos"), 0, None, ITEMS, 3);
    build(&dir("default").join("index"), 64, 0..50);
    // A collection may be an index directory itself.
    build(&dir("hashes"), 16, 0..7);
    std::fs::create_dir(dir(".hidden")).unwrap();
    let app = open(folder.path());
    assert_eq!(names(&app).await, ["default", "hashes", "photos"]);
    for (path, items, bits) in [
        ("/v1/info", 50, 64),
        ("/v1/collections/default/info", 50, 64),
        ("/v1/collections/hashes/info", 7, 16),
        ("/v1/collections/photos/info", ITEMS, BITS),
    ] {
        let info = send(&app, get(path)).await.ok();
        assert_eq!((&info["items"], &info["bits"]), (&value!(items), &value!(bits)), "{path}");
    }
    let one = send(&app, get("/v1/collections/photos")).await.ok();
    assert_eq!((&one["items"], &one["writable"]), (&value!(ITEMS), &value!(true)));
    assert_eq!(one["search_by"], value!(["image", "code", "id", "sample"]));
    // Search by picture in a collection with thumbnails.
    let mut search = form("image", &png(7));
    *search.uri_mut() = "/v1/collections/photos/search?k=3".parse().unwrap();
    let found = send(&app, search).await.ok();
    assert_eq!((&found["hits"][0]["id"], &found["hits"][0]["distance"]), (&value!(7), &value!(0)));
    let url = found["hits"][0]["image_url"].as_str().unwrap();
    assert!(url.starts_with("/v1/collections/photos/items/7/image"), "{url}");
    assert_eq!(send(&app, get(url)).await.header("content-type"), "image/png");
    // An added item is in no other collection.
    let added = send(&app, fields("/v1/collections/photos/items", &[("image", &png(99))])).await;
    assert_eq!(added.status, 201);
    let location = added.header("location");
    assert!(location.starts_with("/v1/collections/photos/items/"), "{location}");
    assert_eq!(send(&app, get(location)).await.ok(), added.json());
    let photos = send(&app, get("/v1/collections/photos/items/count")).await.ok();
    assert_eq!(photos["count"], ITEMS + 1);
    assert_eq!(send(&app, get("/v1/items/count")).await.ok()["count"], 50);
    // Readiness and metrics cover all collections.
    assert_eq!(send(&app, get("/readyz")).await.ok()["items"], 50 + 7 + ITEMS + 1);
    let figures = String::from_utf8(send(&app, get("/metrics")).await.body).unwrap();
    assert!(figures.contains("dhih_items 50"), "{figures}");
    assert!(figures.contains("dhih_items{collection=\"hashes\"} 7"), "{figures}");
    for missing in
        ["/v1/collections/none", "/v1/collections/none/info", "/v1/collections/a%20b/info"]
    {
        send(&app, get(missing)).await.refused(404, "no_collection", "");
    }
    send(&app, get("/v1/collections/photos/collections")).await.refused(
        404,
        "not_found",
        "nothing",
    );
    send(&app, get("/v1/collections/photos/session")).await.refused(404, "not_found", "nothing");
}

#[tokio::test]
async fn a_service_begins_with_none_and_makes_and_removes_them() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    let app = open(&folder);
    assert_eq!(names(&app).await, [""; 0]);
    send(&app, get("/v1/info")).await.refused(
        404,
        "no_collection",
        "there is no collection default",
    );
    assert_eq!(send(&app, get("/readyz")).await.ok()["items"], 0);
    let answer = made(&app, "hashes", value!({"bits": 64})).await;
    assert_eq!(answer.header("location"), "/v1/collections/hashes");
    let path = "/v1/collections/hashes";
    let expected = value!({
        "name": "hashes", "items": 0, "bits": 64, "search_by": ["code", "id"], "writable": true, "path": path
    });
    assert_eq!(answer.json(), expected);
    let code = to_hex(&[7; 8]);
    let added =
        send(&app, json(&format!("{path}/items"), &value!({"code": code}).to_string())).await;
    assert_eq!(added.status, 201, "{}", String::from_utf8_lossy(&added.body));
    let search = || json(&format!("{path}/search"), &format!("{{\"code\":\"{code}\"}}"));
    assert_eq!(send(&app, search()).await.ok()["hits"].as_array().unwrap().len(), 1);
    for (name, body, status, word) in [
        ("hashes", value!({"bits": 64}), 409, "collection_exists"),
        ("a%20b", value!({"bits": 64}), 400, "invalid_parameter"),
        (".a", value!({"bits": 64}), 400, "invalid_parameter"),
        ("b", value!({"bits": 0}), 400, "invalid_bits"),
        ("b", value!({"bits": 4097}), 400, "invalid_bits"),
        ("b", value!({"bits": 8, "like": "hashes"}), 400, "malformed_body"),
        ("b", value!({}), 400, "malformed_body"),
        ("b", value!({"bits": 8, "more": 1}), 400, "malformed_body"),
        ("b", value!({"like": "none"}), 404, "no_collection"),
        ("b", value!([8]), 400, "malformed_body"),
    ] {
        send(&app, put(&format!("/v1/collections/{name}"), &body)).await.refused(status, word, "");
    }
    // A directory that is not served was called a collection, which nobody could find or remove.
    std::fs::create_dir(folder.join("begun")).unwrap();
    let refused = send(&app, put("/v1/collections/begun", &value!({"bits": 64}))).await;
    refused.refused(409, "collection_exists", "that is not served");
    std::fs::remove_dir(folder.join("begun")).unwrap();
    made(&app, "default", value!({"like": "hashes"})).await;
    assert_eq!(send(&app, get("/v1/info")).await.ok()["bits"], 64);
    // A created collection and its items exist after a restart.
    drop(app);
    let app = reopen(&folder);
    assert_eq!(names(&app).await, ["default", "hashes"]);
    assert_eq!(send(&app, search()).await.ok()["hits"].as_array().unwrap().len(), 1);
    assert_eq!(send(&app, delete(path)).await.status, 204);
    send(&app, delete(path)).await.refused(404, "no_collection", "hashes");
    send(&app, search()).await.refused(404, "no_collection", "hashes");
    assert_eq!(names(&app).await, ["default"]);
    let left: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["default"]);
    // The name can be used again.
    made(&app, "hashes", value!({"bits": 8})).await;
    assert_eq!(send(&app, get("/v1/collections/hashes/info")).await.ok()["bits"], 8);
}

#[tokio::test]
async fn a_collection_like_another_has_its_model_and_none_of_its_items() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    std::fs::create_dir_all(folder.join("photos")).unwrap();
    write_run(&folder.join("photos"), 0, None, ITEMS, 3);
    let app = open(&folder);
    made(&app, "more", value!({"like": "photos"})).await;
    // The copy of the model belongs to the new collection, so the first one may be removed.
    assert_eq!(send(&app, delete("/v1/collections/photos")).await.status, 204);
    drop(app);
    let app = reopen(&folder);
    let add = fields("/v1/collections/more/items", &[("image", &png(5)), ("label", b"1")]);
    let added = send(&app, add).await;
    assert_eq!(added.status, 201, "{}", String::from_utf8_lossy(&added.body));
    let id = added.json()["id"].clone();
    let mut search = form("image", &png(5));
    *search.uri_mut() = "/v1/collections/more/search".parse().unwrap();
    let found = send(&app, search).await.ok();
    assert_eq!((&found["hits"][0]["id"], &found["hits"][0]["distance"]), (&id, &value!(0)));
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
    let url = found["hits"][0]["image_url"].as_str().unwrap();
    assert_eq!(send(&app, get(url)).await.header("content-type"), "image/png");
    let info = send(&app, get("/v1/collections/more/info")).await.ok();
    assert_eq!((&info["samples"], &info["labels"]), (&value!(0), &value!("single")));
    // Create a third collection like the second one.
    made(&app, "yet-more", value!({"like": "more"})).await;
    let added = send(&app, fields("/v1/collections/yet-more/items", &[("image", &png(6))])).await;
    assert_eq!(added.status, 201, "{}", String::from_utf8_lossy(&added.body));
}

#[tokio::test]
async fn keys_may_be_for_some_collections() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    for name in ["default", "photos", "private"] {
        build(&folder.join(name), 64, 0..5);
    }
    let file = dir.path().join("keys.toml");
    let toml = format!(
        "[[key]]\nname = 'photos'\nrole = 'admin'\nkey = '{PHOTOS}'\ncollections = ['photos', 'none']\n"
    );
    std::fs::write(&file, toml).unwrap();
    let keys = Keys::new(Some(READ), Some(ADMIN)).unwrap().with_keys_file(&file).unwrap();
    let app = app(collections(&folder, Access::Writable, keys).unwrap());
    let list = send(&app, with(PHOTOS, get("/v1/collections"))).await.ok();
    assert_eq!(list["collections"].as_array().unwrap().len(), 1);
    assert_eq!(list["collections"][0]["name"], "photos");
    let all = send(&app, with(READ, get("/v1/collections"))).await.ok();
    assert_eq!(all["collections"].as_array().unwrap().len(), 3);
    let session = send(&app, with(PHOTOS, get("/v1/session"))).await.ok();
    assert_eq!(session["collections"], value!(["none", "photos"]));
    for path in ["/v1/collections/photos", "/v1/collections/photos/items/1"] {
        assert_eq!(send(&app, with(PHOTOS, get(path))).await.status, 200, "{path}");
        send(&app, get(path)).await.refused(401, "unauthorized", "");
    }
    for path in [
        "/v1/info",
        "/v1/items/1",
        "/metrics",
        "/v1/collections/private",
        "/v1/collections/private/items/1",
        "/v1/collections/private/nothing",
        "/v1/collections/unknown/items/1",
        "/v1/collections/unknown/nothing",
    ] {
        send(&app, with(PHOTOS, get(path))).await.refused(403, "forbidden", "other collections");
        // A caller without a key does not learn which collections exist.
        send(&app, get(path)).await.refused(401, "unauthorized", "");
    }
    for name in ["private", "unknown"] {
        let patch = || with_method(Method::PATCH, &format!("/v1/collections/{name}/items"));
        send(&app, patch()).await.refused(401, "unauthorized", "");
        send(&app, with(PHOTOS, patch())).await.refused(403, "forbidden", "other collections");
    }
    let nothing = "/v1/collections/photos/nothing";
    send(&app, with(PHOTOS, get(nothing))).await.refused(404, "not_found", nothing);
    send(&app, with(PHOTOS, get("/v1/collections/none/info"))).await.refused(
        404,
        "no_collection",
        "none",
    );
    assert_eq!(
        send(&app, with(PHOTOS, delete("/v1/collections/photos/items/1"))).await.status,
        204
    );
    let elsewhere = delete("/v1/collections/private/items/1");
    send(&app, with(PHOTOS, elsewhere)).await.refused(403, "forbidden", "other collections");
    // Only an administrator may create and remove collections.
    let make = || put("/v1/collections/new", &value!({"bits": 8}));
    send(&app, with(PHOTOS, make())).await.refused(403, "forbidden", "other collections");
    send(&app, with(READ, make())).await.refused(403, "forbidden", "`admin`");
    let remove = delete("/v1/collections/photos");
    send(&app, with(PHOTOS, remove)).await.refused(403, "forbidden", "other collections");
    assert_eq!(send(&app, with(ADMIN, make())).await.status, 201);
}

#[tokio::test]
async fn what_cannot_be_made_or_removed_says_why() {
    let fixture = Fixture::new();
    let alone = fixture.writable_app();
    let make = || put("/v1/collections/new", &value!({"bits": 8}));
    send(&alone, make()).await.refused(422, "no_collections_dir", "--collections");
    assert_eq!(names(&alone).await, ["default"]);
    send(&alone, delete("/v1/collections/default")).await.refused(422, "no_collections_dir", "");
    let dir = tempfile::tempdir().unwrap();
    build(&dir.path().join("default"), 64, 0..5);
    let reading = app(collections(dir.path(), Access::ReadOnly, Keys::default()).unwrap());
    assert_eq!(names(&reading).await, ["default"]);
    send(&reading, make()).await.refused(403, "read_only", "--read-only");
    send(&reading, delete("/v1/collections/default")).await.refused(403, "read_only", "");
    std::fs::create_dir(dir.path().join("no name")).unwrap();
    let error = collections(dir.path(), Access::ReadOnly, Keys::default()).unwrap_err();
    assert!(error.to_string().contains("is no name of a collection"), "{error}");
    std::fs::rename(dir.path().join("no name"), dir.path().join("empty")).unwrap();
    let error = collections(dir.path(), Access::ReadOnly, Keys::default()).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

/// A folder of runs has a link `latest` to the newest one, whose index would otherwise be opened twice.
#[cfg(unix)]
#[tokio::test]
async fn a_link_to_another_collection_is_no_collection_but_one_to_elsewhere_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    build(&folder.join("a"), 64, 0..5);
    build(&dir.path().join("elsewhere"), 64, 0..6);
    std::os::unix::fs::symlink("a", folder.join("latest")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), folder.join("b")).unwrap();
    assert_eq!(names(&open(&folder)).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_follows_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    build(&folder.join("a"), 64, 0..5);
    build(&folder.join("b"), 64, 0..6);
    let collections = collections(&folder, Access::Writable, Keys::default()).unwrap();
    let app = app(collections.clone());
    build(&dir.path().join("c"), 64, 0..7);
    std::fs::rename(dir.path().join("c"), folder.join("c")).unwrap();
    std::fs::rename(folder.join("b"), dir.path().join("b")).unwrap();
    std::fs::create_dir(folder.join("broken")).unwrap();
    let errors = collections.reload();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("broken"), "{}", errors[0]);
    assert_eq!(names(&app).await, ["a", "c"]);
    assert_eq!(send(&app, get("/v1/collections/c/info")).await.ok()["items"], 7);
}

#[tokio::test]
async fn each_has_its_own_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("collections");
    build(&folder.join("default"), 64, 0..5);
    build(&folder.join("other"), 64, 0..6);
    let app = open(&folder);
    for path in ["/v1", "/v1/collections/other"] {
        let make = with_method(Method::POST, &format!("{path}/admin/snapshots?name=one"));
        assert_eq!(send(&app, make).await.status, 201, "{path}");
        let list = send(&app, get(&format!("{path}/admin/snapshots"))).await.ok();
        assert_eq!(list["snapshots"].as_array().unwrap().len(), 1, "{list}");
    }
    let snapshots = folder.with_extension("snapshots");
    assert_eq!(dhih_index::Index::open(snapshots.join("one")).unwrap().len(), 5);
    let other = snapshots.join(".collections/other/one");
    assert_eq!(dhih_index::Index::open(other).unwrap().len(), 6);
}
