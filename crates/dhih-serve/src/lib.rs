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
mod encode;
mod error;
mod http;
mod import;
mod items;
mod operation;
#[cfg(feature = "postgres")]
pub mod postgres;
mod run;
mod search;

pub use encode::QueueConfig;
pub use error::{Error, Result};
pub use http::{AppState, app};
pub use import::{ImportConfig, Imported, Skipped, import, import_into};
pub use items::Access;
pub use operation::cli::{Cli, Command, Config, ImportArgs};
pub use operation::keys::Keys;
pub use operation::limits::Limits;
pub use operation::server::{ServerConfig, bind, on_hangup, serve_until, stop_signal};
pub use operation::settings_file::with_file;
pub use operation::telemetry::{LogFormat, log};
pub use operation::tls::{Tls, TlsConfig};
pub use run::Run;
pub use run::gallery::{Gallery, Set, Thumbnail};
pub use run::source::Source;
pub use search::{Found, Neighbour, Query, SearchError, Searcher};
