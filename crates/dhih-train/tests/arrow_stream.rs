//! `encode` from stdin to stdout: the codes are those of the same images as files, and input that is not such a stream is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, Int64Array, LargeBinaryArray, RecordBatch,
    StringArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use candle_core::Device;
use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use dhih_model::Encoder;
use dhih_train::arrow_stream::{self, Coder, Encoded};

/// A folder with pictures, a run of 70 bits trained on them, and their codes.
fn run(dir: &Path) -> (Vec<Vec<u8>>, CodeSet) {
    common::folder(&dir.join("photos"), 10);
    let args = ["train", "--dataset", "folder", "--data-dir", "photos", "--image-side", "16"];
    let steps = ["--bits", "70", "--batch-size", "8", "--epochs", "1", "--run-dir", "run"];
    stdout(&dhih_train(dir, &[&args[..], &steps].concat()));
    let encode = ["encode", "--run", "run", "--input", "photos", "--out", "all.safetensors"];
    stdout(&dhih_train(dir, &encode));
    let names = std::fs::read_to_string(dir.join("all.safetensors.files.txt")).unwrap();
    let images = names.lines().map(|name| std::fs::read(dir.join(name)).unwrap()).collect();
    (images, CodeSet::read(dir.join("all.safetensors"), None).unwrap())
}

fn encoder(dir: &Path) -> Encoder {
    Encoder::load(&dir.join("run/model.safetensors"), &Device::Cpu).unwrap()
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn batch(columns: Columns) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn batches(stream: &[u8]) -> Vec<RecordBatch> {
    StreamReader::try_new(stream, None).unwrap().map(Result::unwrap).collect()
}

fn binary(rows: &[Option<&[u8]>]) -> ArrayRef {
    Arc::new(BinaryArray::from_iter(rows.iter().copied()))
}

fn encode(stream: &[u8], encoder: &Encoder) -> Result<(Vec<RecordBatch>, Encoded), String> {
    let mut out = Vec::new();
    let done = arrow_stream::encode(stream, &mut out, Coder::Pictures(encoder))
        .map_err(|e| e.to_string())?;
    Ok((batches(&out), done))
}

/// Codes and words of batches against those of a file.
fn assert_codes(got: &[RecordBatch], expected: &CodeSet) {
    let mut row = 0;
    for batch in got {
        let codes = batch["code"].as_binary::<i32>();
        let words = ["w0", "w1"].map(|name| batch[name].as_primitive::<Int64Type>());
        for i in 0..batch.num_rows() {
            let code = expected.codes.get(row);
            assert_eq!(codes.value(i), code);
            let padded: Vec<u8> = code.iter().copied().chain([0; 7]).collect();
            for (word, bytes) in words.iter().zip(padded.as_chunks::<8>().0) {
                assert_eq!(word.value(i), i64::from_le_bytes(*bytes));
            }
            row += 1;
        }
    }
    assert_eq!(row, expected.codes.len());
}

/// A layout of images in a column.
type Layout = fn(&[Option<&[u8]>]) -> ArrayRef;

#[test]
fn codes_are_those_of_files_batch_for_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (images, expected) = run(dir.path());
    let encoder = encoder(dir.path());
    let rows: Vec<Option<&[u8]>> = images.iter().map(|image| Some(&image[..])).collect();
    let layouts: [Layout; 3] = [
        binary,
        |rows| Arc::new(LargeBinaryArray::from_iter(rows.iter().copied())),
        |rows| Arc::new(BinaryViewArray::from_iter(rows.iter().copied())),
    ];
    for layout in layouts {
        let ids = |n: i64, count| Arc::new(Int64Array::from_iter_values(n..n + count)) as ArrayRef;
        let names = Arc::new(StringArray::from(vec!["x"; 7])) as ArrayRef;
        let input = [
            batch(vec![("id", ids(0, 7)), ("image", layout(&rows[..7])), ("name", names.clone())]),
            batch(vec![("id", ids(7, 0)), ("image", layout(&[])), ("name", names.slice(0, 0))]),
        ];
        let (got, done) = encode(&stream(&input), &encoder).unwrap();
        assert_eq!(done, Encoded { rows: 7, without_code: 0 });
        assert_eq!(got.len(), 2);
        let schema = got[0].schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["id", "name", "code", "w0", "w1", "error"]);
        assert_eq!(schema.metadata()["dhih.bits"], "70");
        assert_eq!(Some(&schema.metadata()["dhih.model_sha256"]), expected.model_sha256.as_ref());
        assert_eq!(&got[0]["id"], &input[0]["id"]);
        assert_eq!(&got[0]["name"], &input[0]["name"]);
        assert_eq!((got[0]["error"].null_count(), got[1].num_rows()), (7, 0));
    }
    // More rows than are decoded at once.
    let many: Vec<_> = rows.iter().copied().cycle().take(600).collect();
    let (got, _) = encode(&stream(&[batch(vec![("image", binary(&many))])]), &encoder).unwrap();
    let indices: Vec<usize> = (0..600).map(|i| i % images.len()).collect();
    assert_codes(&got, &CodeSet::new(expected.codes.select(&indices)));
    // A stream without batches has the schema of the codes.
    let empty = batch(vec![("image", binary(&[]))]);
    let mut writer = StreamWriter::try_new(Vec::new(), &empty.schema()).unwrap();
    writer.finish().unwrap();
    let mut out = Vec::new();
    let input = writer.into_inner().unwrap();
    arrow_stream::encode(&input[..], &mut out, Coder::Pictures(&encoder)).unwrap();
    let schema = StreamReader::try_new(&out[..], None).unwrap().schema();
    assert_eq!((schema.fields().len(), &*schema.metadata()["dhih.bits"]), (4, "70"));
}

