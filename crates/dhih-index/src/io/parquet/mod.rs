//! Codes files as Parquet, for Spark and all other engines. A row is an item, with these columns:
//!
//! - `id`: a whole number that is not negative.
//! - `code`: the bytes of the code; files of other programs may have a list of the bytes, or of +1 and -1 for each bit.
//! - `w0`, `w1`, ...: the same code as little-endian words of 64 bits, which SQL can compare.
//! - `label`: the number of a class; or `labels`: a byte for each class.
//!
//! The metadata has the keys of the safetensors files; Spark keeps them at the column `code`. Other columns are not read.
//! `read.rs` reads a file, with the help of `column.rs`, which knows the types of columns, and of `list.rs`, which knows columns of lists;
//! `vectors.rs` reads vectors instead of codes; `write.rs` writes a codes file; `rows.rs` writes files of rows of numbers, such as pairs. A folder of part files: `part_files.rs`.

mod column;
mod list;
mod naming;
mod read;
mod rows;
mod vectors;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use read::{count_rows, read};
pub(crate) use rows::RowGroups;
pub(crate) use vectors::unpack;
pub use write::ParquetCodes;
pub(crate) use write::write;

/// Eight bytes of a code as a number, with zeros in place of the bytes beyond its end.
fn word_of(code: &[u8], word: usize) -> i64 {
    let mut bytes = [0; 8];
    let rest = &code[8 * word..];
    let length = rest.len().min(8);
    bytes[..length].copy_from_slice(&rest[..length]);
    i64::from_le_bytes(bytes)
}
