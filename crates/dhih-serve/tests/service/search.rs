//! `POST /v1/search`: all kinds of queries and all kinds of refusals.

use crate::common::{Fixture, encoded, form, get, json, png, post, send};
use dhih_model::image::FORMATS;
use dhih_serve::Limits;
use image::ImageFormat::{Jpeg, Png, WebP};
use serde_json::{Value, json as value};

const FORM: &str = "multipart/form-data; boundary=edge";

fn distances(answer: &Value) -> Vec<u64> {
    hits(answer).iter().map(|hit| hit["distance"].as_u64().unwrap()).collect()
}

fn hits(answer: &Value) -> &Vec<Value> {
    answer["hits"].as_array().unwrap()
}

#[tokio::test]
async fn an_image_finds_itself_first() {
    let fixture = Fixture::new();
    let answer = send(&fixture.app(), form("image", &png(7))).await.ok();
    let mut keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["bits", "code", "hits", "took_ms"]);
    assert_eq!(answer["bits"], fixture.codes().codes.bits());
    assert_eq!(answer["code"], fixture.codes().codes.to_hex(7));
    assert!(answer["took_ms"]["encode"].as_f64().unwrap() > 0.0);
    assert!(answer["took_ms"]["search"].as_f64().unwrap() >= 0.0);
    assert_eq!(hits(&answer).len(), 20, "k is 20 when not given");
    assert_eq!(distances(&answer)[0], 0);
    assert!(distances(&answer).is_sorted());
    let own = hits(&answer).iter().find(|hit| hit["id"] == 7).unwrap();
    let mut keys: Vec<_> = own.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["distance", "id", "image_url", "label"]);
    assert_eq!(own["label"], crate::common::CLASSES[1]);
    let image = send(&fixture.app(), get(own["image_url"].as_str().unwrap())).await;
    assert_eq!(
        image::load_from_memory(&image.body).unwrap().into_rgb8().into_raw(),
        crate::common::picture(7)
    );
}

