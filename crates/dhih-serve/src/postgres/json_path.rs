//! A jsonpath predicate as a parameter of a statement. In PostgreSQL's binary format it is a version byte and its text. PostgreSQL parses such a
//! parameter once for each statement; a parameter of type text would be parsed for each row.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

/// The version of the binary format.
const VERSION: u8 = 1;

/// A predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonPath(pub(super) String);

impl ToSql for JsonPath {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u8(VERSION);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSONPATH);
    to_sql_checked!();
}
