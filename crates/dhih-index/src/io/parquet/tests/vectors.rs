//! Vectors as lists of floating-point numbers, over several row groups; and what are no vectors.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use half::f16;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::FixedLenByteArray;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::levels;
use crate::io::vectors::Vectors;
use crate::vectors::set::VectorSet;
use crate::vectors::stored::VectorType;

/// A file with a column of lists of this type for each name, each of them written `groups` times. A list that is absent is null.
fn file(
    names: &[&str],
    kind: &str,
    groups: usize,
    lists: &[Option<Vec<f64>>],
) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors.parquet");
    let column = |name: &&str| {
        format!("optional group {name} (LIST) {{ repeated group list {{ optional {kind}; }} }} ")
    };
    let columns: String = names.iter().map(column).collect();
    let schema = Arc::new(parse_message_type(&format!("message m {{ {columns} }}")).unwrap());
    let out = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(out, schema, Default::default()).unwrap();
    let (defined, repeated, values) = levels(lists.iter().map(Option::as_deref));
    let levels = (Some(&defined[..]), Some(&repeated[..]));
    for _ in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            match column.untyped() {
                ColumnWriter::FloatColumnWriter(column) => {
                    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
                    column.write_batch(&values, levels.0, levels.1).unwrap();
                }
                ColumnWriter::DoubleColumnWriter(column) => {
                    column.write_batch(&values, levels.0, levels.1).unwrap();
                }
                ColumnWriter::Int32ColumnWriter(column) => {
                    let values: Vec<i32> = values.iter().map(|x| *x as i32).collect();
                    column.write_batch(&values, levels.0, levels.1).unwrap();
                }
                ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                    let half = |x: &f64| f16::from_f64(*x).to_le_bytes().to_vec();
                    let values: Vec<FixedLenByteArray> =
                        values.iter().map(|x| half(x).into()).collect();
                    column.write_batch(&values, levels.0, levels.1).unwrap();
                }
                _ => panic!("no test writes such a column"),
            }
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    (dir, path)
}

const HALF: &str = "fixed_len_byte_array(2) element (FLOAT16)";

#[test]
fn lists_of_every_float_type_are_vectors() {
    // Exact in half precision; more rows than are decoded at once.
    let list = |row: usize| (0..3).map(|column| (row * 3 + column) as f64 / 8.0).collect();
    let lists: Vec<Option<Vec<f64>>> = (0..1500).map(|row| Some(list(row % 600))).collect();
    for kind in ["float element", "double element", HALF] {
        let (_dir, path) = file(&["embedding"], kind, 2, &lists);
        let vectors = Vectors::open(&path).unwrap();
        assert_eq!((vectors.len(), vectors.dims()), (3000, 3), "{kind}");
        let mut read = Vec::new();
        vectors.read(2500..2502, &mut read).unwrap();
        vectors.read(7..8, &mut read).unwrap();
        let expected = [list(1000 % 600), list(1001 % 600), list(7)].concat();
        assert_eq!(read, expected.iter().map(|x| *x as f32).collect::<Vec<f32>>(), "{kind}");
        let set = VectorSet::open(&path).unwrap();
        assert_eq!((set.len(), set.number_type()), (3000, VectorType::F32));
        assert_eq!(set.get(1).unwrap(), [0.375, 0.5, 0.625]);
    }
}

#[test]
fn the_column_that_is_called_vector_is_the_one() {
    let lists = [Some(vec![1.0, 2.0])];
    let (_dir, path) = file(&["a", "vector", "b"], "float element", 1, &lists);
    assert_eq!(Vectors::open(path).unwrap().dims(), 2);
    let (_dir, path) = file(&["a", "b"], "float element", 1, &lists);
    let error = Vectors::open(path).unwrap_err().to_string();
    assert!(error.contains("`a`, `b`") && error.contains("`vector`"), "{error}");
}

#[test]
fn what_are_no_vectors_is_refused_by_row() {
    let two = || Some(vec![1.0, 2.0]);
    for (kind, lists, part) in [
        (
            "float element",
            vec![two(), Some(vec![1.0])],
            "row 1 of its column `v.list.element` has 1 numbers, and the first 2",
        ),
        ("double element", vec![two(), two(), None], "row 2 of its column"),
        ("double element", vec![two(), Some(vec![])], "row 1 of its column"),
        ("int32 element", vec![two()], "no column of lists of floating-point numbers"),
        ("float element", vec![], "it has no rows"),
    ] {
        let (_dir, path) = file(&["v"], kind, 1, &lists);
        let error = Vectors::open(path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    // NaN is an error when it is read, as in an `.npy` array.
    let (_dir, path) = file(&["v"], "float element", 2, &[two(), Some(vec![0.0, f64::NAN])]);
    let vectors = Vectors::open(path).unwrap();
    vectors.read(0..1, &mut Vec::new()).unwrap();
    let error = vectors.read(0..4, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("row 1 has NaN at 1"), "{error}");
    // A file that is damaged anywhere is an error, not a panic.
    let (_dir, path) = file(&["v"], "float element", 2, &vec![two(); 50]);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        let _ = Vectors::open(&path);
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(Vectors::open(&path).is_err(), "cut off at {at}");
    }
}
