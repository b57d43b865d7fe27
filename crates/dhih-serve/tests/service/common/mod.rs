//! A small run directory that is created for each test (random network, drawn images, real index), and requests to the router.
#![allow(dead_code)] // The tests of the store use only a part of it.

mod shapes;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
};
use candle_core::Device;
use dhih_index::{CodeSet, Codes, IndexBuilder, IndexConfig, Labels};
use dhih_model::{
    Backbone, Encoder, InputShape, Network, NetworkConfig, Normalization, checkpoint,
};
use dhih_serve::{Access, AppState, Keys, Limits, QueueConfig, Run, app};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;
use tower::ServiceExt;

pub use shapes::{CLASSES, SIDE, picture};

/// Items in the database, and held-out queries.
pub const ITEMS: usize = 60;
pub const SAMPLES: usize = 12;
/// Bits of a code. This is not a multiple of eight, so that padding is tested.
pub const BITS: usize = 44;

/// A host name of the service, as browsers send it.
pub const HOST: HeaderValue = HeaderValue::from_static("localhost:7878");

/// A run directory that is removed after the test.
pub struct Fixture {
    dir: TempDir,
}

/// A complete answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Fixture {
    /// A complete run: model, codes, queries, gallery, configuration, evaluation and index.
    pub fn new() -> Self {
        Self::with(0, None)
    }

    /// A complete run with the model of `seed` and with the given ids.
    pub fn with(seed: u64, ids: Option<Vec<u64>>) -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        write_run(fixture.run(), seed, ids, ITEMS, SAMPLES);
        fixture
    }

    pub fn run(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.run().join(name)
    }

    pub fn load(&self) -> dhih_serve::Result<Run> {
        Run::load(self.run(), &self.file("index"), Access::ReadOnly)
    }

    /// The run, opened for writing, which only one process may do at a time.
    pub fn writable(&self) -> Run {
        Run::load(self.run(), &self.file("index"), Access::Writable).unwrap()
    }

    pub fn writable_app(&self) -> Router {
        app(state(self.writable(), Limits::default(), Keys::default()))
    }

    /// The error of loading the run.
    pub fn refusal(&self) -> String {
        self.load().expect_err("must be refused").to_string()
    }

    pub fn app(&self) -> Router {
        self.app_with(Limits::default())
    }

    pub fn app_with(&self, limits: Limits) -> Router {
        app(state(self.load().unwrap(), limits, Keys::default()))
    }

    pub fn encoder(&self) -> Encoder {
        Encoder::load(&self.file("model.safetensors"), &Device::Cpu).unwrap()
    }

    pub fn codes(&self) -> CodeSet {
        CodeSet::read(self.file("codes.safetensors"), None).unwrap()
    }
}

/// The program, without settings from the environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-serve"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DHIH_")) {
        command.env_remove(name);
    }
    command
}

pub fn state(run: Run, limits: Limits, keys: Keys) -> Arc<AppState> {
    Arc::new(AppState::new(run, limits, keys, QueueConfig::default()).unwrap())
}

/// Writes a complete run into `dir`.
pub fn write_run(dir: &Path, seed: u64, ids: Option<Vec<u64>>, items: usize, samples: usize) {
    let model = dir.join("model.safetensors");
    write_model(&model, seed);
    let encoder = Encoder::load(&model, &Device::Cpu).unwrap();
    let draw = |range: std::ops::Range<usize>| range.flat_map(picture).collect::<Vec<u8>>();
    let (database, queries) = (draw(0..items), draw(items..items + samples));
    let set = |images: &[u8], first: usize, ids| {
        let bits = u32::try_from(encoder.bits()).unwrap();
        let count = images.len() / (SIDE * SIDE * 3);
        CodeSet {
            codes: Codes::from_real(bits, &encoder.encode(images).unwrap()).unwrap(),
            ids,
            labels: Some(Labels::Single((0..count).map(|i| class_of(first + i)).collect())),
            classes: CLASSES.map(String::from).to_vec(),
            model_sha256: Some(encoder.model_sha256().to_owned()),
            precision: None,
            vectors: None,
        }
    };
    let codes = set(&database, 0, ids);
    codes.write(dir.join("codes.safetensors")).unwrap();
    set(&queries, items, None).write(dir.join("queries.safetensors")).unwrap();
    write_gallery(&dir.join("gallery.safetensors"), &database, &queries);
    IndexBuilder::new(IndexConfig::default()).build(&codes, &dir.join("index")).unwrap();
    std::fs::write(dir.join("config.toml"), "[train]\ndataset = \"shapes\"\nprotocol = \"test\"\n")
        .unwrap();
    std::fs::write(dir.join("evaluation.json"), "{\"map\": 0.875}").unwrap();
}

