//! Codes as lists: of their bytes, as pandas writes numpy rows, and of +1 and -1, as deep-hashing scripts save them. The bug: such a column
//! was reported as missing.

use std::fs::File;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{BITS, CodeSet, Codes, levels};

/// Reads codes of 12 bits from a column `code` of lists of this type; an absent list is null. The file has two row groups.
fn read(kind: &str, lists: &[Option<&[f64]>]) -> Result<CodeSet, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lists.parquet");
    let schema = format!(
        "message m {{ optional group code (LIST) {{ repeated group list {{ optional {kind}; }} }} required int64 id; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let metadata = vec![KeyValue::new(BITS.to_owned(), "12".to_owned())];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties.into()).unwrap();
    for number in 0..2 {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let (defined, repeated, values) = levels(lists.iter().copied());
        let (defined, repeated) = (Some(&defined[..]), Some(&repeated[..]));
        match column.untyped() {
            ColumnWriter::Int32ColumnWriter(column) => {
                let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
                column.write_batch(&values, defined, repeated).unwrap();
            }
            ColumnWriter::Int64ColumnWriter(column) => {
                let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
                column.write_batch(&values, defined, repeated).unwrap();
            }
            ColumnWriter::FloatColumnWriter(column) => {
                let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                column.write_batch(&values, defined, repeated).unwrap();
            }
            ColumnWriter::DoubleColumnWriter(column) => {
                column.write_batch(&values, defined, repeated).unwrap();
            }
            ColumnWriter::BoolColumnWriter(column) => {
                let values: Vec<bool> = values.iter().map(|value| *value > 0.0).collect();
                column.write_batch(&values, defined, repeated).unwrap();
            }
            _ => panic!("no test writes such a column"),
        }
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let ColumnWriter::Int64ColumnWriter(ids) = column.untyped() else { panic!("ids") };
        let first = number * lists.len() as i64;
        ids.write_batch(&(first..first + lists.len() as i64).collect::<Vec<_>>(), None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    CodeSet::read(&path, None).map_err(|error| error.with_causes())
}

#[test]
fn lists_of_bytes_are_codes() {
    for kind in [
        "int32 element (INTEGER(8,false))",
        "int32 element",
        "int32 element (INTEGER(16,true))",
        "int64 element",
        "double element",
    ] {
        let set = read(kind, &[Some(&[200.0, 3.0]), Some(&[1.0, 15.0])]).unwrap();
        assert_eq!(set.codes.as_bytes(), [200, 3, 1, 15, 200, 3, 1, 15], "{kind}");
        assert_eq!(set.ids, Some(vec![0, 1, 2, 3]));
    }
    // Java has no unsigned bytes.
    let set = read("int32 element (INTEGER(8,true))", &[Some(&[-56.0, 3.0])]).unwrap();
    assert_eq!(set.codes.get(1), [200, 3]);
}

#[test]
fn lists_of_plus_and_minus_one_are_codes() {
    let signs: [f64; 12] = [1., -1., 1., 1., -1., -1., -1., 1., 1., -1., -1., 1.];
    let expected = Codes::from_real(12, &signs.map(|sign| sign as f32)).unwrap();
    for kind in
        ["float element", "double element", "int32 element (INTEGER(8,true))", "int64 element"]
    {
        let set = read(kind, &[Some(&signs)]).unwrap();
        assert_eq!(set.codes.get(1), expected.as_bytes(), "{kind}");
    }
}

#[test]
fn other_lists_are_refused_by_row_and_value() {
    let bytes: &[f64] = &[1.0, 2.0];
    let refused = |kind: &str, lists: &[Option<&[f64]>], parts: &[&str]| {
        let error = read(kind, lists).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    };
    let int = "int32 element";
    refused(int, &[Some(bytes), None], &["row 1", "NULL", "`code`"]);
    refused(int, &[Some(bytes), Some(bytes), Some(&[])], &["row 2", "NULL"]);
    refused(
        int,
        &[Some(bytes), Some(&[1.0, 2.0, 3.0])],
        &["row 1", "list of 3", "2 bytes", "12 values"],
    );
    refused(int, &[Some(&[1.0, 256.0])], &["row 0", "256"]);
    refused(int, &[Some(&[-129.0, 0.0])], &["row 0", "-129"]);
    refused("double element", &[Some(bytes), Some(&[0.5, 1.0])], &["row 1", "0.5"]);
    refused("float element", &[Some(&[0.25; 12])], &["row 0", "0.25", "+1 and -1"]);
    refused("boolean element", &[Some(&[1.0; 12])], &["list of BOOLEAN"]);
    // A set bit beyond the 12 of a code.
    refused(int, &[Some(&[1.0, 16.0])], &["12"]);
}
