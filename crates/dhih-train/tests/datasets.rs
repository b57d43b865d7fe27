//! Every reader on files in its format: intact ones, and each way in which they can be wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use dhih_model::InputShape;
use dhih_train::dataset::{Dataset, DatasetConfig, DatasetName, demo};
use dhih_train::protocol::Protocol;
use image::{ImageFormat, Luma, Rgb, RgbImage};

fn config(dir: &Path) -> DatasetConfig {
    let picture_shape = InputShape::new(16, 16, 3);
    DatasetConfig {
        dir: dir.to_owned(),
        demo_images: 200,
        picture_shape,
        memory: 1 << 20,
        ..DatasetConfig::default()
    }
}

fn load(name: DatasetName, dir: &Path) -> Dataset {
    Dataset::load(name, &config(dir)).unwrap()
}

/// The message of an error, which must say what to do.
fn refusal(name: DatasetName, dir: &Path) -> String {
    let error = Dataset::load(name, &config(dir)).unwrap_err().to_string();
    assert!(error.contains("fetch-data") || error.contains("--data-dir"), "no cure: {error}");
    error
}

#[test]
fn demo_is_balanced_and_knows_its_checksum() {
    let dataset = load(DatasetName::Demo, Path::new("nowhere"));
    assert_eq!((dataset.len(), dataset.classes.len()), (200, 10));
    assert_eq!(*dataset.image(3).unwrap(), demo::render(0, 3));
    assert_eq!(dataset.sha256, load(DatasetName::Demo, Path::new("nowhere")).sha256);
    assert_eq!(dataset.verified, None);
}

#[test]
fn fashion_mnist_agrees_with_candle_datasets() {
    let dir = tempfile::tempdir().unwrap();
    common::fashion_mnist(dir.path(), 30, 20, true);
    let ours = load(DatasetName::FashionMnist, dir.path());
    assert_eq!((ours.len(), ours.official_train, ours.verified), (50, Some(30), Some(false)));
    let theirs = candle_datasets::vision::mnist::load_dir(dir.path()).unwrap();
    let images = [theirs.train_images, theirs.test_images];
    let labels = [theirs.train_labels, theirs.test_labels];
    let pixels: Vec<u8> = images
        .iter()
        .flat_map(|part| part.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(|x| (x * 255.0).round() as u8)
        .collect();
    let labels: Vec<u32> =
        labels.iter().flat_map(|part| part.to_vec1::<u8>().unwrap()).map(u32::from).collect();
    let all: Vec<usize> = (0..ours.len()).collect();
    assert_eq!((ours.gather(&all).unwrap(), ours.labels), (pixels, labels.into()));
}

#[test]
fn damaged_fashion_mnist_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = refusal(DatasetName::FashionMnist, dir.path());
    assert!(missing.contains("train-images-idx3-ubyte.gz"), "{missing}");
    common::fashion_mnist(dir.path(), 10, 10, false);
    let images = dir.path().join("train-images-idx3-ubyte.gz");
    let labels = dir.path().join("t10k-labels-idx1-ubyte.gz");
    let intact = (std::fs::read(&images).unwrap(), std::fs::read(&labels).unwrap());
    let mut flipped = intact.0.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let idx = |dims: &[u32], n| common::gzip(&common::idx(dims, &vec![0; n]));
    for (bytes, part) in [
        (Vec::new(), "gzip"),
        (intact.0[..middle].to_vec(), "gzip"),
        (flipped, "gzip"),
        (b"not gzip".to_vec(), "gzip"),
        (idx(&[10], 10), "not an IDX file of 3"),
        (idx(&[10, 28, 28], 10 * 784 - 1), "announced"),
        (idx(&[u32::MAX, u32::MAX, u32::MAX], 5), "announced"),
        (idx(&[9, 28, 28], 9 * 784), "do not fit 10 labels"),
    ] {
        std::fs::write(&images, bytes).unwrap();
        let error = refusal(DatasetName::FashionMnist, dir.path());
        assert!(error.contains(part) && error.contains("train-images"), "{part}: {error}");
    }
    std::fs::write(&images, &intact.0).unwrap();
    std::fs::write(&labels, common::gzip(&common::idx(&[10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10])))
        .unwrap();
    let error = Dataset::load(DatasetName::FashionMnist, &config(dir.path())).unwrap_err();
    assert!(error.to_string().contains("label 10"), "{error}");
}

