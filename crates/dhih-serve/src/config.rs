//! What an operator may set: flags, their `DHIH_...` twins, a TOML file of the same names; and the limits a request is held to.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use dhih_manual::Manual;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::{Access, Keys, QueueConfig, Run, ServerConfig, Source, TlsConfig};

const EXAMPLE: &str = "Examples:
  dhih-serve --run runs/latest --bind 127.0.0.1:7878
  curl -F image=@ring.png 'http://127.0.0.1:7878/v1/search?k=10'
  dhih-serve import --run runs/latest --input photos";

/// Serves image search over a trained run: a web page and an HTTP API.
#[derive(Debug, Parser)]
#[command(name = "dhih-serve", version, after_help = EXAMPLE, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the service.
    #[command(flatten)]
    pub config: Config,
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add the pictures of a folder, and of those in it, to the index; what is there already is left out
    #[command(after_help = "Example:\n  dhih-serve import --run runs/latest --input photos")]
    Import(ImportArgs),
    /// Load codes into a store in PostgreSQL, as a new generation, and switch searches to it once every shard holds all of it
    #[cfg(feature = "postgres")]
    #[command(
        after_help = "Example:\n  dhih-serve load --run runs/latest --store postgres://dhih@db/dhih"
    )]
    Load(crate::postgres::LoadArgs),
    /// What is the same in every program.
    #[command(flatten)]
    Manual(Manual),
}

/// Flags of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Run directory, as `dhih-train` writes it
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Index directory [default: RUN/index]
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Folder of JPEG, PNG and WebP files; a folder in it with the name of a class labels what it holds
    #[arg(long, env = "DHIH_INPUT", value_name = "DIR")]
    pub input: PathBuf,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Form of the log on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Flags of the service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// TOML file with any of these settings by name, such as `bind = \"127.0.0.1:80\"`; flags and environment override it
    #[arg(long, env = "DHIH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run directory, as `dhih-train` writes it
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Index directory, as `dhih-index build` writes it [default: RUN/index]
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one. The last line on stdout is the page's URL
    #[arg(long, env = "DHIH_BIND", value_name = "ADDR", default_value = "127.0.0.1:7878")]
    pub bind: SocketAddr,
    /// Only search: items can be neither added nor deleted, and others may serve the same index
    #[arg(long, env = "DHIH_READ_ONLY", value_parser = FalseyValueParser::new())]
    pub read_only: bool,
    /// File whose first line is the key that searching needs; the key itself may be in DHIH_READ_KEY instead
    #[arg(long, env = "DHIH_READ_KEY_FILE", value_name = "FILE")]
    pub read_key_file: Option<PathBuf>,
    /// File whose first line is the key that adding, deleting and reloading need; or DHIH_ADMIN_KEY
    #[arg(long, env = "DHIH_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,
    /// Certificate chain in PEM: serve over TLS. Read again on SIGHUP
    #[arg(long, env = "DHIH_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, env = "DHIH_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Largest request body, in MiB
    #[arg(long, env = "DHIH_MAX_BODY_MIB", value_name = "MIB", default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body_mib: u16,
    /// Requests under way at most; further ones are refused at once
    #[arg(long, env = "DHIH_MAX_IN_FLIGHT", value_name = "N", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_in_flight: u32,
    /// Connections at most; further ones wait to be accepted
    #[arg(long, env = "DHIH_MAX_CONNECTIONS", value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,
    /// Images being decoded and encoded at most; requests with further ones are refused at once
    #[arg(long, env = "DHIH_QUEUE", value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queue: u32,
    /// Images that a worker encodes together at most
    #[arg(long, env = "DHIH_MAX_BATCH", value_name = "N", default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_batch: u32,
    /// How long an image waits for others to be encoded with, in milliseconds
    #[arg(long, env = "DHIH_MAX_WAIT_MS", value_name = "MS", default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub max_wait_ms: u16,
    /// Images are refused that would wait longer for those before them, in milliseconds
    #[arg(long, env = "DHIH_MAX_QUEUED_MS", value_name = "MS", default_value_t = 40,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub max_queued_ms: u16,
    /// Longest time from a request's header to its answer, in seconds
    #[arg(long, env = "DHIH_REQUEST_TIMEOUT", value_name = "S", default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub request_timeout: u16,
    /// Longest time for a request's header to arrive, and for a TLS handshake, in seconds
    #[arg(long, env = "DHIH_HEADER_TIMEOUT", value_name = "S", default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=600))]
    pub header_timeout: u16,
    /// A store that is searched instead of an index.
    #[cfg(feature = "postgres")]
    #[command(flatten)]
    pub store: crate::postgres::StoreArgs,
    /// Print one JSON object with the URL, the number of items and of bits on stdout, instead of the URL
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// How much to log on stderr: off, error, warn, info, debug or trace
    #[arg(long, env = "DHIH_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
    /// Form of the log
    #[arg(long, env = "DHIH_LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
}

