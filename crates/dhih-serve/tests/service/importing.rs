//! Repeated imports: how files are identified, which were deleted or changed, and which cannot be read.

use std::path::Path;

use axum::Router;
use axum::http::Method;
use dhih_serve::{ImportConfig, Imported, import_into};
use serde_json::Value;

use crate::common::{Fixture, get, picture, png, send, with_method};

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn config(folder: &Path) -> ImportConfig {
    ImportConfig { folder: folder.to_owned(), ..ImportConfig::default() }
}

fn import(fixture: &Fixture, config: &ImportConfig) -> Imported {
    import_into(&fixture.writable(), config).unwrap()
}

/// The numbers of added, changed, known, deleted and skipped files.
fn counts(imported: &Imported) -> [usize; 5] {
    let Imported { added, changed, known, deleted, skipped, .. } = imported;
    [*added, *changed, *known, *deleted, skipped.len()]
}

async fn item(app: &Router, id: u64) -> Value {
    send(app, get(&format!("/v1/items/{id}"))).await.ok()
}

async fn thumbnail(app: &Router, id: u64) -> Vec<u8> {
    let image = send(app, get(&format!("/v1/items/{id}/image"))).await;
    image::load_from_memory(&image.body).unwrap().into_rgb8().into_raw()
}

#[test]
fn folders_with_equal_names_below_them_are_two_sources() {
    let (fixture, cards) = (Fixture::new(), tempfile::tempdir().unwrap());
    let [first, second] = ["card1", "card2"].map(|card| cards.path().join(card));
    for (card, images) in [(&first, 100), (&second, 200)] {
        for i in 0..3 {
            write(card, &format!("DCIM/IMG_{i}.png"), &png(images + i));
        }
    }
    assert_eq!(counts(&import(&fixture, &config(&first))), [3, 0, 0, 0, 0]);
    assert_eq!(counts(&import(&fixture, &config(&second))), [3, 0, 0, 0, 0]);
    assert_eq!(counts(&import(&fixture, &config(&first))), [0, 0, 3, 0, 0]);
    // A memory card that is mounted elsewhere is identified by its label.
    let named =
        |folder: &Path| ImportConfig { source_prefix: Some("cam".into()), ..config(folder) };
    assert_eq!(counts(&import(&fixture, &named(&first))), [3, 0, 0, 0, 0]);
    let elsewhere = cards.path().join("elsewhere");
    std::fs::rename(&first, &elsewhere).unwrap();
    assert_eq!(counts(&import(&fixture, &named(&elsewhere))), [0, 0, 3, 0, 0]);
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_and_what_was_changed_is_replaced() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    for i in 0..3 {
        write(folder.path(), &format!("ring/{i}.png"), &png(100 + i));
    }
    let config = config(folder.path());
    assert_eq!(counts(&import(&fixture, &config)), [3, 0, 0, 0, 0]);
    {
        let app = fixture.writable_app();
        assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/61")).await.status, 204);
    }
    assert_eq!(counts(&import(&fixture, &config)), [0, 0, 2, 1, 0]);
    write(folder.path(), "ring/0.png", &png(300));
    assert_eq!(counts(&import(&fixture, &config)), [0, 1, 1, 1, 0]);
    assert_eq!(counts(&import(&fixture, &config)), [0, 0, 2, 1, 0]);
    {
        let app = fixture.writable_app();
        let changed = item(&app, 60).await;
        assert_eq!((&changed["source"], &changed["label"]), (&"ring/0.png".into(), &"ring".into()));
        assert_eq!(thumbnail(&app, 60).await, picture(300));
        assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 62);
    }
    // An index that is rebuilt from the run's codes gets the changed picture and not the previous one.
    dhih_index::IndexBuilder::default().build(&fixture.codes(), &fixture.file("index")).unwrap();
    {
        let app = fixture.writable_app();
        assert_eq!(thumbnail(&app, 60).await, picture(300));
        assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 62);
    }
    let restored = ImportConfig { restore: true, ..config.clone() };
    assert_eq!(counts(&import(&fixture, &restored)), [1, 0, 2, 0, 0]);
    let app = fixture.writable_app();
    assert_eq!(item(&app, 63).await["source"], "ring/1.png");
}

