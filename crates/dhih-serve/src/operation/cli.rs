//! The command line: flags and their environment variables `DHIH_...`. `config.rs` converts them into settings.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};
use dhih_manual::Manual;
use tracing::level_filters::LevelFilter;

use crate::FieldDeclaration;
use crate::operation::allowed_origin::AllowedOrigin;
use crate::operation::hosts::HostName;
use crate::operation::path_prefix::PathPrefix;
use crate::operation::resource_policy::ResourcePolicy;
use crate::operation::telemetry::LogFormat;
use crate::replication::address::PrimaryAddress;
use crate::run::links::LinkTemplate;

const EXAMPLE: &str = "Examples:
  dhih-serve --run runs/latest --bind 127.0.0.1:7878
  dhih-serve --index pdq.idx
  dhih-serve --codec codec.safetensors --index idx
  curl -F image=@ring.png 'http://127.0.0.1:7878/v1/search?k=10'
  dhih-serve import --run runs/latest --input photos";

/// Serves search over a trained run, or over any index of codes: a web page and an HTTP API.
#[derive(Debug, Parser)]
#[command(name = "dhih-serve", version, after_help = EXAMPLE, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Threads that decode, encode, search and answer [default: one for each core]
    #[arg(
        short = 'j',
        long,
        global = true,
        env = "DHIH_THREADS",
        value_name = "N",
        value_parser = dhih_manual::parse_threads,
        display_order = 900
    )]
    pub threads: Option<NonZeroUsize>,
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
    /// Check that an index is whole and agrees with its catalogue; nothing is changed, and no service may have it open
    #[command(after_help = "Example:\n  dhih-serve check --index runs/latest/index")]
    Check(CheckArgs),
    /// Make the copy of a follower a primary, which follows nobody any more; no service may have it open
    #[command(after_help = "Example:\n  dhih-serve promote --index copy")]
    Promote(PromoteArgs),
    /// Load codes into a store in PostgreSQL, as a new generation, and switch searches to it once every shard holds all of it
    #[cfg(feature = "postgres")]
    #[command(
        after_help = "Example:\n  dhih-serve load --run runs/latest --store postgres://dhih@db/dhih"
    )]
    Load(crate::postgres::LoadArgs),
    /// Make entries of a keys file
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The commands that all programs share.
    #[command(flatten)]
    Manual(Manual),
}

