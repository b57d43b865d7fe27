//! HTTP image search over a trained hashing network and its index.
//!
//! A [`Run`] is what training left on disk, opened and checked: the encoder, the index, the codes and the thumbnails.
//! [`AppState`] puts it behind a bounded set of workers, and [`app`] turns that into a router. Nothing here knows
//! how a network is trained or how an index is searched.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let run = dhih_serve::Run::load(Path::new("runs/latest"), Path::new("runs/latest/index"))?;
//!     let state = Arc::new(dhih_serve::AppState::new(run, dhih_serve::Limits::default()));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//!     dhih_serve::serve(listener, dhih_serve::app(state)).await?;
//!     Ok(())
//! }
//! ```

pub mod api;
mod config;
mod error;
mod facts;
mod gallery;
mod labels;
mod routes;
mod run;
mod shutdown;
mod state;

pub use config::{Config, Limits};
pub use error::{Error, Result};
pub use gallery::{Gallery, Set, Thumbnail};
pub use routes::app;
pub use run::Run;
pub use shutdown::{bind, serve, serve_until};
pub use state::AppState;
