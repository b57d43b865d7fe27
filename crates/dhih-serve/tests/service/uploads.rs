//! Pictures as base64 in JSON and as whole bodies: they are searched and added like those of forms, and have the same limits.

use base64::{Engine, engine::general_purpose::STANDARD};
use dhih_serve::Limits;
use image::ImageFormat::Bmp;
use serde_json::json as value;

use crate::common::{Fixture, ITEMS, encoded, fields, form, get, json, png, post, send};

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn body(image: &[u8]) -> String {
    value!({ "image": base64(image) }).to_string()
}

/// A picture whose file has more than this many bytes.
fn large(bytes: usize) -> Vec<u8> {
    let side = (bytes as f64 / 3.0).sqrt().ceil() as u32;
    let noise = |x: u32, y: u32| image::Rgb([x as u8, y as u8, (x * y) as u8]);
    let file = encoded(image::RgbImage::from_fn(side, side, noise), Bmp);
    assert!(file.len() > bytes);
    file
}

#[tokio::test]
async fn a_picture_is_found_however_it_comes() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let by_form = send(&app, form("image", &png(7))).await.ok();
    for request in [
        post("/v1/search", "image/png", png(7)),
        // The format is detected from the bytes, not from the media type.
        post("/v1/search", "image/jpeg; q=1", png(7)),
        json("/v1/search", &body(&png(7))),
    ] {
        let answer = send(&app, request).await.ok();
        assert_eq!((&answer["code"], &answer["hits"]), (&by_form["code"], &by_form["hits"]));
        assert!(answer["took_ms"]["encode"].as_f64().unwrap() > 0.0);
    }
    let batch = value!({"queries": [{"id": 3}, {"image": base64(&png(7))}, {"image": base64(b"text")}, {"image": base64(&png(8))}, {}]});
    let answers = send(&app, json("/v1/search/batch", &batch.to_string())).await.ok();
    let answers = answers["answers"].as_array().unwrap();
    assert_eq!(answers[1]["hits"], by_form["hits"]);
    assert_eq!(answers[0]["code"], fixture.codes().codes.to_hex(3));
    assert_eq!(answers[3]["code"], fixture.codes().codes.to_hex(8));
    assert_eq!(answers[2]["error"]["code"], "not_an_image");
    assert_eq!(answers[4]["error"]["code"], "missing_query");
    let alone = post("/v1/search/batch", "image/png", png(7));
    send(&app, alone).await.refused(415, "unsupported_media_type", "/v1/search");
}

#[tokio::test]
async fn a_picture_is_added_by_json_as_by_a_form() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let by_form = [
        ("image", &png(3)[..]),
        ("label", b"ring"),
        ("external_id", b"a"),
        ("metadata", b"{\"n\":1}"),
    ];
    let by_form = send(&app, fields("/v1/items", &by_form)).await;
    let body = value!({
        "image": base64(&png(3)), "label": "ring", "external_id": "b", "metadata": {"n": 1}, "id": 500
    });
    let by_json = send(&app, json("/v1/items", &body.to_string())).await;
    assert_eq!((by_form.status.as_u16(), by_json.status.as_u16()), (201, 201));
    let (by_form, by_json) = (by_form.json(), by_json.json());
    assert_eq!((&by_json["id"], &by_json["external_id"]), (&value!(500), &value!("b")));
    assert_eq!(by_json["source"], value!(null), "JSON has no file's name");
    for key in ["label", "code", "metadata"] {
        assert_eq!(by_form[key], by_json[key], "{key}");
    }
    let thumbnail = |item: &serde_json::Value| get(item["image_url"].as_str().unwrap());
    let thumbnails = [send(&app, thumbnail(&by_form)).await, send(&app, thumbnail(&by_json)).await];
    assert_eq!(thumbnails[0].body, thumbnails[1].body);
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS + 2);
}

#[tokio::test]
async fn a_picture_in_json_that_cannot_be_used_is_refused() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let code = fixture.codes().codes.to_hex(0);
    let both = value!({"image": base64(&png(1)), "code": code}).to_string();
    for (path, body, status, code, says) in [
        ("/v1/search", r#"{"image":"%"}"#, 400, "malformed_body", "base64"),
        ("/v1/search", r#"{"image":"data:image/png;base64,AAAA"}"#, 400, "malformed_body", "comma"),
        ("/v1/search", r#"{"image":[1]}"#, 400, "malformed_body", "base64"),
        ("/v1/search", r#"{"image":""}"#, 400, "missing_image", "empty"),
        ("/v1/search", r#"{"image":"AAAA"}"#, 415, "not_an_image", "JPEG"),
        ("/v1/search", r#"{"image":"AAAA","id":1}"#, 400, "ambiguous_query", "more than one"),
        ("/v1/items", &both, 400, "ambiguous_item", "one of them"),
        ("/v1/items", r#"{"image":"AAAA"}"#, 415, "not_an_image", "JPEG"),
        ("/v1/items/batch", r#"{"items":[{"image":"AAAA"}]}"#, 400, "invalid_parameter", "alone"),
    ] {
        send(&app, json(path, body)).await.refused(status, code, says);
    }
    let cut = &png(1)[..60];
    send(&app, json("/v1/search", &body(cut))).await.refused(422, "unusable_image", "cannot");
    let alone = post("/v1/items", "image/png", png(1));
    send(&app, alone).await.refused(415, "unsupported_media_type", "form");
    let many = vec!["ring"; 65];
    let many = value!({"image": base64(&png(1)), "label": many}).to_string();
    send(&app, json("/v1/items", &many)).await.refused(400, "unknown_label", "at most 64");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS, "nothing was added");
}

/// The bug: JSON was limited to 4 MiB whatever it contained. A picture in it may be as large as the limit for bodies.
#[tokio::test]
async fn a_picture_may_fill_its_body_but_what_is_beside_it_may_not() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let picture = large(5 << 20);
    let by_form = send(&app, form("image", &picture)).await.ok();
    let by_json = send(&app, json("/v1/search", &body(&picture))).await.ok();
    assert_eq!(by_form["hits"], by_json["hits"]);
    let raw = send(&app, post("/v1/search", "image/bmp", picture.clone())).await.ok();
    assert_eq!(by_form["hits"], raw["hits"]);

    let too_large = large(10 << 20);
    let answer = send(&app, json("/v1/search", &body(&too_large))).await;
    answer.refused(413, "body_too_large", "4 MiB beside a picture");
    let answer = send(&app, post("/v1/search", "image/bmp", too_large)).await;
    answer.refused(413, "body_too_large", "smaller");
    let numbers = format!("{{\"vector\":[{}0]}}", "0,".repeat(3 << 20));
    let answer = send(&app, json("/v1/search", &numbers)).await;
    answer.refused(413, "body_too_large", "4 MiB");
    let batch = format!("{{\"queries\":[{}]}}", body(&picture));
    let answer = send(&app, json("/v1/search/batch", &batch)).await;
    answer.refused(413, "body_too_large", "4 MiB");

    let small = Limits { max_body_bytes: 2000, ..Limits::default() };
    let app = fixture.app_with(small);
    let answer = send(&app, json("/v1/search", &body(&picture))).await;
    answer.refused(413, "body_too_large", "smaller");
}
