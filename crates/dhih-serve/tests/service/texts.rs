//! A run with a text tower is searched by texts, with the codes of the tower. A run without one refuses texts, and a tower of another model
//! is not served.

use std::path::Path;

use axum::http::StatusCode;
use candle_core::{DType, Device};
use dhih_index::Codes;
use dhih_model::codec::{Codec, CodecConfig, Map, Method};
use dhih_model::text::{
    FitText, MAX_TEXT_BYTES, TextConfig, TextEncoder, TextFamily, TextTokenizer, TextTower,
};
use dhih_model::{Parameters, Pretrained};
use dhih_serve::{Keys, Limits, app};
use serde_json::{Value, json as value};

use crate::common::{BITS, Fixture, form, get, json, png, send, state};

const DIMS: usize = 48;

/// Writes `text.safetensors` into a run: a small tower with embeddings of `dims` numbers, for codes of this model.
pub(crate) fn write_text(run: &Path, model_sha256: &str, dims: usize) {
    let config = TextConfig {
        family: TextFamily::Clip,
        vocabulary: 108,
        context: 12,
        channels: 16,
        hidden: 24,
        heads: 4,
        depth: 2,
        features: dims,
    };
    let parameters = Parameters::seeded(5);
    TextTower::new(config, &parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    let weights = run.join("weights.safetensors");
    let tensors: std::collections::HashMap<_, _> =
        parameters.snapshot().unwrap().into_iter().collect();
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let weights = Pretrained::read(&weights).unwrap();
    let tower = &TextTower::from_pretrained(config, &weights, &Device::Cpu).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../dhih-model/tests/data/text/clip.json");
    let tokenizer = &TextTokenizer::read(Path::new(file), &config).unwrap();
    let (method, nested) = (Method::Rotation, Vec::new());
    let codec = CodecConfig { method, dims, bits: BITS, normalize: false, nested };
    let matrix = (0..BITS * dims).map(|i| if i % dims == i / dims { 1.0 } else { 0.1 }).collect();
    let map = Map::Linear { matrix, centre: vec![0.0; dims] };
    let codec = &Codec::new(codec, map).unwrap();
    let fit = FitText { tower, weights: &weights, tokenizer, codec, model_sha256 };
    fit.write(&run.join("text.safetensors")).unwrap();
}

pub(crate) fn fixture() -> Fixture {
    let fixture = Fixture::new();
    write_text(fixture.run(), fixture.encoder().model_sha256(), DIMS);
    fixture
}

/// The code of a text by the tower of the run.
pub(crate) fn code_of(fixture: &Fixture, text: &str) -> String {
    let encoder = TextEncoder::load(&fixture.file("text.safetensors"), &Device::Cpu).unwrap();
    let values = encoder.encode(&[text]).unwrap();
    Codes::from_real(BITS as u32, &values).unwrap().to_hex(0)
}

fn body(text: &str) -> String {
    value!({ "text": text }).to_string()
}

#[tokio::test]
async fn a_text_finds_what_is_nearest_to_its_code() {
    let fixture = fixture();
    let app = fixture.app();
    let mut seen = Vec::new();
    for text in ["a red car", "A photo of a DOG!", "the cat's cars"] {
        let found = send(&app, json("/v1/search?k=9", &body(text))).await.ok();
        assert_eq!(found["code"], code_of(&fixture, text));
        assert!(found["took_ms"]["encode"].as_f64().unwrap() > 0.0);
        let by_code = value!({ "code": found["code"] }).to_string();
        let by_code = send(&app, json("/v1/search?k=9", &by_code)).await.ok();
        assert_eq!(found["hits"], by_code["hits"]);
        assert_eq!(found["hits"].as_array().unwrap().len(), 9);
        seen.push(found["code"].clone());
    }
    seen.dedup();
    assert!(seen.len() > 1, "texts are told apart: {seen:?}");
    // Pictures are encoded as before, and the values of a text order hits as those of a picture do.
    send(&app, form("image", &png(7))).await.ok();
    let path = "/v1/search?k=60&rerank=true";
    let reranked = send(&app, json(path, &body("a red car"))).await.ok();
    let ids = |answer: &Value| {
        let hits = answer["hits"].as_array().unwrap();
        let mut ids: Vec<u64> = hits.iter().map(|hit| hit["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let plain = send(&app, json("/v1/search?k=60", &body("a red car"))).await.ok();
    assert_eq!(ids(&plain), ids(&reranked));
}

#[tokio::test]
async fn texts_are_searched_in_batches_and_one_that_is_refused_leaves_the_others_be() {
    let fixture = fixture();
    let app = fixture.app();
    let batch = value!({ "queries": [{"text": "a dog"}, {"text": " "}, {"id": 3}, {"text": "a", "id": 1}] });
    let batch = send(&app, json("/v1/search/batch?k=5", &batch.to_string())).await.ok();
    let answers = batch["answers"].as_array().unwrap();
    let alone = send(&app, json("/v1/search?k=5", &body("a dog"))).await.ok();
    assert_eq!(answers[0]["hits"], alone["hits"]);
    assert_eq!(answers[1]["error"]["code"], "unusable_text");
    assert_eq!(answers[2]["hits"][0]["distance"], 0);
    assert_eq!(answers[3]["error"]["code"], "ambiguous_query");
}

#[tokio::test]
async fn texts_that_cannot_be_used_are_refused() {
    let fixture = fixture();
    let app = fixture.app();
    for (body, status, code, says) in [
        (body(""), 422, "unusable_text", "empty"),
        (body(" \n "), 422, "unusable_text", "empty"),
        (body(&"a".repeat(MAX_TEXT_BYTES + 1)), 422, "unusable_text", "at most 4096"),
        (r#"{"text": 5}"#.to_owned(), 400, "malformed_body", "JSON"),
        (r#"{"text": "a", "id": 1}"#.to_owned(), 400, "ambiguous_query", "more than one"),
    ] {
        send(&app, json("/v1/search", &body)).await.refused(status, code, says);
    }
    let longest = body(&"a ".repeat(MAX_TEXT_BYTES / 2));
    assert_eq!(send(&app, json("/v1/search", &longest)).await.status, StatusCode::OK);
    let rescored = send(&app, json("/v1/search?rescore=20", &body("a dog"))).await;
    rescored.refused(422, "no_vectors", "nothing can be rescored");
}

#[tokio::test]
async fn info_and_description_tell_whether_texts_are_taken() {
    let fixture = fixture();
    let search_by = async |fixture: &Fixture| {
        send(&fixture.app(), get("/v1/info")).await.ok()["search_by"].clone()
    };
    assert_eq!(search_by(&fixture).await, value!(["image", "text", "code", "id", "sample"]));
    let without = Fixture::new();
    assert_eq!(search_by(&without).await, value!(["image", "code", "id", "sample"]));
    let refused = send(&without.app(), json("/v1/search", &body("a dog"))).await;
    refused.refused(422, "no_text_tower", "clip-vit-b32");
    let description = send(&without.app(), get("/openapi.json")).await.ok();
    let text = &description["components"]["schemas"]["SearchBody"]["properties"]["text"];
    let told = text["description"].as_str().unwrap().replace(',', "");
    assert!(told.contains(&format!("1 to {MAX_TEXT_BYTES} bytes")), "{told}");
}

#[tokio::test]
async fn a_reload_brings_a_text_tower_and_takes_it_away() {
    let fixture = Fixture::new();
    let state = state(fixture.load().unwrap(), Limits::default(), Keys::default());
    let app = app(state.clone());
    let ask = || json("/v1/search", &body("a dog"));
    send(&app, ask()).await.refused(422, "no_text_tower", "text tower");
    write_text(fixture.run(), fixture.encoder().model_sha256(), DIMS);
    state.reload().unwrap();
    send(&app, ask()).await.ok();
    std::fs::remove_file(fixture.file("text.safetensors")).unwrap();
    state.reload().unwrap();
    send(&app, ask()).await.refused(422, "no_text_tower", "text tower");
}

#[test]
fn a_tower_of_another_model_or_a_damaged_one_is_not_served() {
    let fixture = fixture();
    let file = fixture.file("text.safetensors");
    write_text(fixture.run(), &"ab".repeat(32), DIMS);
    let refusal = fixture.refusal();
    assert!(refusal.contains("text.safetensors") && refusal.contains("abab"), "{refusal}");
    std::fs::write(&file, b"no tower").unwrap();
    let refusal = fixture.refusal();
    assert!(refusal.contains("text.safetensors") && refusal.contains("photos"), "{refusal}");
}