impl Config {
    /// The keys, from the files named or from the environment.
    ///
    /// # Errors
    /// A file that cannot be read, a key that is none, both a file and a variable.
    pub fn keys(&self) -> Result<Keys, String> {
        let key = |file: &Option<PathBuf>, variable: &str| {
            let given = std::env::var(variable).ok().filter(|key| !key.is_empty());
            match (file, given) {
                (Some(_), Some(_)) => {
                    Err(format!("{variable} and a key file are both set: give one"))
                }
                (Some(file), None) => Keys::from_file(file).map(Some),
                (None, given) => Ok(given),
            }
        };
        let read = key(&self.read_key_file, "DHIH_READ_KEY")?;
        let admin = key(&self.admin_key_file, "DHIH_ADMIN_KEY")?;
        Keys::new(read.as_deref(), admin.as_deref())
    }

    /// Checks what no single flag can know of another. The message names the value and the cure.
    ///
    /// # Errors
    /// An address that others can reach, and no keys.
    pub fn check(&self, keys: &Keys) -> Result<(), String> {
        let guarded = keys.guard_reading() && (keys.has_admin() || self.read_only);
        if self.bind.ip().is_loopback() || guarded {
            return Ok(());
        }
        Err(format!(
            "--bind {} can be reached from other machines, and there are no keys for it: give --read-key-file and \
             --admin-key-file (or --read-only), or bind 127.0.0.1:{} and put a proxy before it",
            self.bind,
            self.bind.port()
        ))
    }

    /// Where the codes are that are searched.
    ///
    /// # Errors
    /// A store whose password cannot be read; a store and an index.
    pub fn source(&self) -> Result<Source, String> {
        #[cfg(feature = "postgres")]
        if let Some(store) = self.store.config().map_err(|error| error.to_string())? {
            return match &self.index {
                None => Ok(Source::Postgres(store)),
                Some(_) => Err("--store and --index are both given: search one of them".into()),
            };
        }
        let access = if self.read_only { Access::ReadOnly } else { Access::Writable };
        Ok(Source::Index { dir: index_dir(&self.run, self.index.as_deref()), access })
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
        let workers = Limits::default().workers;
        // Who waits for a store takes no core.
        #[cfg(feature = "postgres")]
        let workers = match self.store.is_named() {
            true => workers.max(self.store.store_connections.into()),
            false => workers,
        };
        Limits {
            workers,
            max_body_bytes: usize::from(self.max_body_mib) << 20,
            max_in_flight: self.max_in_flight as usize,
            request_timeout: Duration::from_secs(self.request_timeout.into()),
            ..Limits::default()
        }
    }

    /// How images are gathered.
    pub fn queue(&self) -> QueueConfig {
        QueueConfig {
            capacity: self.queue as usize,
            max_batch: self.max_batch as usize,
            max_wait: Duration::from_millis(self.max_wait_ms.into()),
            max_queued: Duration::from_millis(self.max_queued_ms.into()),
        }
    }

    /// How connections are taken.
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            max_connections: self.max_connections as usize,
            header_timeout: Duration::from_secs(self.header_timeout.into()),
        }
    }

    /// Where certificate and key are, where they are given.
    pub fn tls(&self) -> Option<TlsConfig> {
        let (cert, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(TlsConfig { cert, key })
    }
}

/// The index directory of a run: the one given, or its own.
pub(crate) fn index_dir(run: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| run.join("index"), Path::to_owned)
}

