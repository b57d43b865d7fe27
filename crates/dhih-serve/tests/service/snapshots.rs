//! Snapshots while items are added and deleted, compaction that erases deleted data from all files, and `check`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use dhih_index::{CodeSet, Codes, IndexBuilder, to_hex};
use dhih_serve::{Access, Keys, Limits, Origin, QueueConfig, Run, Source, app, check_index};
use serde_json::{Value, json as value};

use crate::common::{Fixture, fields, get, png, post, program, send, with_method};
use crate::metadata::{declare, filtered, open, put};

fn build(dir: &Path) {
    let set = CodeSet::new(Codes::new(64, (0..80).collect()).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn open_with(dir: &Path, snapshots: &Path) -> Router {
    let source = Source::Index { dir: dir.to_owned(), access: Access::Writable };
    let run = Run::open(&Origin::Codes, &source).unwrap();
    let state =
        dhih_serve::AppState::new(run, Limits::default(), Keys::default(), QueueConfig::default());
    app(Arc::new(state.unwrap().with_snapshots(Some(snapshots.to_owned()))))
}

fn line(id: u64) -> String {
    let code = to_hex(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    value!({"code": code, "id": id, "external_id": format!("x{id}"), "metadata": {"taken": id}})
        .to_string()
}

async fn add(app: &Router, ids: std::ops::Range<u64>) {
    let lines: Vec<String> = ids.map(line).collect();
    let made =
        send(app, post("/v1/items/batch", "application/x-ndjson", lines.join("\n"))).await.ok();
    assert_eq!(made["failures"], 0);
}

async fn count(app: &Router) -> u64 {
    send(app, get("/v1/items/count")).await.ok()["count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_of_one_moment_whatever_is_changed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (index, snapshots) = (dir.path().join("index"), dir.path().join("snapshots"));
    build(&index);
    let app = open_with(&index, &snapshots);
    declare(&app).await;
    add(&app, 100..150).await;
    // Batches of ten are added during snapshots. A snapshot has complete batches, and everything that was acknowledged before it was
    // requested.
    let adding = tokio::spawn({
        let app = app.clone();
        async move {
            for batch in 0..40 {
                add(&app, 1000 + 10 * batch..1010 + 10 * batch).await;
            }
        }
    });
    let mut made = Vec::new();
    for number in 0..6 {
        let before = count(&app).await;
        let name = format!("number-{number}");
        let path = format!("/v1/admin/snapshots?name={name}");
        let answer = send(&app, with_method(Method::POST, &path)).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(
            (&answer.json()["name"], &answer.json()["done"]),
            (&name.clone().into(), &true.into())
        );
        made.push((name, before, count(&app).await));
    }
    adding.await.unwrap();
    for (name, before, after) in made {
        let copy = snapshots.join(&name);
        let checked = check_index(&copy).unwrap();
        assert!(checked.agree() && checked.foreign_metadata.is_empty(), "{checked:?}");
        let copied = open(&copy, Access::Writable);
        let items = count(&copied).await;
        assert!((before..=after).contains(&items), "{before}, {items}, {after}");
        assert_eq!(items % 10, 0, "a part of a change is in a snapshot");
        // The first ten items have no metadata; all others have.
        let all =
            filtered("/v1/items/count", &value!({"must": [{"field": "taken", "exists": true}]}));
        assert_eq!(send(&copied, get(&all)).await.ok()["count"], items - 10);
        // The snapshot is an independent index.
        add(&copied, 9000..9001).await;
    }
    let list = send(&app, get("/v1/admin/snapshots")).await.ok();
    let names: Vec<&str> = list["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["number-0", "number-1", "number-2", "number-3", "number-4", "number-5"]);
    for (name, status, code) in [
        ("number-0", 409, "snapshot_exists"),
        ("..", 400, "invalid_parameter"),
        ("a%2Fb", 400, "invalid_parameter"),
        ("a.partial", 400, "invalid_parameter"),
        ("", 400, "invalid_parameter"),
    ] {
        let path = format!("/v1/admin/snapshots?name={name}");
        send(&app, with_method(Method::POST, &path)).await.refused(status, code, "");
    }
    let unnamed = send(&app, with_method(Method::POST, "/v1/admin/snapshots")).await;
    assert!(unnamed.json()["name"].as_str().unwrap().starts_with("snapshot-"));
    // Nothing remains of an interrupted snapshot of the same name.
    fs::create_dir_all(snapshots.join("late.partial")).unwrap();
    fs::write(snapshots.join("late.partial/rest"), "x").unwrap();
    let list = send(&app, get("/v1/admin/snapshots")).await.ok();
    let late: Vec<&Value> =
        list["snapshots"].as_array().unwrap().iter().filter(|one| one["done"] == false).collect();
    assert_eq!((late.len(), &late[0]["name"]), (1, &"late".into()));
    assert_eq!(
        send(&app, with_method(Method::POST, "/v1/admin/snapshots?name=late")).await.status,
        201
    );
    assert!(!snapshots.join("late/rest").exists() && !snapshots.join("late.partial").exists());
}

/// Whether any file of a directory contains these bytes.
fn has_bytes(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().flatten().any(|file| {
        let content = fs::read(file.path()).unwrap_or_default();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn nothing_of_what_was_deleted_is_in_any_file_after_compaction() {
    let fixture = Fixture::new();
    let index = fixture.file("index");
    let app = fixture.writable_app();
    declare(&app).await;
    let secret = "the name of somebody who wants to be forgotten";
    let metadata = value!({ "camera": secret }).to_string();
    let mut thumbnails = Vec::new();
    for number in [300, 301] {
        let image = png(number);
        let external_id = format!("secret id {number}");
        let parts: [(&str, &[u8]); 3] = [
            ("image", &image),
            ("metadata", metadata.as_bytes()),
            ("external_id", external_id.as_bytes()),
        ];
        let item = send(&app, fields("/v1/items", &parts)).await.json();
        let thumbnail = send(&app, get(item["image_url"].as_str().unwrap())).await.body;
        thumbnails.push((item["id"].as_u64().unwrap(), thumbnail));
    }
    let kept = value!({"camera": "what stays is here all the same"});
    send(&app, put("/v1/items/7/metadata", &kept)).await.ok();
    // The metadata of one item is replaced, and two items are deleted.
    let replaced = "a former remark about item eight";
    send(&app, put("/v1/items/8/metadata", &value!({ "camera": replaced }))).await.ok();
    send(&app, put("/v1/items/8/metadata", &value!({}))).await.ok();
    for (id, _) in &thumbnails {
        assert_eq!(
            send(&app, with_method(Method::DELETE, &format!("/v1/items/{id}"))).await.status,
            204
        );
    }
    let code = thumbnails[0].1.clone();
    let secrets: [&[u8]; 5] =
        [secret.as_bytes(), replaced.as_bytes(), b"secret id 300", b"secret id 301", &code];
    assert!(secrets.iter().any(|bytes| has_bytes(&index, bytes)), "the test finds what is there");
    let compacted = send(&app, with_method(Method::POST, "/v1/admin/compact")).await.ok();
    assert!(
        compacted["bytes_before"].as_u64() > Some(0) && compacted["bytes_after"].as_u64() > Some(0)
    );
    for bytes in secrets {
        assert!(!has_bytes(&index, bytes), "{:?} is still there", String::from_utf8_lossy(bytes));
    }
    assert!(has_bytes(&index, b"what stays is here all the same"));
    // Searches and changes work afterwards.
    assert_eq!(send(&app, get("/v1/items/7")).await.ok()["metadata"], kept);
    let filter =
        filtered("/v1/items/count", &value!({"must": [{"field": "camera", "exists": true}]}));
    assert_eq!(send(&app, get(&filter)).await.ok()["count"], 1);
    let again = send(&app, fields("/v1/items", &[("image", &png(400))])).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["id"]),
        (201, &62.into()),
        "their ids are not given again"
    );
    assert_eq!(
        send(&app, with_method(Method::POST, "/v1/admin/compact?forget=true")).await.status,
        200
    );
    drop(app);
    let checked = check_index(&index).unwrap();
    assert!(checked.agree(), "{checked:?}");
    assert_eq!((checked.items, checked.catalogued), (61, Some(1)));
    let app = fixture.writable_app();
    assert_eq!(send(&app, get("/v1/items/7")).await.ok()["metadata"], kept);
    assert_eq!(send(&app, get("/v1/items/62")).await.status, 200);
}

#[tokio::test]
async fn who_may_not_make_a_snapshot_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let app = open(dir.path(), Access::Writable);
    for request in [with_method(Method::POST, "/v1/admin/snapshots"), get("/v1/admin/snapshots")] {
        send(&app, request).await.refused(422, "no_snapshot_dir", "--snapshot-dir");
    }
    assert_eq!(
        send(&app, with_method(Method::POST, "/v1/admin/compact")).await.status,
        200,
        "without a catalogue, too"
    );
    drop(app);
    let app = open(dir.path(), Access::ReadOnly);
    send(&app, with_method(Method::POST, "/v1/admin/compact")).await.refused(403, "read_only", "");
    send(&app, with_method(Method::POST, "/v1/admin/snapshots")).await.refused(
        403,
        "read_only",
        "",
    );
}

#[tokio::test]
async fn check_tells_in_what_index_and_catalogue_differ() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let check = || {
        let output =
            program().args(["check", "--json", "--index"]).arg(dir.path()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), json, String::from_utf8(output.stderr).unwrap())
    };
    let (status, json, _) = check();
    assert_eq!((status, &json["items"], &json["catalogued"]), (Some(0), &10.into(), &Value::Null));
    {
        let app = open(dir.path(), Access::Writable);
        add(&app, 100..103).await;
        send(&app, with_method(Method::DELETE, "/v1/items/2")).await;
        let (status, _, stderr) = check();
        assert!(status == Some(1) && stderr.contains("in use"), "{stderr}");
    }
    let (status, json, _) = check();
    assert_eq!((status, &json["catalogued"], &json["outdated"]), (Some(0), &3.into(), &value!([])));
    // A rebuilt index lacks the added items and contains the deleted one.
    build(dir.path());
    let (status, json, stderr) = check();
    assert_eq!((&json["outdated"], &json["removed"]), (&value!([100, 101, 102]), &value!([2])));
    assert!(status == Some(1) && stderr.contains("does not agree"), "{stderr}");
    drop(open(dir.path(), Access::Writable));
    assert_eq!(check().0, Some(0), "the service has made it agree");
    // Flip a bit of a segment.
    let files = fs::read_dir(dir.path()).unwrap().flatten().map(|file| file.path());
    let is_segment = |path: &std::path::PathBuf| path.to_string_lossy().contains("segment-");
    let segment =
        files.filter(is_segment).max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (status, _, stderr) = check();
    assert!(status == Some(1) && !stderr.contains("agree"), "{stderr}");
}
