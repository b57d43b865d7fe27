//! The layers around the routes, one in each file. `http/mod.rs` defines their order.

mod access_log;
mod body_memory;
mod caller;
mod change_log;
mod cors;
mod host;
mod in_flight_limit;
mod rights;
mod security_headers;
mod surround;

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::http::ApiError;

pub(crate) use body_memory::{charge_body, charge_picture_body};
pub(crate) use caller::{admit, of as caller_of};
pub(crate) use in_flight_limit::InFlight;
pub(crate) use rights::{
    Gate, administering, own_pages, reading, replicating, succeeding, writing,
};
pub(crate) use security_headers::{SecurityHeaders, security_headers};
pub(crate) use surround::surround;

/// The answer to a request whose handler panicked.
fn panicked(cause: &(dyn Any + Send)) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    ApiError::internal(text.unwrap_or("a panic").to_owned()).into_response()
}