/// Makes the settings of a TOML file the defaults of a command line.
///
/// # Errors
/// A file that cannot be read, or holds what is no setting.
pub fn with_file(mut command: clap::Command, path: &Path) -> Result<clap::Command, String> {
    let wrong = |reason: &dyn fmt::Display| format!("the settings {}: {reason}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(&e.message()))?;
    for (name, value) in table {
        let id = name.replace('-', "_");
        if id == "config" || !command.get_arguments().any(|arg| arg.get_id() == &*id) {
            let known = command.get_arguments().map(|arg| arg.get_id().as_str());
            let known = known.filter(|id| !["config", "help", "version"].contains(id));
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(wrong(&format!("{name:?} is no setting; there are {known}")));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            other => {
                return Err(wrong(&format!("{name} is {other}; give text, a number or a truth")));
            }
        };
        // Read once in the life of a program.
        let text: &'static str = text.leak();
        command = command.mut_arg(id, |arg| match arg.get_action() {
            clap::ArgAction::SetTrue => arg.default_value(text).action(clap::ArgAction::SetTrue),
            _ => arg.required(false).default_value(text),
        });
    }
    Ok(command)
}

/// What a request may take before it is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body, in bytes; more is a 413.
    pub max_body_bytes: usize,
    /// Requests under way at most; one more is a 503 at once.
    pub max_in_flight: usize,
    /// Longest time from a request's header to its answer; more is a 408.
    pub request_timeout: Duration,
    /// Longest wait for a free worker; more is a 503.
    pub queue_timeout: Duration,
    /// How many requests decode and search at the same time.
    pub workers: usize,
    /// What a picture may measure, checked before its pixels are decoded; more is a 422.
    pub image: dhih_model::image::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 << 20,
            max_in_flight: 256,
            request_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            image: dhih_model::image::Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    fn parsed(toml: &str, words: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        std::fs::write(&path, toml).unwrap();
        let command = with_file(Cli::command(), &path)?;
        let words = std::iter::once("dhih-serve").chain(words.iter().copied());
        let matches = command.try_get_matches_from(words).map_err(|e| e.to_string())?;
        Ok(Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?.config)
    }

    #[test]
    fn a_file_sets_what_flags_do_not() {
        let toml = "bind = '127.0.0.1:9'\nmax-batch = 7\nread_only = true\nlog_format = 'json'";
        let config = parsed(toml, &["--max-batch", "9"]).unwrap();
        assert_eq!((config.bind.port(), config.max_batch, config.queue), (9, 9, 128));
        assert!(config.read_only && config.log_format == LogFormat::Json);
        assert!(!parsed("read_only = false", &[]).unwrap().read_only);
        for (toml, part) in [
            ("bnid = 'x'", "\"bnid\" is no setting; there are run, index, bind"),
            ("config = 'x'", "no setting"),
            ("max_batch = 0", "0 is not in 1..=1024"),
            ("bind = ['a']", "give text, a number or a truth"),
            ("bind", "serve.toml"),
        ] {
            let error = parsed(toml, &[]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(with_file(Cli::command(), Path::new("/no/file")).unwrap_err().contains("/no/file"));
    }

    #[test]
    fn addresses_that_others_reach_need_keys() {
        let bound = |words: &[&str]| parsed("", &[&["--bind", "0.0.0.0:80"], words].concat());
        let key = "0123456789abcdef";
        let keys = |read, admin| Keys::new(read, admin).unwrap();
        let public = bound(&[]).unwrap();
        for missing in [keys(None, None), keys(Some(key), None), keys(None, Some(key))] {
            let error = public.check(&missing).unwrap_err();
            assert!(error.contains("--read-key-file") && error.contains("127.0.0.1:80"), "{error}");
        }
        assert!(public.check(&keys(Some(key), Some(key))).is_ok());
        assert!(bound(&["--read-only"]).unwrap().check(&keys(Some(key), None)).is_ok());
        assert!(parsed("", &[]).unwrap().check(&keys(None, None)).is_ok());
    }

    #[test]
    fn every_flag_has_an_environment_twin() {
        let command = Cli::command();
        let flags = command
            .get_arguments()
            .chain(command.get_subcommands().flat_map(|c| c.get_arguments()));
        for flag in flags.filter(|flag| flag.get_id() != "help" && flag.get_id() != "version") {
            let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(variable.starts_with("DHIH_"), "{}", flag.get_id());
        }
    }
}
