//! HTTP image search over a trained hashing network and its index.
//!
//! A [`Run`] is the output of a training on disk, opened and checked: the encoder, the index and the items that were added to it, the codes
//! and the thumbnails. It may also be an index with a codec, or an index alone ([`Origin`]). [`AppState`] puts it behind limits, an encode
//! queue and a bounded number of threads, and [`app`] turns the state into a router. This crate does not know how a network is trained or
//! how an index is searched.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//!
//! use dhih_serve::{Access, AppState, Keys, Limits, QueueConfig, Run, Server, ServerConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (run, index) = (Path::new("runs/latest"), Path::new("runs/latest/index"));
//!     let run = Run::load(run, index, Access::Writable)?;
//!     let (limits, queue) = (Limits::default(), QueueConfig::default());
//!     let state = Arc::new(AppState::new(run, limits, Keys::default(), queue)?);
//!     let listener = dhih_serve::bind("127.0.0.1:0".parse()?).await?;
//!     let app = dhih_serve::app(state);
//!     let server = Server { listener, app, config: ServerConfig::default(), tls: None };
//!     server.run(std::future::pending()).await;
//!     Ok(())
//! }
//! ```

pub mod api;
mod background;
mod blocking;
mod collections;
mod disk;
mod encode;
mod error;
mod file_identity;
mod http;
mod import;
mod items;
mod json_object;
mod operation;
#[cfg(feature = "postgres")]
pub mod postgres;
mod replication;
mod run;
mod search;

pub use collections::CollectionName;
pub use encode::QueueConfig;
pub use error::{Error, MakerKind, Result};
pub use http::{Admin, AppState, Collections, CollectionsConfig, Shared, app};
pub use import::{ImportConfig, Imported, Skipped, import, import_into};
pub use items::metadata::{FieldDeclaration, FieldType};
pub use items::{Access, Checked, check_index};
pub use operation::allowed_origin::AllowedOrigin;
pub use operation::check::check;
pub use operation::cli::{CheckArgs, Cli, Command, Config, ImportArgs, KeysCommand, PromoteArgs};
pub use operation::hosts::{HostName, Hosts};
pub use operation::keys::{Keys, Role, hash_key};
pub use operation::limits::Limits;
pub use operation::path_prefix::PathPrefix;
pub use operation::plain_name::PlainNameError;
pub use operation::promote::promote;
pub use operation::resource_policy::ResourcePolicy;
pub use operation::server::{Server, ServerConfig, Timeouts, bind};
pub use operation::service::serve;
pub use operation::settings_file::with_file;
#[cfg(feature = "postgres")]
pub use operation::store_watch::StoreWatch;
pub use operation::telemetry::{Log, LogFormat, log};
pub use operation::tls::{Tls, TlsConfig};
pub use replication::address::{PrimaryAddress, PrimaryAddressError};
pub use run::Run;
pub use run::coder::Origin;
pub use run::gallery::{Gallery, Set, Thumbnail};
pub use run::links::LinkTemplate;
pub use run::source::{Served, Source};
pub use search::{
    CancelOnDrop, Cancellation, Explained, Found, Neighbour, Query, Scope, SearchError, Searcher,
};