#[cfg(unix)]
#[tokio::test]
async fn pipes_names_that_are_no_text_and_folders_that_cannot_be_read_stop_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let root = folder.path();
    write(root, "good.png", &png(100));
    std::fs::write(root.join(OsStr::from_bytes(b"caf\xe9.png")), png(101)).unwrap();
    assert!(
        std::process::Command::new("mkfifo").arg(root.join("pipe.jpg")).status().unwrap().success()
    );
    symlink("/dev/zero", root.join("zero.jpg")).unwrap();
    symlink("nothing", root.join("dangling.jpg")).unwrap();
    symlink(".", root.join("circle")).unwrap();
    write(root, "locked/inside.png", &png(102));
    let locked = root.join("locked");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read every folder.
    let reads_all = std::fs::read_dir(&locked).is_ok();
    let imported = import(&fixture, &config(root));
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut skipped: Vec<&str> = imported.skipped.iter().map(|one| &*one.file).collect();
    skipped.sort_unstable();
    let mut expected = vec!["dangling.jpg", "pipe.jpg", "zero.jpg"];
    if !reads_all {
        expected.insert(1, "locked");
    }
    assert_eq!(skipped, expected);
    let added = if reads_all { 3 } else { 2 };
    assert_eq!(imported.added, added);
    let again = import(&fixture, &config(root));
    assert_eq!(counts(&again), [3 - added, 0, added, 0, 3]);
    let app = fixture.writable_app();
    assert_eq!(item(&app, 60).await["source"], "caf\\xE9.png");
}

#[test]
fn pictures_are_known_by_their_content_and_nothing_is_left_out_without_a_word() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let root = folder.path();
    for (i, name) in ["a.jfif", "b.JPG_large", "c", "ring/d.png"].into_iter().enumerate() {
        write(root, name, &png(100 + i));
    }
    for name in [".hidden.png", "@eaDir/x.png", "lost+found/y.png"] {
        write(root, name, &png(200));
    }
    write(root, "notes.txt", b"not a picture");
    let imported = import(&fixture, &config(root));
    assert_eq!(counts(&imported), [4, 0, 0, 0, 0]);
    let left_out = serde_json::to_value(&imported.left_out).unwrap();
    let expected = serde_json::json!({"helper_folder": 2, "hidden": 1, "other_file": 1});
    assert_eq!(left_out, expected);
}

#[test]
fn a_strict_import_adds_nothing_where_a_file_cannot_be_used() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let root = folder.path();
    write(root, "good.png", &png(100));
    write(root, "notes.txt", b"not a picture");
    write(root, ".hidden.png", b"not a picture");
    let strict = ImportConfig { strict: true, ..config(root) };
    assert_eq!(counts(&import(&fixture, &strict)), [1, 0, 0, 0, 0]);
    let broken = png(101);
    for (name, bytes) in [("page.jpg", &b"<html>"[..]), ("half.png", &broken[..40])] {
        write(root, "new.png", &png(102));
        write(root, name, bytes);
        let refused = import_into(&fixture.writable(), &strict).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("--strict"), "{refused}");
        std::fs::remove_file(root.join(name)).unwrap();
    }
    assert_eq!(counts(&import(&fixture, &strict)), [1, 0, 1, 0, 0]);
}

/// Writes a catalogue of format 1 with an item, the path that it was imported from, and the id of a deleted item.
fn write_format_1(fixture: &Fixture, code: &str) {
    use redb::TableDefinition;
    let path = fixture.file("index/catalogue.redb");
    let database = redb::Database::create(path).unwrap();
    let change = database.begin_write().unwrap();
    {
        let bytes = |name| TableDefinition::<u64, &[u8]>::new(name);
        let record = serde_json::json!({"code": code, "labels": [2], "source": "ring/0.png"});
        let record = record.to_string().into_bytes();
        change.open_table(bytes("items")).unwrap().insert(60, &*record).unwrap();
        change.open_table(bytes("thumbnails")).unwrap().insert(60, &*png(100)).unwrap();
        let sources = TableDefinition::<&str, u64>::new("sources");
        change.open_table(sources).unwrap().insert("ring/0.png", 60).unwrap();
        let removed = TableDefinition::<u64, ()>::new("removed");
        change.open_table(removed).unwrap().insert(3, ()).unwrap();
        let meta = TableDefinition::<&str, &str>::new("meta");
        let sha = fixture.encoder().model_sha256().to_owned();
        change.open_table(meta).unwrap().insert("model_sha256", &*sha).unwrap();
    }
    change.commit().unwrap();
}

#[tokio::test]
async fn a_catalogue_of_an_earlier_version_knows_its_files_and_no_others() {
    let (fixture, cards) = (Fixture::new(), tempfile::tempdir().unwrap());
    let encoder = fixture.encoder();
    let values = encoder.encode(&picture(100)).unwrap();
    let code = dhih_index::Codes::from_real(encoder.bits() as u32, &values).unwrap().to_hex(0);
    write_format_1(&fixture, &code);
    let [other, same] = ["other", "same"].map(|card| cards.path().join(card));
    write(&other, "ring/0.png", &png(205));
    write(&same, "ring/0.png", &png(100));
    for (folder, expected) in
        [(&other, [1, 0, 0, 0, 0]), (&same, [0, 0, 1, 0, 0]), (&same, [0, 0, 1, 0, 0])]
    {
        assert_eq!(counts(&import(&fixture, &config(folder))), expected);
    }
    // From now on the digest of its content is known as well.
    write(&same, "ring/0.png", &png(206));
    assert_eq!(counts(&import(&fixture, &config(&same))), [0, 1, 0, 0, 0]);
    let app = fixture.writable_app();
    assert_eq!(thumbnail(&app, 60).await, picture(206));
    send(&app, get("/v1/items/3")).await.refused(404, "not_found", "");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 61);
}

