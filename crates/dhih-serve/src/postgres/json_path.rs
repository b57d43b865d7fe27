//! A predicate in jsonpath, as it goes over the wire: a byte for the version of the form, then its text. As a parameter of PostgreSQL's type it is
//! read once for each statement, and not once for each row, as a text would be.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

/// The version of the form.
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
