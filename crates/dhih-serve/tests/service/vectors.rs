//! An index with a codec is searched and changed by vectors. Searches by vector give the same hits as the library, rescored or not, and say
//! how far they are certain.

use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use dhih_index::{
    CodeSet, Codes, Filter, Index, IndexBuilder, Labels, Rescore, VectorSet, VectorType,
};
use dhih_model::codec::{Codec, FitConfig, Method as CodecMethod, Rows, fit};
use dhih_serve::{Access, Keys, Limits, Origin, Run, Source, app};
use serde_json::{Value, json as value};

use crate::acknowledged::{ask, start};
use crate::common::{form, get, json, png, program, send, state, with_method};

pub(crate) const DIMS: usize = 24;
const BITS: usize = 20;
const ITEMS: usize = 400;

struct Vectors(Vec<f32>);

impl Rows for Vectors {
    fn len(&self) -> usize {
        self.0.len() / DIMS
    }

    fn dims(&self) -> usize {
        DIMS
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        to.extend_from_slice(&self.0[rows.start * DIMS..rows.end * DIMS]);
        Ok(())
    }
}

/// Vectors around a few directions.
pub(crate) fn vectors(count: usize, seed: u64) -> Vec<f32> {
    let mut random = seed;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let centres: Vec<f32> = (0..12 * DIMS).map(|_| next()).collect();
    (0..count * DIMS).map(|i| centres[i % (12 * DIMS)] + 0.4 * next()).collect()
}

/// A codec and an index of its codes.
pub(crate) struct Coded {
    dir: tempfile::TempDir,
    codec: Codec,
    numbers: Vec<f32>,
}

impl Coded {
    /// An index that stores vectors as this type, or none.
    pub(crate) fn new(kept: Option<VectorType>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rows = Vectors(vectors(ITEMS, 3));
        let config = FitConfig { method: CodecMethod::Itq, bits: BITS, ..FitConfig::default() };
        let codec = fit(&rows, &config, &mut |_| ()).unwrap();
        codec.save(&dir.path().join("codec.safetensors")).unwrap();
        let codes = Codes::from_real(BITS as u32, &codec.encode(&rows.0).unwrap()).unwrap();
        let set = VectorSet::from_f32(DIMS, &rows.0).unwrap();
        let set = CodeSet {
            labels: Some(Labels::Single((0..ITEMS as i64).map(|i| i % 5).collect())),
            vectors: kept.map(|kept| set.to_type(kept).unwrap()),
            model_sha256: Some(codec.sha256().to_owned()),
            ..CodeSet::new(codes)
        };
        IndexBuilder::default().build(&set, &dir.path().join("index")).unwrap();
        Self { dir, codec, numbers: rows.0 }
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("codec.safetensors")
    }

    fn vector(&self, row: usize) -> &[f32] {
        &self.numbers[row * DIMS..(row + 1) * DIMS]
    }

    pub(crate) fn code(&self, vector: &[f32]) -> Vec<u8> {
        let values = self.codec.encode(vector).unwrap();
        Codes::from_real(BITS as u32, &values).unwrap().get(0).to_vec()
    }

    fn run(&self, codec: &Path, access: Access) -> dhih_serve::Result<Run> {
        let source = Source::Index { dir: self.index(), access };
        Run::open(&Origin::Codec(codec.to_owned()), &source)
    }

