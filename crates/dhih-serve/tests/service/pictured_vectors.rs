//! A run of pictures without labels, whose index stores the features of each picture. Searches by picture are rescored by these, new
//! pictures bring their features, and everything is there after a restart.

use std::path::Path;

use axum::Router;
use candle_core::Device;
use dhih_index::{
    CodeSet, Codes, Index, IndexBuilder, IndexConfig, Rescore, VectorSet, VectorType,
};
use dhih_model::loss::Fitted;
use dhih_model::text::TextEncoder;
use dhih_model::{
    Backbone, Encoded, Encoder, HashLayerConfig, InputShape, Loss, Network, NetworkConfig,
    Normalization, Views, checkpoint,
};
use dhih_serve::{Access, Keys, Limits, Run, app};
use serde_json::Value;

use crate::common::{
    Answer, BITS, ITEMS, SIDE, fields, get, json, picture, png, send, state, write_gallery,
};
use crate::texts::write_text;

/// The output of `dhih-train photos` for the drawn pictures, without fitting.
struct Photos {
    dir: tempfile::TempDir,
    encoder: Encoder,
}

impl Photos {
    fn new(kept: Option<VectorType>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images: Vec<u8> = (0..ITEMS).flat_map(picture).collect();
        let model = dir.path().join("model.safetensors");
        let config = NetworkConfig {
            backbone: Backbone::SMALL,
            input: InputShape::new(SIDE, SIDE, 3),
            normalization: Normalization::measure(&images, 3),
            bits: BITS,
            hash_layer: HashLayerConfig::default(),
            loss: Loss::Fitted(Fitted {}),
            views: Views::default(),
            classes: Vec::new(),
        };
        checkpoint::save(&Network::new(config, 0, &Device::Cpu).unwrap(), &model).unwrap();
        let encoder = Encoder::load(&model, &Device::Cpu).unwrap();
        let Encoded { values, features } = encoder.encode_all(&images).unwrap();
        let set = |values: &[f32]| CodeSet {
            model_sha256: Some(encoder.model_sha256().to_owned()),
            ..CodeSet::new(Codes::from_real(BITS as u32, values).unwrap())
        };
        let mut codes = set(&values);
        codes.write(dir.path().join("codes.safetensors")).unwrap();
        set(&[]).write(dir.path().join("queries.safetensors")).unwrap();
        write_gallery(&dir.path().join("gallery.safetensors"), &images, &[]);
        let dims = encoder.features().unwrap();
        let vectors = VectorSet::from_f32(dims, &features.unwrap()).unwrap();
        codes.vectors = kept.map(|kept| vectors.to_type(kept).unwrap());
        let index = dir.path().join("index");
        IndexBuilder::new(IndexConfig::default()).build(&codes, &index).unwrap();
        Self { dir, encoder }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn app(&self, access: Access) -> Router {
        let run = Run::load(self.path(), &self.path().join("index"), access).unwrap();
        app(state(run, Limits::default(), Keys::default()))
    }
}

async fn search(app: &Router, parameters: &str, number: usize) -> Answer {
    send(app, fields(&format!("/v1/search?{parameters}"), &[("image", &png(number))])).await
}

fn hits(answer: &Value) -> Vec<(u64, Option<f32>)> {
    let hit =
        |hit: &Value| (hit["id"].as_u64().unwrap(), hit["similarity"].as_f64().map(|x| x as f32));
    answer["hits"].as_array().unwrap().iter().map(hit).collect()
}

#[tokio::test]
async fn a_picture_finds_what_the_library_finds_by_its_features() {
    for kept in [VectorType::F32, VectorType::Int8] {
        let photos = Photos::new(Some(kept));
        let app = photos.app(Access::ReadOnly);
        let index = Index::open(photos.path().join("index")).unwrap();
        for number in [3, ITEMS + 5] {
            let Encoded { values, features } = photos.encoder.encode_all(&picture(number)).unwrap();
            let code = Codes::from_real(BITS as u32, &values).unwrap();
            let rescore = Rescore::new(8, 30);
            let expected = index.knn_rescored(code.get(0), &features.unwrap(), &rescore).unwrap();
            let answer = search(&app, "k=8&rescore=30", number).await.ok();
            let expected: Vec<_> =
                expected.hits.iter().map(|hit| (hit.id, Some(hit.similarity))).collect();
            assert_eq!(hits(&answer), expected, "{number}");
            assert!(answer.get("certain_within").is_some());
            // Without rescoring, the search is by code alone.
            let plain = search(&app, "k=8", number).await.ok();
            let expected: Vec<_> = index.knn(code.get(0), 8).unwrap();
            assert!(hits(&plain).iter().map(|hit| hit.0).eq(expected.iter().map(|hit| hit.id)));
        }
        // Several pictures at once, and an item by its stored features.
        let (a, b) = (png(7), png(8));
        let path = "/v1/search/batch?k=1&rescore=20";
        let batch = send(&app, fields(path, &[("image", &a), ("image", &b)])).await.ok();
        let first = |at: usize| hits(&batch["answers"][at])[0].0;
        assert_eq!([first(0), first(1)], [7, 8]);
        let by_id = send(&app, json("/v1/search?k=8&rescore=30", r#"{"id":3}"#)).await.ok();
        let by_picture = search(&app, "k=8&rescore=30", 3).await.ok();
        let ids = |answer: &Value| hits(answer).into_iter().map(|hit| hit.0).collect::<Vec<_>>();
        assert_eq!(ids(&by_id), ids(&by_picture));
        let info = send(&app, get("/v1/info")).await.ok();
        assert_eq!(info["index"]["vectors"]["dims"], photos.encoder.features().unwrap());
    }
}

#[tokio::test]
async fn a_text_orders_pictures_by_their_features() {
    let photos = Photos::new(Some(VectorType::F32));
    let dims = photos.encoder.features().unwrap();
    write_text(photos.path(), photos.encoder.model_sha256(), dims);
    let app = photos.app(Access::ReadOnly);
    let index = Index::open(photos.path().join("index")).unwrap();
    let tower = TextEncoder::load(&photos.path().join("text.safetensors"), &Device::Cpu).unwrap();
    for text in ["a red car", "a dog"] {
        let Encoded { values, features } = tower.encode_all(&[text]).unwrap();
        let code = Codes::from_real(BITS as u32, &values).unwrap();
        let rescore = Rescore::new(8, 30);
        let expected = index.knn_rescored(code.get(0), &features.unwrap(), &rescore).unwrap();
        let expected: Vec<_> =
            expected.hits.iter().map(|hit| (hit.id, Some(hit.similarity))).collect();
        let body = format!("{{\"text\":\"{text}\"}}");
        let answer = send(&app, json("/v1/search?k=8&rescore=30", &body)).await.ok();
        assert_eq!(hits(&answer), expected, "{text}");
    }
}

#[tokio::test]
async fn a_new_picture_brings_its_features_and_has_them_after_a_restart() {
    let photos = Photos::new(Some(VectorType::F16));
    let new = ITEMS + 9;
    {
        let app = photos.app(Access::Writable);
        let added = send(&app, fields("/v1/items", &[("image", &png(new))])).await;
        assert_eq!(added.status, 201, "{}", added.json());
        assert_eq!(added.json()["id"], ITEMS);
    }
    for access in [Access::Writable, Access::ReadOnly] {
        let app = photos.app(access);
        let (id, similarity) = hits(&search(&app, "k=1&rescore=10", new).await.ok())[0];
        assert!(id == ITEMS as u64 && similarity.unwrap() > 0.9999, "{id} {similarity:?}");
        let by_id = json("/v1/search?k=1&rescore=10", &format!("{{\"id\":{ITEMS}}}"));
        assert_eq!(hits(&send(&app, by_id).await.ok())[0].0, ITEMS as u64);
    }
    // A code alone has no features to store.
    let app = photos.app(Access::Writable);
    let code = send(&app, get("/v1/items/0")).await.ok()["code"].clone();
    let bare = json("/v1/items", &format!("{{\"code\":{code}}}"));
    send(&app, bare).await.refused(422, "unusable_vector", "add items by `vector`");
}

#[tokio::test]
async fn without_kept_features_pictures_are_searched_by_code_alone() {
    let photos = Photos::new(None);
    let app = photos.app(Access::Writable);
    search(&app, "k=3&rescore=9", 1).await.refused(422, "no_vectors", "nothing can be rescored");
    assert_eq!(hits(&search(&app, "k=1", 1).await.ok()), [(1, None)]);
    let added = send(&app, fields("/v1/items", &[("image", &png(ITEMS))])).await;
    assert_eq!(added.status, 201);
}