/// What `keys` does.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum KeysCommand {
    /// Print the digest of the key on stdin, for `sha256` in a keys file
    #[command(
        after_help = "Example:\n  openssl rand -hex 24 | tee /dev/stderr | dhih-serve keys hash"
    )]
    Hash,
}

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Run directory, whose index is checked
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Index directory [default: RUN/index]
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Flags of `promote`.
#[derive(Debug, Clone, Args)]
pub struct PromoteArgs {
    /// Run directory, whose index is the copy
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Index directory that `--follow` has filled [default: RUN/index]
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
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
    /// Folder of JPEG, PNG, WebP, GIF, BMP or TIFF files, known by their content; a folder in it with the name of a class labels what it holds
    #[arg(long, env = "DHIH_INPUT", value_name = "DIR")]
    pub input: PathBuf,
    /// Name by which the folder's files are known at the next import [default: its path]
    #[arg(long, env = "DHIH_SOURCE_PREFIX", value_name = "NAME")]
    pub source_prefix: Option<String>,
    /// CSV or JSON Lines file with the metadata of the pictures: in each row `file`, the path below the folder, `external_id` if you like, and
    /// values to keep
    #[arg(long, env = "DHIH_METADATA", value_name = "FILE")]
    pub metadata: Option<PathBuf>,
    /// Field of the metadata that filters may name, as `NAME=keyword`, `NAME=number` or `NAME=bool`; repeatable, beside those that are declared
    #[arg(long = "field", env = "DHIH_FIELDS", value_name = "NAME=TYPE", value_delimiter = ',')]
    pub fields: Vec<FieldDeclaration>,
    /// Longest side of a picture that is taken, in pixels [default: 65535]
    #[arg(long, env = "DHIH_MAX_SIDE", value_name = "PIXELS")]
    pub max_side: Option<u32>,
    /// Largest area of a picture that is taken, in pixels [default: 250000000]
    #[arg(long, env = "DHIH_MAX_PIXELS", value_name = "N")]
    pub max_pixels: Option<u64>,
    /// Add files again whose items were deleted
    #[arg(long, env = "DHIH_RESTORE", value_parser = FalseyValueParser::new())]
    pub restore: bool,
    /// End with an error where a file, folder or link cannot be used; without it they are passed over and listed
    #[arg(long, env = "DHIH_STRICT", value_parser = FalseyValueParser::new())]
    pub strict: bool,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Flags of the service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// TOML file with any of these settings by name, such as `bind = "127.0.0.1:80"`; flags and environment override it
    #[arg(long, env = "DHIH_SERVE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run directory, as `dhih-train` writes it: its model makes codes of pictures [default: runs/latest, without --index and --codec]
    #[arg(long, env = "DHIH_RUN", value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Codec, as `dhih-train codec` writes it: it makes codes of vectors, in place of a run; needs --index
    #[arg(long, env = "DHIH_CODEC", value_name = "FILE", conflicts_with = "run")]
    pub codec: Option<PathBuf>,
    /// Index directory, as `dhih-index build` writes it [default: RUN/index]. Without --run it is searched by codes, with --codec also by vectors
    #[arg(long, env = "DHIH_INDEX", value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Folder of further collections, a directory each, which are served under /v1/collections/NAME; the service makes and removes some in it. Without
    /// --run, --codec and --index its directory `default` is served where no collection is named
    #[arg(long, env = "DHIH_COLLECTIONS", value_name = "DIR")]
    pub collections: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one. The last line on stdout is the page's URL
    #[arg(long, env = "DHIH_BIND", value_name = "ADDR", default_value = "127.0.0.1:7878")]
    pub bind: SocketAddr,
    /// Folder for snapshots of index and catalogue, which `POST /v1/admin/snapshots` makes [default: none are made]
    #[arg(long, env = "DHIH_SNAPSHOT_DIR", value_name = "DIR")]
    pub snapshot_dir: Option<PathBuf>,
    /// Further host name of the service, beside those of this machine; repeatable. `*` allows any name, and needs keys
    #[arg(long, env = "DHIH_HOST", value_name = "NAME", value_delimiter = ',')]
    pub host: Vec<HostName>,
    /// Origin of pages of another site that may use the service, such as `https://photos.example`; repeatable. Changes need a key in a header
    #[arg(long, env = "DHIH_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<AllowedOrigin>,
    /// Path below which all of the service is, such as /dhih, for a proxy that has other services beside it and passes paths on unchanged
    #[arg(long, env = "DHIH_PATH_PREFIX", value_name = "PATH", default_value = "/")]
    pub path_prefix: PathPrefix,
    /// Sites whose pages may show pictures of this service without reading them
    #[arg(
        long,
        env = "DHIH_RESOURCE_POLICY",
        value_name = "POLICY",
        default_value = "same-origin"
    )]
    pub resource_policy: ResourcePolicy,
    /// URL of the original of an item, such as `https://photos.example/{source}`, with {id}, {external_id} or {source} in it [default: no links]
    #[arg(long, env = "DHIH_LINK_TEMPLATE", value_name = "URL")]
    pub link_template: Option<LinkTemplate>,
    /// Only search: items can be neither added nor deleted, and others may serve the same index
    #[arg(long, env = "DHIH_READ_ONLY", value_parser = FalseyValueParser::new())]
    pub read_only: bool,
    /// Follow the service at this URL, the primary: the index is a copy of its index and changes with it. The index directory must not be there yet,
    /// or be such a copy. With --collections all collections of the primary are followed. The primary needs --journal-mib
    #[arg(long, env = "DHIH_FOLLOW", value_name = "URL")]
    pub follow: Option<PrimaryAddress>,
    /// File whose first line is a key of the primary of the role replicate; the key itself may be in DHIH_FOLLOW_KEY instead
    #[arg(long, env = "DHIH_FOLLOW_KEY_FILE", value_name = "FILE")]
    pub follow_key_file: Option<PathBuf>,
    /// Certificates in PEM that are trusted where the URL of the primary is one of https
    #[arg(long, env = "DHIH_FOLLOW_CA", value_name = "FILE")]
    pub follow_ca: Option<PathBuf>,
    /// Let /readyz say 503 while this copy is further behind its primary, in seconds [default: never]
    #[arg(long, env = "DHIH_MAX_LAG", value_name = "S",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_lag: Option<u32>,
    /// Keep the last changes, up to so many MiB, so that services can follow this one; 0 keeps none [default: as the index was served before]
    #[arg(long, env = "DHIH_JOURNAL_MIB", value_name = "MIB")]
    pub journal_mib: Option<u32>,
    /// File whose first line is the key that searching needs; the key itself may be in DHIH_READ_KEY instead
    #[arg(long, env = "DHIH_READ_KEY_FILE", value_name = "FILE")]
    pub read_key_file: Option<PathBuf>,
    /// File whose first line is the key that adding, deleting and reloading need; or DHIH_ADMIN_KEY
    #[arg(long, env = "DHIH_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,
    /// TOML file of keys: `[[key]]` with `name`, `role` (read, replicate, write or admin), and `sha256` (of `dhih-serve keys hash`) or `key`.
    /// Read again on SIGHUP
    #[arg(long, env = "DHIH_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
    /// Certificate chain in PEM: serve over TLS. Read again when it changes
    #[arg(long, env = "DHIH_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, env = "DHIH_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Requests a second that each client may send, a key or an address without one; twice as many at once [default: no limit]
    #[arg(long, env = "DHIH_RATE_LIMIT", value_name = "N")]
    pub rate_limit: Option<NonZeroU32>,
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
    /// Longest time that an image waits until it is encoded, in milliseconds; images that would wait longer are refused, but never the
    /// first 8
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
    /// Longest time that a connection may be idle between two requests, in seconds; longer than that of a proxy before it
    #[arg(long, env = "DHIH_IDLE_TIMEOUT", value_name = "S", default_value_t = 75,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub idle_timeout: u16,
    /// Longest time that a client may let an answer wait, in seconds; it grows back with what is read, at 4 KiB a second [default: --request-timeout]
    #[arg(long, env = "DHIH_WRITE_TIMEOUT", value_name = "S",
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub write_timeout: Option<u16>,
    /// Address of a listener of its own for /healthz, /readyz and /metrics, which needs no key and answers under any load, and while the run is loaded
    #[arg(long, env = "DHIH_ADMIN_BIND", value_name = "ADDR")]
    pub admin_bind: Option<SocketAddr>,
    /// Time from a signal to stop to the end of listening, in seconds; /readyz says 503 meanwhile
    #[arg(long, env = "DHIH_DRAIN_DELAY", value_name = "S", default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(0..=600))]
    pub drain_delay: u16,
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