/// CIFAR-100 as the authors' binary version, with `train` and `test` images.
fn cifar100(dir: &Path, train: u8, test: u8) {
    let record = |i: u8| [&[i % 20, i % 100][..], &[i; 3072]].concat();
    for (name, count) in [("train.bin", train), ("test.bin", test)] {
        std::fs::write(dir.join(name), (0..count).flat_map(record).collect::<Vec<_>>()).unwrap();
    }
}

/// Writes a provenance of the files in `dir`.
fn write_provenance(dir: &Path, verified: bool) {
    use sha2::{Digest, Sha256};

    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let record = |path: std::path::PathBuf| {
        let digest = Sha256::digest(std::fs::read(&path).unwrap());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({"path": path.file_name().unwrap().to_str().unwrap(), "sha256": hex})
    };
    let files: Vec<_> = files.map(record).collect();
    let json = serde_json::json!({"name": "a set", "verified": verified, "files": files});
    std::fs::write(dir.join("provenance.json"), json.to_string()).unwrap();
}

#[test]
fn provenance_decides_whether_data_is_verified_whose_images_are_not_known() {
    let dir = tempfile::tempdir().unwrap();
    cifar100(dir.path(), 10, 10);
    assert_eq!(load(DatasetName::Cifar100, dir.path()).verified, Some(false));
    for verified in [true, false] {
        write_provenance(dir.path(), verified);
        let set = load(DatasetName::Cifar100, dir.path());
        assert_eq!((set.verified, set.verified_parts), (Some(verified), vec![]));
    }
    write_provenance(dir.path(), true);
    cifar100(dir.path(), 11, 10);
    assert!(refusal(DatasetName::Cifar100, dir.path()).contains("sha256"));
    std::fs::write(dir.path().join("provenance.json"), "{").unwrap();
    assert!(refusal(DatasetName::Cifar100, dir.path()).contains("provenance.json"));
}

#[test]
fn images_decide_whether_data_is_verified_where_they_are_known() {
    let dir = tempfile::tempdir().unwrap();
    common::fashion_mnist(dir.path(), 10, 5, false);
    write_provenance(dir.path(), true);
    let set = load(DatasetName::FashionMnist, dir.path());
    let parts: Vec<String> = set.verified_parts.iter().map(ToString::to_string).collect();
    let expected = ["0 of 10 training images verified", "0 of 5 test images verified"];
    assert_eq!((set.verified, parts), (Some(false), expected.map(str::to_owned).to_vec()));
    common::fashion_mnist(dir.path(), 11, 5, false);
    assert!(refusal(DatasetName::FashionMnist, dir.path()).contains("sha256"));
}