    pub(crate) fn app(&self, access: Access) -> Router {
        app(state(self.run(&self.file(), access).unwrap(), Limits::default(), Keys::default()))
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

pub(crate) fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_vector_finds_what_the_library_finds() {
    for kept in [VectorType::F32, VectorType::F16, VectorType::Int8] {
        let coded = Coded::new(Some(kept));
        let app = coded.app(Access::ReadOnly);
        let index = Index::open(coded.index()).unwrap();
        let queries = vectors(8, 3);
        for query in queries.chunks_exact(DIMS) {
            let code = coded.code(query);
            let by_numbers = value!({ "vector": query }).to_string();
            let by_bytes = value!({ "vector": base64(query) }).to_string();
            // By code alone.
            let found = send(&app, json("/v1/search?k=12", &by_bytes)).await.ok();
            let expected: Vec<u64> =
                index.knn(&code, 12).unwrap().into_iter().map(|hit| hit.id).collect();
            assert_eq!(ids(&found), expected);
            assert_eq!(found["code"], dhih_index::to_hex(&code));
            assert_eq!(found["hits"][0].get("similarity"), None);
            // With rescoring.
            for (k, candidates) in [(5, 5), (5, 60), (12, 400), (20, 10_000)] {
                let expected =
                    index.knn_rescored(&code, query, &Rescore::new(k, candidates)).unwrap();
                for body in [&by_numbers, &by_bytes] {
                    let path = format!("/v1/search?k={k}&rescore={candidates}&codes=true");
                    let found = send(&app, json(&path, body)).await.ok();
                    let hits = found["hits"].as_array().unwrap();
                    assert_eq!(hits.len(), expected.hits.len());
                    for (hit, expected) in hits.iter().zip(&expected.hits) {
                        assert_eq!(hit["id"], expected.id);
                        assert_eq!(hit["distance"], expected.distance);
                        assert_eq!(hit["similarity"].as_f64().unwrap() as f32, expected.similarity);
                        let code = index.code(expected.id).map(dhih_index::to_hex);
                        assert_eq!(hit["code"].as_str(), code.as_deref());
                    }
                    assert_eq!(found["exact"], expected.certificate.exact);
                    assert_eq!(
                        found["certain_within"],
                        value!(expected.certificate.certain_within)
                    );
                }
            }
            // Within a radius and with labels: the same as filtering after the candidates were ordered.
            let some = index.select(&Filter::default().labels([1, 2]));
            let rescored = some.knn_rescored(&code, query, &Rescore::new(100, 100)).unwrap();
            let within = rescored.hits.iter().filter(|hit| hit.distance <= 5);
            let expected: Vec<u64> = within.take(7).map(|hit| hit.id).collect();
            let path = "/v1/search?k=7&rescore=100&radius=5&label=1&label=2";
            let found = send(&app, json(path, &by_bytes)).await.ok();
            assert_eq!(ids(&found), expected);
        }
    }
}

#[tokio::test]
async fn an_item_is_rescored_by_its_own_vector_and_batches_mix_queries() {
    let coded = Coded::new(Some(VectorType::F32));
    let app = coded.app(Access::ReadOnly);
    let by_id = send(&app, json("/v1/search?rescore=50", r#"{"id":33}"#)).await.ok();
    let vector = value!({ "vector": coded.vector(33) }).to_string();
    let by_vector = send(&app, json("/v1/search?rescore=50", &vector)).await.ok();
    assert_eq!(by_id["hits"], by_vector["hits"]);
    assert_eq!(by_id["hits"][0]["id"], 33);
    assert!((by_id["hits"][0]["similarity"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let short = value!({ "queries": [
        { "vector": coded.vector(33) }, { "vector": [1] }, { "code": "00000" }, { "id": 33 },
    ] });
    let batch = send(&app, json("/v1/search/batch?rescore=50", &short.to_string())).await.ok();
    assert_eq!(batch["answers"][0]["hits"], by_vector["hits"]);
    assert_eq!(batch["answers"][1]["error"]["code"], "unusable_vector");
    assert_eq!(batch["answers"][2]["error"]["code"], "invalid_code");
    assert_eq!(batch["answers"][3]["hits"], by_vector["hits"]);
    // Ordered by the real values of the codec.
    let reranked = send(&app, json("/v1/search?rerank=true&k=50", &vector)).await.ok();
    let plain = send(&app, json("/v1/search?k=50", &vector)).await.ok();
    let distances = |answer: &Value| -> Vec<u64> {
        let hits = answer["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["distance"].as_u64().unwrap()).collect()
    };
    assert_eq!(distances(&reranked), distances(&plain));
    assert_ne!(ids(&reranked), ids(&plain));
}

#[tokio::test]
async fn what_cannot_be_asked_says_why() {
    let coded = Coded::new(Some(VectorType::F32));
    let app = coded.app(Access::ReadOnly);
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!(info["search_by"], value!(["vector", "code", "id"]));
    assert_eq!(info["model"], Value::Null);
    let codec = value!({ "sha256": coded.codec.sha256(), "method": "itq", "dims": DIMS });
    assert_eq!(info["codec"], codec);
    assert_eq!(info["index"]["vectors"], value!({ "type": "f32", "dims": DIMS }));
    send(&app, form("image", &png(1))).await.refused(422, "no_model", "--run");
    send(&app, json("/v1/search", r#"{"sample":1}"#)).await.refused(422, "no_samples", "no run");

    let with = |at: usize, number: f32| {
        let mut vector = coded.vector(0).to_vec();
        vector[at] = number;
        value!({ "vector": base64(&vector) }).to_string()
    };
    let long = value!({ "vector": coded.numbers[..2 * DIMS] }).to_string();
    let large = format!("{{\"vector\":[1e39{}]}}", ",1".repeat(DIMS - 1));
    for (body, status, code, says) in [
        (
            value!({ "vector": [1, 2] }).to_string(),
            422,
            "unusable_vector",
            "2 numbers; the codec takes 24",
        ),
        (long, 422, "unusable_vector", "48 numbers"),
        (value!({ "vector": [] }).to_string(), 422, "unusable_vector", "0 numbers"),
        (with(3, f32::NAN), 422, "unusable_vector", "not finite"),
        (with(3, f32::NEG_INFINITY), 422, "unusable_vector", "not finite"),
        (large, 422, "unusable_vector", "not finite"),
        (value!({ "vector": vec![0.0; DIMS] }).to_string(), 422, "unusable_vector", "only zeros"),
        (value!({ "vector": "AACA" }).to_string(), 400, "malformed_body", "3 bytes"),
        (value!({ "vector": "?" }).to_string(), 400, "malformed_body", "base64"),
        (value!({ "vector": [[1]] }).to_string(), 400, "malformed_body", "JSON"),
        (value!({ "vector": [1], "id": 3 }).to_string(), 400, "ambiguous_query", "more than one"),
    ] {
        for path in ["/v1/search", "/v1/search?rescore=100", "/v1/search?k=3&label=1"] {
            send(&app, json(path, &body)).await.refused(status, code, says);
        }
    }
    let body = value!({ "vector": coded.vector(0) }).to_string();
    for (query, says) in [
        ("rescore=19", "20 (k) to 10000"),
        ("rescore=0", "20 (k) to 10000"),
        ("k=5&rescore=10001", "5 (k) to 10000"),
        ("rescore=50&rerank=true", "two orders"),
        ("rescore=some", "whole number"),
    ] {
        let answer = send(&app, json(&format!("/v1/search?{query}"), &body)).await;
        answer.refused(400, "invalid_parameter", says);
    }
    let by_code = send(&app, json("/v1/search?rescore=50", r#"{"code":"000000"}"#)).await;
    by_code.refused(400, "invalid_parameter", "the vector of the query");
    // The index stores no vectors.
    let app = Coded::new(None).app(Access::ReadOnly);
    for body in [&body, r#"{"id":3}"#] {
        let answer = send(&app, json("/v1/search?rescore=50", body)).await;
        answer.refused(422, "no_vectors", "--vectors");
        assert_eq!(send(&app, json("/v1/search", body)).await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn vectors_are_added_found_and_there_after_a_restart() {
    let coded = Coded::new(Some(VectorType::Int8));
    let app = coded.app(Access::Writable);
    let new = &vectors(20, 99)[..DIMS];
    let item = value!({ "vector": new, "label": "4" }).to_string();
    let added = send(&app, json("/v1/items", &item)).await;
    assert_eq!((added.status.as_u16(), &added.json()["id"]), (201, &ITEMS.into()));
    assert_eq!(added.json()["code"], dhih_index::to_hex(&coded.code(new)));
    let query = value!({ "vector": base64(new) }).to_string();
    let first = async |app: &Router| {
        let found = send(app, json("/v1/search?k=1&rescore=100", &query)).await.ok();
        (found["hits"][0]["id"].as_u64().unwrap(), found["hits"][0]["similarity"].as_f64().unwrap())
    };
    let (id, similarity) = first(&app).await;
    assert!(id == ITEMS as u64 && similarity > 0.999, "{id} {similarity}");
    let batch: Vec<Value> =
        vectors(20, 98).chunks_exact(DIMS).map(|vector| value!({ "vector": vector })).collect();
    let batch = send(&app, json("/v1/items/batch", &value!({ "items": batch }).to_string())).await;
    assert_eq!(batch.status.as_u16(), 201);

    // Items that cannot be stored are refused, and nothing is added.
    let code = value!({ "code": dhih_index::to_hex(&coded.code(new)) }).to_string();
    let by_code = send(&app, json("/v1/items", &code)).await;
    by_code.refused(422, "unusable_vector", "keeps a vector of 24 numbers");
    let both = value!({ "code": "000000", "vector": new }).to_string();
    send(&app, json("/v1/items", &both)).await.refused(400, "ambiguous_item", "one of them");
    let short = value!({ "items": [{ "vector": new }, { "vector": [1] }] }).to_string();
    let short = send(&app, json("/v1/items/batch", &short)).await;
    short.refused(422, "unusable_vector", "items[1]: the vector has 1 numbers");
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!((&info["items"], &info["write_error"]), (&(ITEMS + 21).into(), &Value::Null));
    let gone = send(&app, with_method(Method::DELETE, "/v1/items/7")).await;
    assert_eq!(gone.status.as_u16(), 204);
    drop(app);
    let app = coded.app(Access::Writable);
    assert_eq!(first(&app).await, (id, similarity));
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], ITEMS + 20);
    drop(app);
    Index::open(coded.index()).unwrap().verify().unwrap();
}

#[tokio::test]
async fn a_number_that_the_index_cannot_keep_is_no_fault_of_the_service() {
    let coded = Coded::new(Some(VectorType::F16));
    let app = coded.app(Access::Writable);
    let mut vector = coded.vector(0).to_vec();
    vector[0] = 1e6;
    let item = value!({ "vector": vector }).to_string();
    send(&app, json("/v1/items", &item)).await.refused(422, "unusable_vector", "65504");
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!((&info["write_error"], &info["writable"]), (&Value::Null, &true.into()));
    // An index without vectors accepts the same item, because it only stores its code.
    let coded = Coded::new(None);
    let app = coded.app(Access::Writable);
    assert_eq!(send(&app, json("/v1/items", &item)).await.status.as_u16(), 201);
}

#[test]
fn a_codec_that_the_codes_are_not_of_is_refused() {
    let coded = Coded::new(None);
    let rows = Vectors(coded.numbers.clone());
    let other = coded.dir.path().join("other.safetensors");
    for (bits, seed) in [(BITS, 1), (BITS - 4, 0)] {
        let config = FitConfig { method: CodecMethod::Itq, bits, seed, ..FitConfig::default() };
        let codec = fit(&rows, &config, &mut |_| ()).unwrap();
        codec.save(&other).unwrap();
        let refusal = coded.run(&other, Access::Writable).unwrap_err().to_string();
        for part in ["codes of another codec", codec.sha256(), coded.codec.sha256()] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }
    let missing = coded.run(Path::new("none.safetensors"), Access::Writable).unwrap_err();
    let missing = missing.to_string();
    assert!(missing.contains("none.safetensors is missing") && missing.contains("codec --vectors"));
    std::fs::write(&other, b"rubbish").unwrap();
    let broken = coded.run(&other, Access::Writable).unwrap_err().to_string();
    assert!(broken.contains("other.safetensors") && broken.contains("make it anew"), "{broken}");
}

/// The program from the user's side.
#[test]
fn the_program_serves_an_index_with_a_codec() {
    let coded = Coded::new(Some(VectorType::F32));
    let mut command = program();
    command.arg("--codec").arg(coded.file()).arg("--index").arg(coded.index());
    let (mut child, address) = start(command.args(["--log-level", "warn"]));
    let post = |path: &str, body: String| {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json");
        let (status, text) = ask(&address, &head, body.as_bytes()).unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let vector = value!({ "vector": coded.vector(5) }).to_string();
    let (status, found) = post("/v1/search?k=3&rescore=100", vector.clone());
    assert_eq!((status, &found["hits"][0]["id"], &found["exact"]), (200, &5.into(), &true.into()));
    let (status, added) = post("/v1/items", vector);
    assert_eq!((status, &added["id"]), (201, &ITEMS.into()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Index::open(coded.index()).unwrap().vector(ITEMS as u64).unwrap(), coded.vector(5));

    for (words, says) in [
        (vec!["--codec", "c"], "--index"),
        (vec!["--codec", "c", "--index", "i", "--run", "r"], "cannot be used with"),
    ] {
        let output = program().args(&words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(says), "{text}");
    }
}