/// Writes thumbnails; both sets have the shape `[n, SIDE, SIDE, 3]`.
pub fn write_gallery(path: &Path, database: &[u8], queries: &[u8]) {
    let view = |images: &[u8]| {
        let shape = vec![images.len() / (SIDE * SIDE * 3), SIDE, SIDE, 3];
        (shape, images.to_vec())
    };
    let [(a, database), (b, queries)] = [view(database), view(queries)];
    let tensors = [
        ("database", TensorView::new(Dtype::U8, a, &database).unwrap()),
        ("queries", TensorView::new(Dtype::U8, b, &queries).unwrap()),
    ];
    safetensors::serialize_to_file(tensors, None, path).unwrap();
}

pub fn class_of(image: usize) -> i64 {
    i64::try_from(image % CLASSES.len()).unwrap()
}

fn write_model(path: &Path, seed: u64) {
    let images: Vec<u8> = (0..CLASSES.len()).flat_map(picture).collect();
    let config = NetworkConfig {
        backbone: Backbone::SMALL,
        input: InputShape::new(SIDE, SIDE, 3),
        normalization: Normalization::measure(&images, 3),
        bits: BITS,
        hash_layer: Default::default(),
        loss: Default::default(),
        views: Default::default(),
        classes: CLASSES.map(String::from).to_vec(),
    };
    let network = Network::new(config, seed, &Device::Cpu).unwrap();
    checkpoint::save(&network, path).unwrap();
}

/// A PNG of one of the drawn images.
pub fn png(image: usize) -> Vec<u8> {
    let pixels = image::RgbImage::from_raw(SIDE as u32, SIDE as u32, picture(image)).unwrap();
    encoded(pixels, image::ImageFormat::Png)
}

pub fn encoded(image: impl Into<image::DynamicImage>, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A form with one file field.
pub fn form(field: &str, bytes: &[u8]) -> Request<Body> {
    let head = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let body = [head.as_bytes(), bytes, b"\r\n--edge--\r\n"].concat();
    post("/v1/search", "multipart/form-data; boundary=edge", body)
}

/// A form with several fields; those named `image` are files.
pub fn fields(path: &str, fields: &[(&str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, bytes) in fields {
        let file = if *name == "image" { "; filename=\"../a/b c.png\"" } else { "" };
        let head =
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--edge--\r\n");
    post(path, "multipart/form-data; boundary=edge", body)
}

pub fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

pub fn json(path: &str, body: &str) -> Request<Body> {
    post(path, "application/json", body.to_owned())
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub fn with_method(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// Sends a request. Unless it has a `host` header, it names this machine.
pub async fn send(app: &Router, mut request: Request<Body>) -> Answer {
    request.headers_mut().entry(header::HOST).or_insert(HOST);
    let response = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: head.status, headers: head.headers, body }
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of an answer that must be successful.
    pub fn ok(&self) -> serde_json::Value {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Checks a refusal: its status, its code, and that its message contains `says`.
    pub fn refused(&self, status: u16, code: &str, says: &str) {
        let json = self.json();
        let error = &json["error"];
        assert_eq!((self.status.as_u16(), error["code"].as_str()), (status, Some(code)), "{json}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says), "{message:?} does not say {says:?}");
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
