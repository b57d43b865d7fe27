//! Everything an operator configures or observes: settings, keys, TLS, listeners, signals, log and metrics.

pub(crate) mod allowed_origin;
pub(crate) mod check;
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod hosts;
pub(crate) mod keys;
mod keys_file;
pub(crate) mod limits;
#[cfg(feature = "otel")]
pub(crate) mod otel;
pub(crate) mod path_prefix;
pub(crate) mod plain_name;
mod process;
pub(crate) mod promote;
pub(crate) mod rate_limit;
pub(crate) mod resource_policy;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod settings_file;
pub(crate) mod signals;
pub(crate) mod snapshots;
pub(crate) mod steps;
#[cfg(feature = "postgres")]
pub(crate) mod store_watch;
pub(crate) mod supervisor;
pub(crate) mod telemetry;
pub(crate) mod tls;
pub(crate) mod trust;
