//! Small datasets in the published formats, written to a temporary folder.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

pub(crate) mod columns;
pub(crate) mod dinov2;
pub(crate) mod hub;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_train::dataset::DatasetConfig;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The dataset in `dir`, whose pictures are brought to 16 x 16 pixels and kept in memory.
pub(crate) fn config(dir: &Path) -> DatasetConfig {
    DatasetConfig {
        dir: dir.to_owned(),
        demo_images: 0,
        picture_shape: InputShape::new(16, 16, 3),
        memory: usize::MAX,
        ..DatasetConfig::default()
    }
}

/// An IDX file of unsigned bytes.
pub(crate) fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(values);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Fashion-MNIST with `train` and `test` images of 28 x 28, unpacked as well where `raw`.
pub(crate) fn fashion_mnist(dir: &Path, train: u32, test: u32, raw: bool) {
    for (part, n, salt) in [("train", train, 0), ("t10k", test, 7)] {
        let pixels: Vec<u8> = (0..n * 784).map(|i| (i * 31 % 251 + salt) as u8).collect();
        let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
        let files = [
            (format!("{part}-images-idx3-ubyte"), idx(&[n, 28, 28], &pixels)),
            (format!("{part}-labels-idx1-ubyte"), idx(&[n], &labels)),
        ];
        for (name, bytes) in files {
            std::fs::write(dir.join(format!("{name}.gz")), gzip(&bytes)).unwrap();
            if raw {
                std::fs::write(dir.join(name), bytes).unwrap();
            }
        }
    }
}

/// A 32 x 32 picture whose every pixel is different from its neighbours.
pub(crate) fn picture(seed: u8) -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, seed]))
}

pub(crate) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A Parquet file in the hub's image schema.
pub(crate) fn parquet(path: &Path, rows: &[(Vec<u8>, i64)]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } \
                  optional int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes: Vec<ByteArray> = rows.iter().map(|(b, _)| ByteArray::from(b.clone())).collect();
    let labels: Vec<i64> = rows.iter().map(|(_, label)| *label).collect();
    let n = rows.len();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&bytes, Some(&vec![2; n]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; n]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; n]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// A folder of two classes with `each` images a class; `dark` ones and `light` ones.
pub(crate) fn folder(dir: &Path, each: usize) -> PathBuf {
    for (class, level) in [("dark", 30u8), ("light", 200)] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..each {
            let noise = |x: u32, y: u32| level + ((x * 7 + y * 13 + i as u32 * 5) % 40) as u8;
            let image = RgbImage::from_fn(20, 24, |x, y| Rgb([noise(x, y); 3]));
            let bytes = encoded(image, ImageFormat::Png);
            std::fs::write(dir.join(class).join(format!("{i:03}.png")), bytes).unwrap();
        }
    }
    dir.to_owned()
}

/// Begins a run with `arguments` and kills it, with no chance to tidy up, once two epochs are logged.
pub(crate) fn start_and_kill(arguments: &[&str], paths: &[(&str, &Path)], run: &Path) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dhih-train"))
        .args(arguments)
        .args(paths.iter().flat_map(|(flag, path)| [OsStr::new(flag), path.as_os_str()]))
        .arg("--run-dir")
        .arg(run)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let logged = || {
        std::fs::read_to_string(run.join(dhih_train::RunDir::METRICS))
            .unwrap_or_default()
            .lines()
            .count()
    };
    while logged() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs the program in a folder, without the environment's settings.
pub(crate) fn dhih_train(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-train"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DHIH_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).output().unwrap()
}

/// What a call printed that went well.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