#[tokio::test]
async fn code_id_and_sample_find_the_same_as_the_image() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let by_image = send(&app, form("image", &png(7))).await.ok();
    let code = by_image["code"].as_str().unwrap();
    for body in
        [value!({ "id": 7 }), value!({ "code": code }), value!({ "code": code.to_uppercase() })]
    {
        let answer = send(&app, json("/v1/search", &body.to_string())).await.ok();
        assert_eq!((&answer["hits"], &answer["code"]), (&by_image["hits"], &by_image["code"]));
        assert_eq!(answer["took_ms"]["encode"], 0.0);
    }
    let by_sample = send(&app, json("/v1/search", r#"{"sample":3}"#)).await.ok();
    let by_image = send(&app, form("image", &png(crate::common::ITEMS + 3))).await.ok();
    assert_eq!((&by_sample["hits"], &by_sample["code"]), (&by_image["hits"], &by_image["code"]));
}

#[tokio::test]
async fn hits_are_the_exact_nearest() {
    let fixture = Fixture::new();
    let set = fixture.codes();
    let query = set.codes.get(11);
    let mut expected: Vec<(u64, u64)> = (0u64..)
        .zip(set.codes.iter())
        .map(|(id, code)| {
            let differ = code.iter().zip(query).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            (differ.into(), id)
        })
        .collect();
    expected.sort_unstable();
    let app = fixture.app();
    let radius = expected[20].0;
    for (path, k, radius) in [
        ("/v1/search?k=9", 9, u64::MAX),
        ("/v1/search?k=1000", 1000, u64::MAX),
        (&format!("/v1/search?k=1000&radius={radius}")[..], 1000, radius),
        (&format!("/v1/search?k=3&radius={radius}")[..], 3, radius),
        ("/v1/search?radius=0", 20, 0),
    ] {
        let answer = send(&app, json(path, r#"{"id":11}"#)).await.ok();
        let got: Vec<_> = hits(&answer)
            .iter()
            .map(|hit| (hit["distance"].as_u64().unwrap(), hit["id"].as_u64().unwrap()))
            .collect();
        let within = expected.iter().copied().filter(|hit| hit.0 <= radius).take(k);
        assert_eq!(got, within.collect::<Vec<_>>(), "{path}");
    }
}

#[tokio::test]
async fn codes_are_added_when_asked_for() {
    let fixture = Fixture::new();
    let answer = send(&fixture.app(), json("/v1/search?codes=true", r#"{"id":5}"#)).await.ok();
    for hit in hits(&answer) {
        let row = usize::try_from(hit["id"].as_u64().unwrap()).unwrap();
        assert_eq!(hit["code"], fixture.codes().codes.to_hex(row));
    }
}

#[tokio::test]
async fn ids_of_their_own_are_kept() {
    let ids: Vec<u64> = (0..crate::common::ITEMS as u64).map(|i| u64::MAX - 3 * i).collect();
    let fixture = Fixture::with(1, Some(ids.clone()));
    let app = fixture.app();
    let answer = send(&app, json("/v1/search", &format!("{{\"id\":{}}}", ids[4]))).await.ok();
    let own = hits(&answer).iter().find(|hit| hit["id"] == ids[4]).unwrap();
    assert_eq!((&own["distance"], &own["label"]), (&value!(0), &value!(crate::common::CLASSES[4])));
    let image = send(&app, get(own["image_url"].as_str().unwrap())).await;
    assert_eq!(
        image::load_from_memory(&image.body).unwrap().into_rgb8().into_raw(),
        crate::common::picture(4)
    );
    send(&app, json("/v1/search", r#"{"id":4}"#)).await.refused(404, "not_found", "item 4");
}

#[tokio::test]
async fn k_and_radius_out_of_range_are_refused() {
    let app = Fixture::new().app();
    for (query, says) in [
        ("k=0", "give 1 to 1000"),
        ("k=1001", "k is 1001"),
        ("k=-1", "k"),
        ("k=ten", "k"),
        ("radius=4000", "radius is 4000"),
        ("radius=-1", "radius"),
        ("label=ring&tag=1", "tag"),
    ] {
        let answer = send(&app, json(&format!("/v1/search?{query}"), r#"{"id":1}"#)).await;
        answer.refused(400, "invalid_parameter", says);
    }
}

#[tokio::test]
async fn json_that_names_no_query_is_refused() {
    let fixture = Fixture::new();
    let digits = 2 * fixture.codes().codes.bytes_per_code();
    let app = fixture.app();
    for (body, status, code, says) in [
        ("{}", 400, "missing_query", "`code`, `id`, `sample`, `text` or `vector`"),
        (r#"{"id":1,"sample":1}"#, 400, "ambiguous_query", "more than one"),
        (r#"{"id":"one"}"#, 400, "malformed_body", "JSON"),
        (r#"{"id":1"#, 400, "malformed_body", "JSON"),
        (r#"{"name":1}"#, 400, "malformed_body", "name"),
        ("", 400, "malformed_body", "JSON"),
        (r#"{"code":"00ff"}"#, 400, "invalid_code", &digits.to_string()),
        (r#"{"code":""}"#, 400, "invalid_code", "digits"),
        (&value!({ "code": "g".repeat(digits) }).to_string(), 400, "invalid_code", "digits"),
        (&value!({ "code": "é".repeat(digits) }).to_string(), 400, "invalid_code", "digits"),
        (r#"{"id":9999}"#, 404, "not_found", "item 9999"),
        (r#"{"sample":12}"#, 404, "not_found", "sample 12"),
    ] {
        send(&app, json("/v1/search", body)).await.refused(status, code, says);
    }
}

#[tokio::test]
async fn a_request_without_an_image_is_refused() {
    let app = Fixture::new().app();
    let bare = crate::common::with_method(axum::http::Method::POST, "/v1/search");
    send(&app, bare).await.refused(400, "missing_query", "multipart field `image`");
    send(&app, form("picture", &png(1))).await.refused(400, "missing_image", "no field `image`");
    send(&app, form("image", b"")).await.refused(400, "missing_image", "empty");
    send(&app, post("/v1/search", FORM, "--edge--\r\n")).await.refused(
        400,
        "missing_image",
        "no field",
    );
    let one = "--edge\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx\r\n";
    let two = format!("{one}{one}--edge--\r\n");
    send(&app, post("/v1/search", FORM, two)).await.refused(400, "ambiguous_query", "one image");
}

#[tokio::test]
async fn malformed_multipart_is_refused() {
    let app = Fixture::new().app();
    for (content_type, body) in [
        ("multipart/form-data", "--edge--"),
        (FORM, "no edge at all"),
        (FORM, "--edge\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\ncut o"),
        (FORM, ""),
    ] {
        send(&app, post("/v1/search", content_type, body)).await.refused(
            400,
            "malformed_body",
            "body",
        );
    }
}

#[tokio::test]
async fn other_content_is_refused() {
    let app = Fixture::new().app();
    for content_type in ["text/plain", "", "\u{fffd}"] {
        let answer = send(&app, post("/v1/search", content_type, png(1))).await;
        answer.refused(415, "unsupported_media_type", "multipart/form-data");
    }
    for bytes in [&b"hello"[..], b"RIFF\x04\0\0\0WAVE", b"\0\0\0\x0cftypheic", b"<svg/>", &[0; 64]]
    {
        send(&app, form("image", bytes)).await.refused(415, "not_an_image", FORMATS);
    }
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    send(&app, form("image", heic)).await.refused(
        415,
        "not_an_image",
        "heif-convert IN.heic OUT.jpg",
    );
    send(&app, form("image", b"")).await.refused(400, "missing_image", FORMATS);
}

#[tokio::test]
async fn every_kind_of_picture_is_taken() {
    let app = Fixture::new().app();
    let rgb = image::RgbImage::from_raw(32, 32, crate::common::picture(2)).unwrap();
    let grey = image::DynamicImage::from(rgb.clone()).into_luma8();
    let deep = image::DynamicImage::from(rgb.clone()).into_rgb16();
    let clear = image::DynamicImage::from(rgb.clone()).into_rgba8();
    let large = image::imageops::resize(&rgb, 300, 170, image::imageops::FilterType::Nearest);
    for (what, bytes) in [
        ("JPEG", encoded(rgb.clone(), Jpeg)),
        ("WebP", encoded(rgb, WebP)),
        ("grey", encoded(grey, Png)),
        ("16 bit", encoded(deep, Png)),
        ("transparent", encoded(clear, Png)),
        ("other size", encoded(large, Png)),
        ("1 x 1", encoded(image::RgbImage::new(1, 1), Png)),
        ("1 x 200", encoded(image::RgbImage::new(1, 200), Png)),
        ("CMYK", include_bytes!("data/cmyk.jpg").to_vec()),
    ] {
        let answer = send(&app, form("image", &bytes)).await;
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(hits(&answer.json()).len(), 20, "{what}");
    }
}

#[tokio::test]
async fn broken_pictures_are_refused_without_a_panic() {
    let app = Fixture::new().app();
    let whole = png(1);
    send(&app, form("image", &whole[..40])).await.refused(422, "unusable_image", "cannot be used");
    for end in (0..whole.len()).step_by(whole.len() / 40) {
        let answer = send(&app, form("image", &whole[..end])).await;
        assert!(matches!(answer.status.as_u16(), 400 | 415 | 422), "{end}: {}", answer.status);
        answer.json();
    }
    for at in (8..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        let answer = send(&app, form("image", &flipped)).await;
        assert!(matches!(answer.status.as_u16(), 200 | 415 | 422), "{at}: {}", answer.status);
    }
}

#[tokio::test]
async fn pictures_over_the_limits_are_refused() {
    let fixture = Fixture::new();
    let image = dhih_model::image::Limits { max_side: 64, ..Default::default() };
    let app = fixture.app_with(Limits { image, ..Limits::default() });
    let bytes = encoded(image::RgbImage::new(65, 1), Png);
    send(&app, form("image", &bytes)).await.refused(422, "unusable_image", "cannot be used");
    let bytes = encoded(image::RgbImage::new(64, 1), Png);
    assert_eq!(send(&app, form("image", &bytes)).await.status, 200);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let fixture = Fixture::new();
    let app = fixture.app_with(Limits { max_body_bytes: 5000, ..Limits::default() });
    assert_eq!(send(&app, form("image", &png(1))).await.status, 200);
    send(&app, form("image", &[0; 5000])).await.refused(413, "body_too_large", "smaller");
    let body = format!("{{\"code\":\"{}\"}}", "0".repeat(5000));
    send(&app, json("/v1/search", &body)).await.refused(413, "body_too_large", "smaller");
}
