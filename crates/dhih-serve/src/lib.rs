//! HTTP image search over a trained hashing network and its index.
//!
//! A [`Run`] is what training left on disk, opened and checked: the encoder, the index and what was added to it, the codes and the
//! thumbnails. [`AppState`] puts it behind limits, an encode queue and a bounded set of workers, and [`app`] turns that into a
//! router. Nothing here knows how a network is trained or how an index is searched.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//!
//! use dhih_serve::{Access, AppState, Keys, Limits, QueueConfig, Run, ServerConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (run, index) = (Path::new("runs/latest"), Path::new("runs/latest/index"));
//!     let run = Run::load(run, index, Access::Writable)?;
//!     let (limits, queue) = (Limits::default(), QueueConfig::default());
//!     let state = Arc::new(AppState::new(run, limits, Keys::default(), queue)?);
//!     let listener = dhih_serve::bind("127.0.0.1:0".parse()?).await?;
//!     let (app, how) = (dhih_serve::app(state), (ServerConfig::default(), None));
//!     dhih_serve::serve_until(listener, app, how, dhih_serve::stop_signal()).await;
//!     Ok(())
//! }
//! ```

pub mod api;
mod auth;
mod catalogue;
mod checks;
mod config;
mod encode_queue;
mod error;
mod facts;
mod gallery;
mod import;
mod labels;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rerank;
mod routes;
mod run;
mod searcher;
mod server;
mod source;
mod state;
mod store;
mod telemetry;
mod thumbnail;
mod tls;

pub use auth::Keys;
pub use config::{Cli, Command, Config, ImportArgs, Limits, LogFormat, with_file};
pub use encode_queue::QueueConfig;
pub use error::{Error, Result};
pub use gallery::{Gallery, Set, Thumbnail};
pub use import::{Imported, Skipped, import, import_into};
pub use routes::app;
pub use run::Run;
pub use searcher::{Found, Neighbour, Query, SearchError, Searcher};
pub use server::{ServerConfig, bind, on_hangup, serve_until, stop_signal};
pub use source::Source;
pub use state::AppState;
pub use store::Access;
pub use telemetry::log;
pub use tls::{Tls, TlsConfig};
