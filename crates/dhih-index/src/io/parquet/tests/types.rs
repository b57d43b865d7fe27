//! The types that columns may have: whole numbers of any width, signed or not, and bytes. Each other type is refused by name, and
//! so is the one codec that is not read.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::{BITS, CodeSet, Codes, Labels, file, there_and_back};

/// The set of a file with the words of two codes and one more column.
fn with_column(field: &str, values: &[i64]) -> Result<CodeSet, String> {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<i64> = (0..values.len() as i64).collect();
    let path = file(dir.path(), &[("required int64 w0", &words), (field, values)], &[(BITS, "64")]);
    CodeSet::read(&path, None).map_err(|error| error.with_causes())
}

#[test]
fn ids_are_what_their_type_says() {
    let (below, above) = (i64::from(u32::MAX) - 1, (1_u64 << 63) + 5);
    for (kind, value, expected) in [
        ("int32", 7, 7),
        ("int32 %s (INTEGER(8,true))", 7, 7),
        ("int32 %s (INTEGER(8,false))", 200, 200),
        ("int32 %s (UINT_16)", 60_000, 60_000),
        ("int32 %s (INTEGER(32,false))", below, below as u64),
        ("int32 %s (UINT_32)", below, below as u64),
        ("int64", i64::MAX, i64::MAX as u64),
        ("int64 %s (INTEGER(64,true))", i64::MAX, i64::MAX as u64),
        ("int64 %s (INTEGER(64,false))", above.cast_signed(), above),
        ("int64 %s (UINT_64)", above.cast_signed(), above),
    ] {
        let field = |name: &str| match kind.contains("%s") {
            true => format!("required {}", kind.replace("%s", name)),
            false => format!("required {kind} {name}"),
        };
        // Both row groups have the same id, so that a set of them is refused by it.
        let error = with_column(&field("id"), &[value]).unwrap_err();
        assert!(error.contains(&format!("id {expected} occurs more than once")), "{kind}: {error}");
        match i64::try_from(expected) {
            Ok(label) => {
                let set = with_column(&field("label"), &[value, 0]).unwrap();
                assert_eq!(set.labels, Some(Labels::Single(vec![label, 0, label, 0])), "{kind}");
            }
            Err(_) => {
                let error = with_column(&field("label"), &[0, value]).unwrap_err();
                let expected = format!("row 1 of its column `label` is {expected}: ");
                assert!(error.contains(&expected), "{kind}: {error}");
            }
        }
    }
}

#[test]
fn a_negative_id_is_refused_and_a_negative_label_is_none() {
    for field in ["required int64 id", "required int32 id", "required int32 id (INTEGER(16,true))"]
    {
        let error = with_column(field, &[4, -3]).unwrap_err();
        assert!(error.contains("row 1 of its column `id` is -3: "), "{error}");
    }
    let set = with_column("required int64 label", &[4, -1]).unwrap();
    assert_eq!(set.labels, Some(Labels::Single(vec![4, Labels::NONE, 4, Labels::NONE])));
}

#[test]
fn large_ids_are_written_as_unsigned_numbers() {
    let field = |ids: Vec<u64>| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.parquet");
        let codes = Codes::new(8, vec![0; ids.len()]).unwrap();
        let set = CodeSet { ids: Some(ids), ..CodeSet::new(codes) };
        set.write(&path).unwrap();
        assert_eq!(there_and_back(&set), set);
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr();
        format!("{:?}", schema.column(0).logical_type_ref())
    };
    assert_eq!(field(vec![0, i64::MAX as u64]), "None");
    assert!(field(vec![0, 1 << 63]).contains("is_signed: false"));
}

#[test]
fn words_of_32_bits_are_read_where_their_sign_is_plain() {
    let read = |field: &str, values: &[i64]| {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), &[(field, values)], &[(BITS, "32")]);
        CodeSet::read(&path, None).map_err(|error| error.with_causes())
    };
    let expected = [[1, 0, 0, 0], [254, 255, 255, 255]].concat();
    let set = read("required int32 w0 (UINT_32)", &[1, -2]).unwrap();
    assert_eq!(set.codes.as_bytes(), expected.repeat(2));
    assert_eq!(read("required int32 w0", &[1, 2]).unwrap().codes.get(1), [2, 0, 0, 0]);
    let error = read("required int32 w0", &[1, -2]).unwrap_err();
    assert!(error.contains("row 1 of its column `w0` is -2: "), "{error}");
}

#[test]
fn a_column_of_another_type_is_refused_by_its_type() {
    for (field, found, wanted) in [
        ("required double id", "`id` is of type DOUBLE:", "whole numbers"),
        ("required int64 id (TIMESTAMP_MILLIS)", "INT64 (TIMESTAMP_MILLIS)", "whole numbers"),
        ("required int64 id (TIMESTAMP(NANOS,true))", "INT64 (Timestamp", "whole numbers"),
        ("required int32 label (DATE)", "INT32 (DATE)", "whole numbers"),
        ("required int64 label (DECIMAL(9,2))", "INT64 (DECIMAL)", "whole numbers"),
        ("required binary id (STRING)", "BYTE_ARRAY (UTF8)", "whole numbers"),
        ("required double w1", "`w1` is of type DOUBLE:", "whole numbers"),
        ("required int64 code", "`code` is of type INT64:", "bytes"),
        ("required binary code (STRING)", "BYTE_ARRAY (UTF8)", "bytes"),
        ("required int64 labels", "`labels` is of type INT64:", "bytes"),
        ("required group labels { required int64 item; }", "`labels` is nested", "single values"),
    ] {
        let error = with_column(field, &[1, 2]).unwrap_err();
        assert!(error.contains(found) && error.contains(wanted), "{field}: {error}");
    }
}

/// Data in a column chunk that is said to be compressed with LZO: the test cannot write such data itself, and none is read.
fn said_to_be_lzo(from: &Path, to: &Path) {
    let source = File::open(from).unwrap();
    let reader = SerializedFileReader::new(source.try_clone().unwrap()).unwrap();
    let schema = Arc::new(reader.metadata().file_metadata().schema().clone());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(File::create(to).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for metadata in reader.metadata().row_group(0).columns() {
        let codec = Compression::LZO;
        let metadata = metadata.clone().into_builder().set_compression(codec).build().unwrap();
        let result = ColumnCloseResult {
            bytes_written: metadata.compressed_size() as u64,
            rows_written: metadata.num_values() as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(&source, result).unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn a_codec_that_no_build_reads_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let from = file(dir.path(), &[("required int64 w0", &[1, 2])], &[]);
    let to = dir.path().join("lzo.parquet");
    said_to_be_lzo(&from, &to);
    let error = CodeSet::read(&to, Some(64)).unwrap_err().with_causes();
    assert!(error.contains("column `w0` is compressed with LZO"), "{error}");
    assert!(error.contains("write the file with Snappy or Zstandard"), "{error}");
}