#[tokio::test]
async fn metadata_beside_the_pictures_goes_with_them_and_is_brought_up_to_date() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let root = folder.path();
    for i in 0..3 {
        write(root, &format!("cam/{i}.png"), &png(100 + i));
    }
    let table = root.join("table.csv");
    let fields = ["camera=keyword", "taken=number", "public=bool"];
    let fields = fields.map(|field| field.parse().unwrap()).to_vec();
    let import_with = |fixture: &Fixture, path: &Path| {
        let metadata = Some(path.to_owned());
        let config = ImportConfig { metadata, fields: fields.clone(), ..config(root) };
        import_into(&fixture.writable(), &config)
    };
    std::fs::write(&table, "file,external_id,camera,taken,public,note\ncam/0.png,a,north,17.5,true,007\n./cam/1.png,,south,,false,\nlost.png,,,,,x\n").unwrap();
    let imported = import_with(&fixture, &table).unwrap();
    assert_eq!((counts(&imported), imported.described), ([3, 0, 0, 0, 0], 0));
    assert_eq!(imported.unmatched, ["lost.png"]);
    {
        let app = fixture.writable_app();
        let first = item(&app, 60).await;
        assert_eq!(
            first["metadata"],
            serde_json::json!({"camera": "north", "taken": 17.5, "public": true, "note": "007"})
        );
        assert_eq!(first["external_id"], "a");
        assert_eq!(
            item(&app, 61).await["metadata"],
            serde_json::json!({"camera": "south", "public": false})
        );
        assert_eq!(item(&app, 62).await["metadata"], serde_json::json!({}));
    }
    // JSON Lines may repeat the same metadata or change it. Attributes that they omit stay.
    let lines = root.join("lines.jsonl");
    std::fs::write(&lines, "{\"file\":\"cam/0.png\",\"camera\":\"north\",\"taken\":17.5,\"public\":true,\"note\":\"007\"}\n\n{\"file\":\"cam/1.png\",\"camera\":[\"west\"]}\n").unwrap();
    for described in [1, 0] {
        let again = import_with(&fixture, &lines).unwrap();
        assert_eq!((counts(&again), again.described), ([0, 0, 3, 0, 0], described));
    }
    // A changed picture keeps the metadata of its file.
    write(root, "cam/0.png", &png(300));
    assert_eq!(counts(&import(&fixture, &config(root))), [0, 1, 2, 0, 0]);
    {
        let app = fixture.writable_app();
        assert_eq!(item(&app, 60).await["metadata"]["note"], "007");
        assert_eq!(item(&app, 61).await["metadata"], serde_json::json!({"camera": ["west"]}));
        let west = crate::metadata::filtered(
            "/v1/items/count",
            &serde_json::json!({"must": [{"field": "camera", "equals": "west"}]}),
        );
        assert_eq!(send(&app, get(&west)).await.ok()["count"], 1);
    }
    for (text, says) in [
        ("{\"camera\":\"north\"}", "line 1: there is no `file`"),
        ("{\"file\":\"cam/0.png\"}\n{\"file\":\"cam/0.png\"}", "line 2: line 1 names"),
        ("{\"file\":\"cam/0.png\",\"taken\":\"noon\"}", "line 1: the field `taken`"),
        ("{\"file\":\"cam/0.png\",\"external_id\":7}", "7 is no text"),
        (
            "{\"file\":\"cam/0.png\",\"external_id\":\"b\"}\n{\"file\":\"cam/1.png\",\"external_id\":\"b\"}",
            "line 2: line 1 has the external id \"b\", too",
        ),
        ("[]", "line 1"),
    ] {
        std::fs::write(&lines, text).unwrap();
        let refused = import_with(&fixture, &lines).unwrap_err().to_string();
        assert!(refused.contains(says) && refused.contains("lines.jsonl"), "{refused}");
    }
    std::fs::write(&table, "file,taken\ncam/0.png,noon\n").unwrap();
    let refused = import_with(&fixture, &table).unwrap_err().to_string();
    assert!(refused.contains("line 2: the field `taken`"), "{refused}");
    std::fs::write(&table, "file,taken\ncam/0.png\n").unwrap();
    assert!(import_with(&fixture, &table).unwrap_err().to_string().contains("table.csv"));
    let strict = ImportConfig { strict: true, metadata: Some(lines.clone()), ..config(root) };
    std::fs::write(&lines, "{\"file\":\"gone.png\"}").unwrap();
    let refused = import_into(&fixture.writable(), &strict).unwrap_err().to_string();
    assert!(refused.contains("gone.png") && refused.contains("--strict"), "{refused}");
}
