//! The result type of reading a column, and the names of column types in error messages.

use parquet::basic::ConvertedType;
use parquet::schema::types::ColumnDescriptor;

use crate::io::fault::Fault;

pub(super) type Read<T> = Result<T, Fault>;

/// The type of a column as Parquet names it, such as `INT32 (UINT_32)` or `BYTE_ARRAY (String)`.
pub(super) fn type_name(column: &ColumnDescriptor) -> String {
    let physical = column.physical_type();
    match (column.logical_type_ref(), column.converted_type()) {
        (None, ConvertedType::NONE) => physical.to_string(),
        (_, converted) if converted != ConvertedType::NONE => format!("{physical} ({converted})"),
        (Some(logical), _) => format!("{physical} ({logical:?})"),
        (None, converted) => format!("{physical} ({converted})"),
    }
}
