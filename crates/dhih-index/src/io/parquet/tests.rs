//! Written files are read back; files of other programs are read, or refused with a reason. `types.rs` tests types of columns, `lists.rs`
//! columns of lists, and `vectors.rs` vectors.

mod lists;
mod types;
mod vectors;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::ParquetCodes;
use super::read::{Rows, SPARK, check_words};
use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::Error;
use crate::io::metadata::BITS;
use crate::io::row_file::{self, Column, Kind};

/// Definition levels, repetition levels and values of a column of lists; an absent list is null.
fn levels<'a, T: Copy + 'a>(
    lists: impl Iterator<Item = Option<&'a [T]>>,
) -> (Vec<i16>, Vec<i16>, Vec<T>) {
    let (mut defined, mut repeated, mut values) = (vec![], vec![], vec![]);
    for list in lists {
        match list {
            None | Some([]) => {
                defined.push(i16::from(list.is_some()));
                repeated.push(0);
            }
            Some(list) => {
                values.extend_from_slice(list);
                defined.extend(list.iter().map(|_| 3));
                repeated.extend((0..list.len()).map(|i| i16::from(i > 0)));
            }
        }
    }
    (defined, repeated, values)
}

fn set(bits: u32, count: usize) -> CodeSet {
    let width = bits::bytes_per_code(bits);
    let mut bytes: Vec<u8> = (0..count * width).map(|i| (i * 37 % 251) as u8).collect();
    if !bits.is_multiple_of(8) {
        bytes.iter_mut().skip(width - 1).step_by(width).for_each(|b| *b &= (1 << (bits % 8)) - 1);
    }
    CodeSet::new(Codes::new(bits, bytes).unwrap())
}