#[test]
fn a_row_without_an_image_has_a_reason_in_place_of_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let (images, expected) = run(dir.path());
    let encoder = encoder(dir.path());
    let cut = &images[0][..images[0].len() / 2];
    let rows = [Some(&b"GIF89a, no"[..]), Some(&images[3]), None, Some(cut), Some(b"")];
    let (got, done) = encode(&stream(&[batch(vec![("image", binary(&rows))])]), &encoder).unwrap();
    assert_eq!(done, Encoded { rows: 5, without_code: 4 });
    let errors = got[0]["error"].as_string::<i32>();
    for (row, part) in [(0, "image"), (2, "null"), (3, "image"), (4, "0 bytes")] {
        assert!(errors.value(row).contains(part), "{row}: {}", errors.value(row));
        assert!(["code", "w0", "w1"].iter().all(|name| got[0][name].is_null(row)));
    }
    assert!(errors.is_null(1));
    assert_eq!(got[0]["code"].as_binary::<i32>().value(1), expected.codes.get(3));
    // A stream without rows of images.
    let (got, _) =
        encode(&stream(&[batch(vec![("image", binary(&[None; 3]))])]), &encoder).unwrap();
    assert_eq!(got[0]["code"].null_count(), 3);
}

#[test]
fn what_is_no_stream_of_images_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (images, _) = run(dir.path());
    let encoder = encoder(dir.path());
    let refused = |stream: &[u8], expected: &str| {
        let error = encode(stream, &encoder).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    let text = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let image = || binary(&[Some(&images[0])]);
    refused(b"", "empty stream");
    refused(&images[0], "pyarrow.ipc.new_stream");
    refused(b"ARROW1\0\0 and so on", "pyarrow.ipc.new_stream");
    refused(&stream(&[batch(vec![("id", text()), ("img", image())])]), "columns are: id, img");
    refused(&stream(&[batch(vec![("image", text())])]), "is Utf8, expected binary");
    for name in ["code", "w0", "w1", "error"] {
        let taken = stream(&[batch(vec![(name, text()), ("image", image())])]);
        refused(&taken, &format!("a column `{name}` already"));
    }
    assert!(encode(&stream(&[batch(vec![("w2", text()), ("image", image())])]), &encoder).is_ok());

    // A picture that is decoded at once: the stream is cut and changed at each of its bytes.
    let dot = common::encoded(image::RgbImage::new(1, 1), image::ImageFormat::Png);
    let one = batch(vec![("id", text()), ("image", binary(&[Some(&dot)]))]);
    let whole = stream(&[one.clone(), one]);
    assert_eq!(encode(&whole, &encoder).unwrap().1.rows, 2);
    for end in 0..whole.len() {
        assert!(encode(&whole[..end], &encoder).is_err(), "cut at {end} of {}", whole.len());
    }
    refused(&whole[..whole.len() - 8], "after 2 rows without an end marker");
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            // An image or a name may have changed; what matters is that nothing panics.
            let _ = encode(&changed, &encoder);
        }
    }
    // The reader of the codes has gone away.
    let error = arrow_stream::encode(&whole[..], Closed, Coder::Pictures(&encoder))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be written"), "{error}");
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn child(dir: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_dhih-train"))
        .current_dir(dir)
        .args(["encode", "--run", "run"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

const ARROW: [&str; 2] = ["--arrow-stdin", "--arrow-stdout"];

/// An engine sends the next batch when it has read the codes of the last one.
#[test]
fn a_child_process_answers_each_batch_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (images, expected) = run(dir.path());
    let mut child = child(dir.path(), &ARROW);
    let input = |image: &[u8]| batch(vec![("image", binary(&[Some(image)]))]);
    let first = input(&images[0]);
    let mut writer = StreamWriter::try_new(child.stdin.take().unwrap(), &first.schema()).unwrap();
    let mut reader = StreamReader::try_new(child.stdout.take().unwrap(), None).unwrap();
    let mut got = Vec::new();
    for image in &images {
        writer.write(&input(image)).unwrap();
        got.push(reader.next().unwrap().unwrap());
    }
    writer.finish().unwrap();
    assert!(reader.next().is_none());
    assert_codes(&got, &expected);
    drop(writer);
    // Nothing follows the stream.
    let mut rest = Vec::new();
    reader.get_mut().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && message.contains("20 codes of 70 bits"), "{message}");
}

fn ended(mut child: Child, input: &[u8]) -> Output {
    // The program may have ended before it read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_child_process_ends_with_1_where_the_stream_is_bad_and_2_where_flags_are() {
    let dir = tempfile::tempdir().unwrap();
    let (images, _) = run(dir.path());
    let whole = stream(&[batch(vec![("image", binary(&[Some(&images[0])]))])]);
    for (input, part) in [(&whole[..whole.len() - 8], "end marker"), (b"x", "pyarrow.ipc")] {
        let output = ended(child(dir.path(), &ARROW), input);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(part), "{message}");
    }
    for args in [
        &["--arrow-stdin"][..],
        &["--arrow-stdout"],
        &["--arrow-stdin", "--arrow-stdout", "--shard", "1/2"],
        &["--arrow-stdin", "--arrow-stdout", "--input", "photos"],
        &["--arrow-stdin", "--arrow-stdout", "--out", "x.safetensors"],
        &["--arrow-stdin", "--arrow-stdout", "--json"],
        &["--input", "photos"],
        &["--out", "x.safetensors"],
    ] {
        assert_eq!(ended(child(dir.path(), args), b"").status.code(), Some(2), "{args:?}");
    }
}

#[test]
#[ignore = "needs DHIH_PYTHON, a Python with pyarrow"]
fn pyarrow_writes_and_reads_the_streams_and_the_files() {
    let python = std::env::var("DHIH_PYTHON").expect("DHIH_PYTHON names no Python");
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arrow_stream.py");
    let program = env!("CARGO_BIN_EXE_dhih-train");
    let output = Command::new(python).args([script, program]).current_dir(dir.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "20 codes agree");
}