/// A batch as Python 2 pickled it, opcode by opcode.
fn pickled(planes: &[u8], labels: &[u8]) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8][..], text.as_bytes()].concat();
    let long = |bytes: &[u8]| [&b"T"[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
    let rows = (labels.len() as u32).to_le_bytes();
    let mut file = b"\x80\x02}q\x01(".to_vec();
    file.extend(text("batch_label"));
    file.extend(b"q\x02U\x15training batch 1 of 5q\x03");
    file.extend(text("labels"));
    file.extend(b"q\x04]q\x05(");
    labels.iter().for_each(|label| file.extend([b'K', *label]));
    file.push(b'e');
    file.extend(text("data"));
    file.extend(b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01(J");
    file.extend(rows);
    file.extend(b"M\x00\x0ctq\x0acnumpy\ndtype\nq\x0bU\x02u1K\x00K\x01\x87Rq\x0c(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89");
    file.extend(long(planes));
    file.extend(b"tb");
    file.extend(text("filenames"));
    file.extend(b"](");
    labels.iter().for_each(|_| file.extend(text("a.png")));
    file.extend(b"eu.");
    file
}

/// All versions of CIFAR-10 have the same pixels at the same positions.
#[test]
fn cifar10_of_every_version_agrees_with_known_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: u8| (common::encoded(common::picture(i), ImageFormat::Png), i64::from(i % 10));
    let part = |name: &str| dir.path().join("parquet/plain_text").join(name);
    common::parquet(&part("train-00000-of-00001.parquet"), &(0..10).map(row).collect::<Vec<_>>());
    common::parquet(&part("test-00000-of-00001.parquet"), &(10..12).map(row).collect::<Vec<_>>());
    let record = |i: u8| -> Vec<u8> {
        let image = common::picture(i);
        let plane = |c: usize| image.pixels().map(move |pixel| pixel.0[c]);
        std::iter::once(i % 10).chain(plane(0)).chain(plane(1)).chain(plane(2)).collect()
    };
    let folder = dir.path().join("binary/cifar-10-batches-bin");
    std::fs::create_dir_all(&folder).unwrap();
    for batch in 0..5 {
        let bytes = [record(2 * batch), record(2 * batch + 1)].concat();
        std::fs::write(folder.join(format!("data_batch_{}.bin", batch + 1)), bytes).unwrap();
    }
    std::fs::write(folder.join("test_batch.bin"), [record(10), record(11)].concat()).unwrap();

    let folder = dir.path().join("python/cifar-10-batches-py");
    std::fs::create_dir_all(&folder).unwrap();
    for (i, name) in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ]
    .iter()
    .enumerate()
    {
        let [a, b] = [record(2 * i as u8), record(2 * i as u8 + 1)];
        let bytes = pickled(&[&a[1..], &b[1..]].concat(), &[a[0], b[0]]);
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let python = load(DatasetName::Cifar10, &dir.path().join("python"));
    assert_eq!((python.len(), python.official_train, python.verified), (12, Some(10), Some(false)));
    let parquet = load(DatasetName::Cifar10, &dir.path().join("parquet"));
    assert_eq!(python.sha256, parquet.sha256);
    let binary = load(DatasetName::Cifar10, &dir.path().join("binary"));
    assert_eq!((parquet.len(), parquet.official_train), (12, Some(10)));
    assert_eq!(parquet.labels, binary.labels);
    assert_eq!(parquet.sha256, binary.sha256);
    // Row 5, column 9 of image 3: red depends on the column, green on the row.
    assert_eq!(parquet.image(3).unwrap()[(5 * 32 + 9) * 3..][..3], [72, 40, 3]);
}

#[test]
fn damaged_cifar10_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |part: &str| {
        let error = refusal(DatasetName::Cifar10, dir.path());
        assert!(error.contains(part), "{part}: {error}");
    };
    refused("train-00000-of-00001.parquet");
    let train = dir.path().join("plain_text/train-00000-of-00001.parquet");
    let test = dir.path().join("plain_text/test-00000-of-00001.parquet");
    let good = common::encoded(common::picture(1), ImageFormat::Png);
    common::parquet(&test, &[(good.clone(), 0)]);
    common::parquet(&train, &[(good.clone(), 3), (b"no image".to_vec(), 1)]);
    refused("row 1");
    common::parquet(&train, &[(good.clone(), -1)]);
    refused("row 0");
    common::parquet(&train, &[(common::encoded(RgbImage::new(31, 32), ImageFormat::Png), 1)]);
    refused("31 x 32");
    common::parquet(&train, &[(good, 3)]);
    let intact = std::fs::read(&train).unwrap();
    for bytes in [&intact[..intact.len() - 9], &intact[..40], b""] {
        std::fs::write(&train, bytes).unwrap();
        refused("train-00000-of-00001.parquet");
    }
    std::fs::remove_file(&train).unwrap();
    std::fs::write(dir.path().join("data_batch_1.bin"), vec![0; 3072]).unwrap();
    refused("whole number of records");
    std::fs::remove_file(dir.path().join("data_batch_1.bin")).unwrap();
    let whole = pickled(&vec![0; 3072], &[1]);
    let batch = dir.path().join("data_batch_1");
    for end in (0..whole.len()).step_by(13) {
        std::fs::write(&batch, &whole[..end]).unwrap();
        refused("data_batch_1");
    }
    for (bytes, part) in [
        (pickled(&vec![0; 3071], &[1]), "3071 bytes of pixels"),
        (b"\x80\x02}.".to_vec(), "no \"data\""),
        (b"\x80\x02].".to_vec(), "no dictionary"),
        (b"\x80\x02}e.".to_vec(), "never began"),
        (b"\x80\x02\xff".to_vec(), "0xff"),
    ] {
        std::fs::write(&batch, bytes).unwrap();
        refused(part);
    }
}

#[test]
fn a_folder_takes_every_kind_of_image_and_counts_the_unusable() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(dir.path(), 3);
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join("dark").join(name), bytes).unwrap()
    };
    put("dot.png", &common::encoded(RgbImage::from_pixel(1, 1, Rgb([9; 3])), ImageFormat::Png));
    put(
        "grey.jpg",
        &common::encoded(image::GrayImage::from_pixel(9, 9, Luma([40])), ImageFormat::Jpeg),
    );
    let deep = image::ImageBuffer::from_pixel(8, 8, Luma([0x2a00u16]));
    put("deep.png", &common::encoded(deep, ImageFormat::Png));
    put("cmyk.jpg", include_bytes!("../../dhih-model/tests/data/cmyk.jpg"));
    put("lossless.webp", &common::encoded(RgbImage::new(5, 5), ImageFormat::WebP));
    put(".hidden", b"left out");
    let broken = common::encoded(common::picture(0), ImageFormat::Png);
    put("broken.png", &broken[..broken.len() / 2]);
    put("notes.txt", b"not an image");
    put("empty.jpg", b"");
    std::fs::write(dir.path().join("readme.md"), "beside the classes").unwrap();

    let dataset = load(DatasetName::Folder, dir.path());
    assert_eq!(dataset.classes, ["dark", "light"]);
    assert_eq!(dataset.labels, vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1].into());
    let skipped: Vec<_> =
        dataset.skipped.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(skipped, ["broken.png", "empty.jpg"]);
    // The file beside the classes is of another kind, too.
    let left_out = serde_json::to_value(&dataset.left_out).unwrap();
    assert_eq!(
        left_out,
        serde_json::json!({"broken": 1, "hidden": 1, "not_a_picture": 1, "other_file": 2})
    );
    assert_eq!((dataset.len(), dataset.is_streamed()), (11, false));
}