#[test]
fn a_file_is_written_part_by_part_with_texts_beside_the_codes() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    let part = |ids: std::ops::Range<u64>| CodeSet {
        labels: Some(Labels::Single(ids.clone().map(|id| id as i64 % 3).collect())),
        classes: vec!["a".into(), "b".into(), "c".into()],
        ids: Some(ids.clone().collect()),
        ..set(40, ids.count())
    };
    let text = |id: u64| (!id.is_multiple_of(4)).then(|| format!("text {id}"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("items.parquet");
    let mut parts =
        ParquetCodes::new(File::create(&path).unwrap(), &part(0..0), &["text"]).unwrap();
    for ids in [0..5, 5..6, 6..30] {
        parts.write(&part(ids.clone()), &[ids.map(text).collect()]).unwrap();
    }
    let few = parts.write(&part(30..32), &[vec![None]]).unwrap_err();
    assert_eq!(few.kind(), std::io::ErrorKind::InvalidInput);
    parts.finish().unwrap();
    let read = CodeSet::read(&path, None).unwrap();
    assert_eq!(read.ids, part(0..30).ids);
    assert_eq!((read.labels, read.classes), (part(0..30).labels, part(0..30).classes));
    let rows = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let column = rows.metadata().file_metadata().schema_descr().num_columns() - 1;
    let texts =
        rows.get_row_iter(None).unwrap().map(|row| row.unwrap().get_string(column).ok().cloned());
    assert_eq!(texts.collect::<Vec<_>>(), (0..30).map(text).collect::<Vec<_>>());
}

fn there_and_back(set: &CodeSet) -> CodeSet {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.parquet");
    set.write(&path).unwrap();
    CodeSet::read(&path, None).unwrap()
}

/// The bug: an id that was greater than announced became a negative number.
#[test]
fn ids_are_no_greater_than_was_told() {
    let part = |id| CodeSet { ids: Some(vec![id]), ..set(8, 1) };
    let mut parts = ParquetCodes::new(Vec::new(), &part(5), &[]).unwrap();
    parts.write(&part(i64::MAX as u64), &[]).unwrap();
    let refused = parts.write(&part(1 << 63), &[]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    let columns = [Column { name: "id", kind: Kind::Id }];
    let written = row_file::write(&path, &columns, 5, |rows| rows.write(&[7, 1 << 63]));
    assert!(written.unwrap_err().with_causes().contains("2^63") && !path.exists());
}

/// The bug: an index that was built of a file without rows had no labels, and refused the labelled items that were added.
#[test]
fn a_file_without_rows_has_the_labels_that_its_columns_name() {
    let labels = |labels, classes: &[&str]| {
        let classes = classes.iter().map(|name| (*name).to_owned()).collect();
        there_and_back(&CodeSet { labels: Some(labels), classes, ..set(16, 0) }).labels
    };
    let multi_hot = || Labels::MultiHot { classes: 2, values: Vec::new() };
    assert_eq!(labels(Labels::Single(Vec::new()), &[]), Some(Labels::Single(Vec::new())));
    assert_eq!(labels(multi_hot(), &["a", "b"]), Some(multi_hot()));
    // Nothing tells how many classes there are.
    assert_eq!(labels(multi_hot(), &[]), None);
    assert_eq!(there_and_back(&set(16, 0)).labels, None);
}

#[test]
fn what_is_written_is_read() {
    for bits in [8, 12, 48, 64, 100, 128, 1024, 4096] {
        let plain = set(bits, 300);
        let ids = Some((0..300).map(|i| u64::MAX - 3 * i).collect::<Vec<u64>>());
        let single = CodeSet {
            ids: ids.clone(),
            labels: Some(Labels::Single((0..300).map(|i| i % 2).collect())),
            classes: vec!["a".into(), "b, \"c\"".into()],
            model_sha256: Some("ab".into()),
            ..plain.clone()
        };
        assert_eq!(there_and_back(&single), single);
        let values = (0..900).map(|i| u8::from(i % 4 == 0)).collect();
        let labels = Some(Labels::MultiHot { classes: 3, values });
        let hot = CodeSet { ids, labels, ..plain.clone() };
        assert_eq!(there_and_back(&hot), hot);
        // Ids are always written.
        let numbered = CodeSet { ids: Some((0..300).collect()), ..plain.clone() };
        assert_eq!(there_and_back(&plain), numbered);
    }
    assert!(there_and_back(&set(64, 0)).codes.is_empty());
}

/// Writes a file of two row groups, each with these columns: a field of Parquet's schema, and its values, of which -9 stands for
/// NULL in optional columns.
fn file(dir: &Path, columns: &[(&str, &[i64])], metadata: &[(&str, &str)]) -> std::path::PathBuf {
    let path = dir.join("made.parquet");
    let end = |field: &str| if field.ends_with('}') { "" } else { ";" };
    let schema: String =
        columns.iter().map(|(field, _)| format!("{field}{}", end(field))).collect();
    let schema = Arc::new(parse_message_type(&format!("message m {{ {schema} }}")).unwrap());
    let entry = |(key, value): &(&str, &str)| KeyValue::new((*key).to_owned(), (*value).to_owned());
    let metadata = Some(metadata.iter().map(entry).collect());
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties.into()).unwrap();
    for _ in 0..2 {
        let mut group = writer.next_row_group().unwrap();
        for (field, values) in columns {
            let is_optional = field.starts_with("optional");
            let is_null = |value: &i64| is_optional && *value == -9;
            let levels: Vec<i16> = values.iter().map(|value| i16::from(!is_null(value))).collect();
            let present: Vec<i64> =
                values.iter().copied().filter(|value| !is_null(value)).collect();
            write_values(
                group.next_column().unwrap().unwrap(),
                &present,
                is_optional.then_some(&levels),
            );
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    path
}

/// Writes numbers into a column of any type that the tests use.
fn write_values(mut column: SerializedColumnWriter, values: &[i64], levels: Option<&Vec<i16>>) {
    let levels = levels.map(|levels| &levels[..]);
    let written = match column.untyped() {
        ColumnWriter::Int64ColumnWriter(column) => column.write_batch(values, levels, None),
        ColumnWriter::Int32ColumnWriter(column) => {
            let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
            column.write_batch(&values, levels, None)
        }
        ColumnWriter::DoubleColumnWriter(column) => {
            let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            column.write_batch(&values, levels, None)
        }
        ColumnWriter::ByteArrayColumnWriter(column) => {
            let bytes = |value: &i64| ByteArray::from(value.to_le_bytes().to_vec());
            let values: Vec<ByteArray> = values.iter().map(bytes).collect();
            column.write_batch(&values, levels, None)
        }
        _ => panic!("no test writes such a column"),
    };
    written.unwrap();
    column.close().unwrap();
}

#[test]
fn words_alone_are_codes_and_other_columns_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let columns: [(&str, &[i64]); 3] = [
        ("optional int64 w0", &[1, 258]),
        ("required int64 other", &[5, 5]),
        ("optional int64 label", &[3, 4]),
    ];
    let path = file(dir.path(), &columns, &[]);
    assert!(matches!(CodeSet::read(&path, None), Err(Error::BitsNeeded { .. })));
    let set = CodeSet::read(&path, Some(16)).unwrap();
    assert_eq!(set.codes.as_bytes(), [1, 0, 2, 1, 1, 0, 2, 1]);
    assert_eq!(set.labels, Some(Labels::Single(vec![3, 4, 3, 4])));
    let error = CodeSet::read(&path, Some(8)).unwrap_err().to_string();
    assert!(error.contains("beyond the 8"), "{error}");
    let path = file(dir.path(), &columns, &[(BITS, "16")]);
    assert_eq!(CodeSet::read(&path, None).unwrap(), set);
    assert!(CodeSet::read(&path, Some(32)).is_err());
}

/// Spark writes no metadata of the file, but metadata of columns in its own schema.
#[test]
fn what_spark_keeps_at_the_column_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let columns: [(&str, &[i64]); 1] = [("optional int64 w0", &[1, 2])];
    let of = |metadata: &str| {
        let code = format!(r#"{{"name":"code","type":"binary","metadata":{metadata}}}"#);
        let schema = format!(r#"{{"type":"struct","fields":[{{"name":"id"}},{code}]}}"#);
        let path = file(dir.path(), &columns, &[(SPARK, &schema)]);
        CodeSet::read(&path, None)
    };
    for bits in ["16", "\"16\""] {
        let set = of(&format!(r#"{{"dhih.bits":{bits},"dhih.model_sha256":"ab"}}"#)).unwrap();
        assert_eq!((set.codes.bits(), set.model_sha256.as_deref()), (16, Some("ab")));
    }
    for metadata in ["{}", "null", "[1]", "no JSON"] {
        assert!(matches!(of(metadata), Err(Error::BitsNeeded { .. })), "{metadata}");
    }
    let error = of(r#"{"dhih.bits":"many"}"#).unwrap_err().to_string();
    assert!(error.contains("many"), "{error}");
    // The file's own metadata comes first.
    let path = file(dir.path(), &columns, &[(SPARK, "{}"), (BITS, "8")]);
    assert_eq!(CodeSet::read(&path, None).unwrap().codes.bits(), 8);
}

#[test]
fn words_that_are_not_those_of_the_codes_are_refused() {
    let codes = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 0, 0, 0, 0, 0, 0, 0, 0, 255]];
    let rows = Rows { start: 5, count: 2, width: 10, codes: codes.concat(), ..Rows::default() };
    let [low, high] = [vec![0x0807_0605_0403_0201, 0], vec![0x0a09, 0xff00]];
    let check = |words: &[Vec<i64>]| check_words(&rows, words);
    check(&[]).unwrap();
    check(&[low.clone(), high.clone()]).unwrap();
    let refused = |words: &[Vec<i64>], expected: &str| {
        let error = check(words).unwrap_err().reason;
        assert!(error.contains(expected), "{error}");
    };
    refused(std::slice::from_ref(&low), "1 words for codes of 10 bytes, not 2");
    refused(&[low.clone(), high.clone(), high.clone()], "3 words");
    let big_endian = low.iter().map(|word| word.swap_bytes()).collect();
    refused(&[big_endian, high.clone()], "`w0` of row 5");
    refused(&[low, vec![high[0], high[1] + 1]], "`w1` of row 6");
}

#[test]
fn other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |columns: &[(&str, &[i64])], expected: &str| {
        let path = file(dir.path(), columns, &[(BITS, "64")]);
        let error = CodeSet::read(&path, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&[("required int64 id", &[1])], "no column `code`");
    refused(
        &[("optional int64 w0", &[1, -9])],
        "`w0` has rows without a value (NULL), the first of which is row 1",
    );
    refused(
        &[("required int64 w0", &[1]), ("required int64 id", &[1])],
        "id 1 occurs more than once, in rows 0 and 1",
    );
    refused(&[("required int64 w0", &[1]), ("required int64 w1", &[1])], "beyond the 64");
    let whole = std::fs::read(file(dir.path(), &[("required int64 w0", &[1])], &[])).unwrap();
    let path = dir.path().join("cut.parquet");
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(CodeSet::read(&path, Some(64)).is_err(), "cut at {end}");
    }
}

/// The bug: room was made for as many numbers as the footer claims to have rows, and a process without that much memory ends at once.
#[test]
fn a_damaged_number_of_rows_is_an_error() {
    use parquet::file::metadata::ParquetMetaDataWriter;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    let dir = tempfile::tempdir().unwrap();
    for columns in [[("required int64 w0", &[1, 2])], [("required int32 w0", &[1, 2])]] {
        let columns: [(&str, &[i64]); 1] = columns.map(|(name, values)| (name, &values[..]));
        let path = file(dir.path(), &columns, &[(BITS, "64")]);
        let metadata = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let mut metadata = metadata.metadata().clone().into_builder();
        let groups = metadata.take_row_groups().into_iter();
        let groups =
            groups.map(|group| group.into_builder().set_num_rows(1 << 40).build().unwrap());
        let metadata = metadata.set_row_groups(groups.collect()).build();
        // The new footer stands behind the old one, which nobody reads any more.
        let mut bytes = std::fs::read(&path).unwrap();
        ParquetMetaDataWriter::new(&mut bytes, &metadata).finish().unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = CodeSet::read(&path, None).unwrap_err().to_string();
        assert!(error.contains("ends after 2 of 1099511627776 rows"), "{error}");
    }
}
