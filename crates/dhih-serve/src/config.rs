//! What an operator may set: command line flags, their `DHIH_...` twins, and the limits a request is held to.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::Run;

const EXAMPLE: &str = "Example:
  dhih-serve --run runs/latest --bind 127.0.0.1:7878
  curl -F image=@ring.png 'http://127.0.0.1:7878/v1/search?k=10'";

/// Serves image search over a trained run: a web page and an HTTP API.
#[derive(Debug, Clone, Parser)]
#[command(name = "dhih-serve", version, after_help = EXAMPLE)]
pub struct Config {
    /// Run directory, as `dhih-train` writes it.
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Index directory, as `dhih-index build` writes it [default: RUN/index].
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one. The last line on stdout is the page's URL.
    #[arg(long, env = "DHIH_BIND", value_name = "ADDR", default_value = "127.0.0.1:7878")]
    pub bind: SocketAddr,
    /// Largest request body, in MiB.
    #[arg(long, env = "DHIH_MAX_BODY_MIB", value_name = "MIB", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body_mib: u16,
    /// Listen on an address that other machines can reach. There are no API keys yet: whoever reaches the port may
    /// search and see the thumbnails.
    #[arg(long, env = "DHIH_ALLOW_PUBLIC")]
    pub allow_public: bool,
    /// Print one JSON object with the URL, the number of items and of bits on stdout, instead of the URL.
    #[arg(long, env = "DHIH_JSON")]
    pub json: bool,
    /// How much to log on stderr: off, error, warn, info, debug or trace.
    #[arg(long, env = "DHIH_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
}

impl Config {
    /// Checks what no single flag can know of another. The message names the value and the cure.
    pub fn check(&self) -> Result<(), String> {
        if self.bind.ip().is_loopback() || self.allow_public {
            return Ok(());
        }
        Err(format!(
            "--bind {} can be reached from other machines, and there are no API keys yet: bind 127.0.0.1:{}, or give \
             --allow-public to let whoever reaches the port search and see the thumbnails",
            self.bind,
            self.bind.port()
        ))
    }

    /// The index directory: the one given, or the run's own.
    pub fn index_dir(&self) -> PathBuf {
        self.index.clone().unwrap_or_else(|| Path::new(&self.run).join("index"))
    }

    /// The line on stdout that says where the page is.
    pub fn announcement(&self, url: &str, run: &Run) -> String {
        match self.json {
            true => json!({ "url": url, "items": run.len(), "bits": run.bits() }).to_string(),
            false => url.to_owned(),
        }
    }

    /// The limits these flags ask for.
    pub fn limits(&self) -> Limits {
        Limits { max_body_bytes: usize::from(self.max_body_mib) << 20, ..Limits::default() }
    }
}

/// What a request may take before it is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body, in bytes; more is a 413.
    pub max_body_bytes: usize,
    /// Longest time from the first byte of a request to its answer; more is a 408.
    pub request_timeout: Duration,
    /// Longest wait for a free worker; more is a 503.
    pub queue_timeout: Duration,
    /// How many requests decode, encode and search at the same time.
    pub workers: usize,
    /// What a picture may measure, checked before its pixels are decoded; more is a 422.
    pub image: dhih_model::image::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 << 20,
            request_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            image: dhih_model::image::Limits::default(),
        }
    }
}
