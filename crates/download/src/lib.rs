//! Files to and from the network: one file from the hub or an address to a local path, and local files as one commit of a
//! repository of the hub.
//!
//! The HTTP stack is many times the rest of the workspace's small crates: whoever uses this has it behind a feature.
//!
//! ```no_run
//! use dhih_download::{STALL, Source, download};
//!
//! let source = Source::Url("https://example.org/a.bin");
//! download(source, "a.bin".as_ref(), STALL)?;
//! # Ok::<(), dhih_download::Error>(())
//! ```

#![warn(clippy::print_stderr)]

mod error;
mod transfer;

mod download;
mod upload;

pub use download::{HubFile, Kind, Source, download};
pub use error::Error;
pub use transfer::STALL;
pub use upload::{Committed, Content, Upload, UploadFile, token, upload};
