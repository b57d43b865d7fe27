//! `POST /v1/encode`: images, texts and vectors get the same codes as from the library, and inputs that cannot be encoded are refused as in
//! a search.

use dhih_index::Codes;
use dhih_serve::{Access, Keys, Limits, app};
use serde_json::{Value, json as value};

use crate::common::{BITS, Fixture, fields, form, get, json, picture, png, post, send, state};
use crate::texts;
use crate::uploads::base64;
use crate::vectors::{Coded, DIMS, vectors};

const PATH: &str = "/v1/encode";

fn values(answer: &Value) -> Vec<f32> {
    let values = answer["values"].as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn an_image_gets_the_code_that_a_search_by_it_has() {
    let fixture = Fixture::new();
    let app = fixture.app();
    let image = png(7);
    let expected = fixture.encoder().encode(&picture(7)).unwrap();
    let searched = send(&app, form("image", &image)).await.ok();
    for request in [
        fields("/v1/encode?values=true", &[("image", &image)]),
        post("/v1/encode?values=true", "image/png", image.clone()),
        json("/v1/encode?values=true", &value!({ "image": base64(&image) }).to_string()),
    ] {
        let answer = send(&app, request).await.ok();
        let mut keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["bits", "code", "took_ms", "values"]);
        assert_eq!((&answer["bits"], &answer["code"]), (&value!(BITS), &searched["code"]));
        assert_eq!(values(&answer), expected, "real values are given as they are");
        assert!(answer["took_ms"].as_f64().unwrap() > 0.0);
    }
    let plain = send(&app, fields(PATH, &[("image", &image)])).await.ok();
    assert_eq!(plain.get("values"), None, "values come when they are asked for");
}

#[tokio::test]
async fn texts_and_vectors_get_the_codes_of_tower_and_codec() {
    let fixture = texts::fixture();
    let app = fixture.app();
    let answer = send(&app, json("/v1/encode?values=true", r#"{"text":"a red car"}"#)).await.ok();
    let code = Codes::from_real(BITS as u32, &values(&answer)).unwrap();
    assert_eq!(answer["code"], code.to_hex(0));
    assert_eq!(answer["code"], texts::code_of(&fixture, "a red car"));

    let coded = Coded::new(None);
    let app = coded.app(Access::ReadOnly);
    let vector = vectors(1, 9);
    let answer = send(&app, json(PATH, &value!({ "vector": vector }).to_string())).await.ok();
    assert_eq!(answer["code"], dhih_index::to_hex(&coded.code(&vector)));
    let short = value!({ "vector": &vector[1..] }).to_string();
    let dims = DIMS.to_string();
    send(&app, json(PATH, &short)).await.refused(422, "unusable_vector", &dims);
    let answer = send(&app, post(PATH, "image/png", png(1))).await;
    answer.refused(422, "no_model", "search_by");
}

#[tokio::test]
async fn what_cannot_be_encoded_is_refused() {
    let app = Fixture::new().app();
    for (body, status, code, says) in [
        ("{}", 400, "missing_query", "`image`, `text` or `vector`"),
        (r#"{"id":1}"#, 400, "malformed_body", "id"),
        (r#"{"code":"00"}"#, 400, "malformed_body", "code"),
        (r#"{"image":"AAAA","text":"a"}"#, 400, "ambiguous_query", "more than one"),
        (r#"{"image":""}"#, 400, "missing_image", "empty"),
        (r#"{"image":"AAAA"}"#, 415, "not_an_image", "JPEG"),
        (r#"{"text":"a"}"#, 422, "no_text_tower", "text tower"),
        (r#"{"vector":[1]}"#, 422, "no_codec", "codec"),
    ] {
        send(&app, json(PATH, body)).await.refused(status, code, says);
    }
    let cut = png(1)[..60].to_vec();
    send(&app, post(PATH, "image/png", cut)).await.refused(422, "unusable_image", "cannot");
    send(&app, post(PATH, "image/jpeg", "")).await.refused(400, "missing_image", "empty");
    send(&app, post(PATH, "text/plain", "a")).await.refused(415, "unsupported_media_type", "image");
    let bare = crate::common::with_method(axum::http::Method::POST, PATH);
    send(&app, bare).await.refused(400, "missing_query", "nothing to encode");
    let two = fields(PATH, &[("image", &png(1)), ("image", &png(2))]);
    send(&app, two).await.refused(400, "ambiguous_query", "one image");
    for query in ["?values=1", "?k=5"] {
        let answer = send(&app, fields(&format!("{PATH}{query}"), &[("image", &png(1))])).await;
        answer.refused(400, "invalid_parameter", "");
    }
    assert_eq!(send(&app, get(PATH)).await.status, 405);
}

#[tokio::test]
async fn a_batch_is_encoded_as_its_inputs_are_and_one_that_is_refused_leaves_the_others_be() {
    const BATCH: &str = "/v1/encode/batch";
    let fixture = texts::fixture();
    let app = fixture.app();
    let code = async |request| send(&app, request).await.ok()["code"].clone();
    let images = [png(1), png(2)];
    let image = code(fields(PATH, &[("image", &images[0])])).await;
    let other = code(fields(PATH, &[("image", &images[1])])).await;
    let text = code(json(PATH, r#"{"text":"a red car"}"#)).await;
    let inputs = value!({ "inputs": [
        { "image": base64(&images[0]) }, { "text": "a red car" }, {}, { "vector": [1] }, { "image": "AAAA" },
    ] });
    let answer = send(&app, json(&format!("{BATCH}?values=true"), &inputs.to_string())).await.ok();
    let answers = answer["answers"].as_array().unwrap();
    assert_eq!((&answers[0]["code"], &answers[1]["code"]), (&image, &text));
    assert_eq!((values(&answers[0]).len(), values(&answers[1]).len()), (BITS, BITS));
    let refused: Vec<_> = answers[2..].iter().map(|answer| &answer["error"]["code"]).collect();
    assert_eq!(refused, ["missing_query", "no_codec", "not_an_image"]);

    let two = fields(BATCH, &[("image", &images[0]), ("image", &images[1])]);
    let answer = send(&app, two).await.ok();
    assert_eq!((&answer["answers"][0]["code"], &answer["answers"][1]["code"]), (&image, &other));

    for (count, says) in [(0, "no inputs"), (33, "more than 32")] {
        let inputs = value!({ "inputs": vec![value!({ "text": "a" }); count] }).to_string();
        send(&app, json(BATCH, &inputs)).await.refused(400, "invalid_parameter", says);
    }
    send(&app, json(BATCH, r#"{"inputs":[{"id":1}]}"#)).await.refused(400, "malformed_body", "id");
    let alone = post(BATCH, "image/png", png(1));
    send(&app, alone).await.refused(415, "unsupported_media_type", "sent to /v1/encode");
}

#[tokio::test]
async fn encoding_needs_the_key_that_reading_needs() {
    let fixture = Fixture::new();
    let keys = Keys::new(Some("read-key-0123456789"), None).unwrap();
    let app = app(state(fixture.load().unwrap(), Limits::default(), keys));
    let mut request = post(PATH, "image/png", png(1));
    send(&app, post(PATH, "image/png", png(1))).await.refused(401, "unauthorized", "key");
    request.headers_mut().insert("x-api-key", "read-key-0123456789".parse().unwrap());
    send(&app, request).await.ok();
}
