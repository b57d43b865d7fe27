//! Parquet files with columns of any type that the tests of readers need.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{
    SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter,
};
use parquet::schema::parser::parse_message_type;

/// A column and its values.
pub(crate) enum Column {
    /// A group `bytes`, `path`; the bytes of each row.
    Pictures(Vec<Option<Vec<u8>>>),
    /// A field of Parquet's schema language, of 32 or 64 bits.
    Integers(String, Vec<Option<i64>>),
    /// A field of Parquet's schema language, of byte strings.
    Texts(String, Vec<Option<String>>),
    Doubles(Vec<f64>),
    /// Lists of whole numbers.
    Lists(Vec<Option<Vec<i64>>>),
}

impl Column {
    pub(crate) fn integers(field: &str, values: &[Option<i64>]) -> Self {
        Self::Integers(field.to_owned(), values.to_vec())
    }

    pub(crate) fn texts(field: &str, values: &[Option<&str>]) -> Self {
        Self::Texts(field.to_owned(), values.iter().map(|x| x.map(str::to_owned)).collect())
    }

    fn field(&self, name: &str) -> String {
        match self {
            Self::Pictures(_) => format!(
                "optional group {name} {{ optional binary bytes; optional binary path (STRING); }}"
            ),
            Self::Integers(field, _) | Self::Texts(field, _) => format!("{field};"),
            Self::Doubles(_) => format!("required double {name};"),
            Self::Lists(_) => format!(
                "optional group {name} (LIST) {{ repeated group list {{ optional int64 element; }} }}"
            ),
        }
    }
}

/// Writes a file of one row group.
pub(crate) fn write(path: &Path, codec: Compression, columns: &[(&str, Column)]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let fields: String = columns.iter().map(|(name, column)| column.field(name)).collect();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {fields} }}")).unwrap());
    let properties = WriterProperties::builder().set_compression(codec).build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, column) in columns {
        match column {
            Column::Pictures(rows) => {
                let bytes: Vec<ByteArray> =
                    rows.iter().flatten().map(|bytes| ByteArray::from(bytes.clone())).collect();
                let levels = rows.iter().map(|row| 1 + i16::from(row.is_some())).collect();
                put_bytes(next(&mut group), &bytes, levels);
                put_bytes(next(&mut group), &[], vec![1; rows.len()]);
            }
            Column::Integers(_, rows) => put_integers(next(&mut group), rows),
            Column::Texts(_, rows) => {
                let bytes: Vec<ByteArray> =
                    rows.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
                put_bytes(
                    next(&mut group),
                    &bytes,
                    rows.iter().map(|row| i16::from(row.is_some())).collect(),
                );
            }
            Column::Doubles(values) => {
                let mut column = next(&mut group);
                let ColumnWriter::DoubleColumnWriter(writer) = column.untyped() else {
                    panic!("no column of doubles")
                };
                writer.write_batch(values, None, None).unwrap();
                column.close().unwrap();
            }
            Column::Lists(rows) => put_lists(next(&mut group), rows),
        }
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn next<'a>(group: &'a mut SerializedRowGroupWriter<'_, File>) -> SerializedColumnWriter<'a> {
    group.next_column().unwrap().unwrap()
}

fn put_bytes(mut column: SerializedColumnWriter, values: &[ByteArray], levels: Vec<i16>) {
    let ColumnWriter::ByteArrayColumnWriter(writer) = column.untyped() else {
        panic!("no column of bytes")
    };
    writer.write_batch(values, Some(&levels), None).unwrap();
    column.close().unwrap();
}

fn put_integers(mut column: SerializedColumnWriter, rows: &[Option<i64>]) {
    let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
    let values: Vec<i64> = rows.iter().flatten().copied().collect();
    match column.untyped() {
        ColumnWriter::Int64ColumnWriter(writer) => {
            writer.write_batch(&values, Some(&levels), None).unwrap();
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
            writer.write_batch(&values, Some(&levels), None).unwrap();
        }
        _ => panic!("no column of whole numbers"),
    }
    column.close().unwrap();
}

fn put_lists(mut column: SerializedColumnWriter, rows: &[Option<Vec<i64>>]) {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row.as_deref() {
            None | Some([]) => {
                defined.push(i16::from(row.is_some()));
                repeated.push(0);
            }
            Some(list) => {
                values.extend(list);
                defined.extend(list.iter().map(|_| 3));
                repeated.extend((0..list.len()).map(|i| i16::from(i > 0)));
            }
        }
    }
    let ColumnWriter::Int64ColumnWriter(writer) = column.untyped() else {
        panic!("no list of whole numbers")
    };
    writer.write_batch(&values, Some(&defined), Some(&repeated)).unwrap();
    column.close().unwrap();
}
