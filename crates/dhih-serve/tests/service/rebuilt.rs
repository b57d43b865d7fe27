//! An index was rebuilt from other pictures. The bug: index and catalogue were compared only by id, so an added picture vanished, and its
//! thumbnail was shown for the new item with its id.

use axum::Router;
use axum::http::Method;
use dhih_index::{CodeSet, Codes, IndexBuilder, Labels};
use serde_json::Value;

use crate::common::{Fixture, fields, get, picture, png, send, with_method};

/// The codes of pictures by the run's own model.
fn codes_of(fixture: &Fixture, pictures: std::ops::Range<usize>) -> CodeSet {
    let encoder = fixture.encoder();
    let pixels: Vec<u8> = pictures.clone().flat_map(picture).collect();
    let values = encoder.encode(&pixels).unwrap();
    CodeSet {
        labels: Some(Labels::Single(vec![0; pictures.len()])),
        classes: crate::common::CLASSES.map(String::from).to_vec(),
        model_sha256: Some(encoder.model_sha256().to_owned()),
        ..CodeSet::new(Codes::from_real(encoder.bits() as u32, &values).unwrap())
    }
}

fn build(fixture: &Fixture, codes: &CodeSet) {
    IndexBuilder::default().build(codes, &fixture.file("index")).unwrap();
}

async fn item(app: &Router, id: u64) -> Value {
    send(app, get(&format!("/v1/items/{id}"))).await.ok()
}

/// The pixels of a thumbnail; `None` for the placeholder.
async fn thumbnail(app: &Router, id: u64) -> Option<Vec<u8>> {
    let image = send(app, get(&format!("/v1/items/{id}/image"))).await;
    assert_eq!(image.status, 200);
    let is_picture = image.header("content-type") != "image/svg+xml";
    is_picture.then(|| image::load_from_memory(&image.body).unwrap().into_rgb8().into_raw())
}

#[tokio::test]
async fn what_was_added_keeps_its_picture_under_a_new_id() {
    let fixture = Fixture::new();
    let added = 777;
    let code = {
        let app = fixture.writable_app();
        let parts = [("image", &png(added)[..]), ("label", b"ring")];
        let item = send(&app, fields("/v1/items", &parts)).await.json();
        assert_eq!(item["id"], 60);
        assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/3")).await.status, 204);
        item["code"].clone()
    };
    let others = codes_of(&fixture, 200..300);
    build(&fixture, &others);
    for _ in 0..2 {
        let app = fixture.writable_app();
        assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 101);
        // The new item with this id is another one, and does not have the thumbnail and source of the old one.
        let new = item(&app, 60).await;
        assert_eq!((&new["code"], &new["source"]), (&others.codes.to_hex(60).into(), &Value::Null));
        assert_eq!(thumbnail(&app, 60).await, None);
        let moved = item(&app, 100).await;
        assert_eq!((&moved["code"], &moved["label"]), (&code, &"ring".into()));
        assert_eq!(moved["source"], "b c.png");
        assert_eq!(thumbnail(&app, 100).await, Some(picture(added)));
        // The deleted item was a different one, so the new one stays.
        assert_eq!(item(&app, 3).await["code"], others.codes.to_hex(3));
    }
    let app = fixture.writable_app();
    let next = send(&app, fields("/v1/items", &[("image", &png(1))])).await.json();
    assert_eq!(next["id"], 101);
    drop(app);
    // The first index again: the added item exists once, and deleted items stay deleted.
    build(&fixture, &fixture.codes());
    let app = fixture.writable_app();
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 61);
    assert_eq!(thumbnail(&app, 100).await, Some(picture(added)));
    send(&app, get("/v1/items/3")).await.refused(404, "not_found", "");
}

#[tokio::test]
async fn an_item_that_took_the_place_of_a_deleted_one_takes_it_again() {
    let fixture = Fixture::new();
    {
        let app = fixture.writable_app();
        assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/5")).await.status, 204);
        let parts = [("image", &png(778)[..]), ("id", b"5")];
        assert_eq!(send(&app, fields("/v1/items", &parts)).await.status, 201);
    }
    build(&fixture, &fixture.codes());
    let app = fixture.writable_app();
    assert_eq!(thumbnail(&app, 5).await, Some(picture(778)));
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], 60);
}

/// The run's own codes, except for some rows.
fn mixed(fixture: &Fixture, is_own: impl Fn(usize) -> bool) -> CodeSet {
    let (own, others) = (fixture.codes(), codes_of(fixture, 200..260));
    let of = |row| if is_own(row) { own.codes.get(row) } else { others.codes.get(row) };
    let bytes: Vec<u8> = (0..60).flat_map(|row| of(row).to_vec()).collect();
    CodeSet { codes: Codes::new(own.codes.bits(), bytes).unwrap(), ..others }
}

#[tokio::test]
async fn thumbnails_of_the_gallery_are_shown_for_its_own_codes_alone() {
    let fixture = Fixture::new();
    let own = fixture.codes();
    // Two ids were reused. A read-only service cannot know that.
    let codes = mixed(&fixture, |row| ![4, 9].contains(&row));
    assert!([4, 9].iter().all(|row| codes.codes.get(*row) != own.codes.get(*row)));
    build(&fixture, &codes);
    let app = fixture.app();
    for id in 0..60 {
        let is_own = ![4, 9].contains(&id);
        let expected = is_own.then(|| picture(id as usize));
        assert_eq!(thumbnail(&app, id).await, expected, "item {id}");
    }
}

#[tokio::test]
async fn an_index_of_other_pictures_has_no_thumbnail_where_a_code_is_equal_by_chance() {
    let fixture = Fixture::new();
    build(&fixture, &mixed(&fixture, |row| [4, 9].contains(&row)));
    for app in [fixture.app(), fixture.writable_app()] {
        for id in [4, 5, 9] {
            assert_eq!(thumbnail(&app, id).await, None, "item {id}");
        }
    }
}
