//! The workspace's own tasks: demo, data, checks. No tensors, no bits, no HTTP server: xtask spawns the binaries
//! that know those, and downloads through a binary of its own so that the rest compiles in seconds.
//!
//! ```
//! use clap::Parser;
//! let cli = xtask::cli::Cli::try_parse_from(["cargo xtask", "fetch-data", "--list"]);
//! assert!(cli.is_ok());
//! ```

pub mod cli;
pub mod failure;

mod bench;
mod book;
mod cargo;
mod ci;
mod console;
mod demo;
mod dist;
mod fetch;
mod first_build;
mod report;
mod step;
mod test_python;
mod test_spark;
mod test_web;
mod text_tower;
mod tidy;
mod workspace;

#[cfg(feature = "download")]
pub mod download;