#[test]
fn folders_without_two_usable_classes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(DatasetName::Folder, &dir.path().join("absent")).contains("absent"));
    assert!(refusal(DatasetName::Folder, dir.path()).contains("0 classes"));
    std::fs::write(dir.path().join("shard-0.tar.gz"), b"compressed").unwrap();
    assert!(refusal(DatasetName::WebDataset, dir.path()).contains("it has no .tar file"));
    common::folder(dir.path(), 2);
    std::fs::remove_dir_all(dir.path().join("light")).unwrap();
    assert!(refusal(DatasetName::Folder, dir.path()).contains("1 classes"));
    std::fs::create_dir(dir.path().join("void")).unwrap();
    assert!(refusal(DatasetName::Folder, dir.path()).contains("void"));
    std::fs::write(dir.path().join("void/bad.png"), b"bad").unwrap();
    assert!(refusal(DatasetName::Folder, dir.path()).contains("bad.png"));
}

#[test]
fn protocols_split_as_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = load(DatasetName::Folder, &common::folder(dir.path(), 25));
    let split = Protocol::Folder.split(&dataset, 1).unwrap();
    assert_eq!((split.train.len(), split.queries.len()), (46, 4));
    assert_eq!(split.train, split.database);
    assert!(split.queries.iter().all(|row| !split.train.contains(row)));
    let of_class =
        |label| split.queries.iter().filter(|row| dataset.labels.of(**row) == [label]).count();
    assert_eq!((of_class(0), of_class(1)), (2, 2));
    assert_eq!(split, Protocol::Folder.split(&dataset, 1).unwrap());
    assert_ne!(split.sha256(), Protocol::Folder.split(&dataset, 2).unwrap().sha256());

    let error = Protocol::Cifar10Full.split(&dataset, 0).unwrap_err().to_string();
    assert!(error.contains("protocol") && error.contains("folder"), "{error}");
    let lonely = tempfile::tempdir().unwrap();
    let dataset = load(DatasetName::Folder, &common::folder(lonely.path(), 1));
    let error = Protocol::Folder.split(&dataset, 0).unwrap_err().to_string();
    assert!(error.contains("at least 2"), "{error}");

    let fashion = tempfile::tempdir().unwrap();
    common::fashion_mnist(fashion.path(), 30, 20, false);
    let dataset = load(DatasetName::FashionMnist, fashion.path());
    let split = Protocol::FashionMnistFull.split(&dataset, 0).unwrap();
    assert_eq!(split.train, (0..30).collect::<Vec<_>>());
    assert_eq!(split.queries, (30..50).collect::<Vec<_>>());
}
