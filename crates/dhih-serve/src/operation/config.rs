//! Converts the flags of the service (`cli.rs`) into settings of its modules, and checks combinations of flags.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::encode::QueueConfig;
use crate::http::{Collections, CollectionsConfig, Shared};
use crate::items::Access;
use crate::operation::cli::Config;
use crate::operation::hosts::{HostName, Hosts};
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::operation::server::{ServerConfig, Timeouts};
use crate::operation::tls::TlsConfig;
use crate::operation::trust::client_config;
use crate::replication::all::Following;
use crate::replication::client::Primary;
use crate::replication::following::Follower;
use crate::replication::place::Place;
use crate::run::coder::Origin;
use crate::run::source::{Served, Source};

/// The run that is served by default.
fn latest() -> PathBuf {
    dhih_manual::through_latest(Path::new("runs/latest"))
}

impl Config {
    /// The keys from the files of the flags or from the environment.
    ///
    /// # Errors
    /// When a file cannot be read, a key is invalid, both a file and a variable are set, or two keys have the same name.
    pub fn keys(&self) -> Result<Keys, String> {
        let read = given_key(self.read_key_file.as_deref(), "DHIH_READ_KEY")?;
        let admin = given_key(self.admin_key_file.as_deref(), "DHIH_ADMIN_KEY")?;
        let keys = Keys::new(read.as_deref(), admin.as_deref())?;
        match &self.keys_file {
            Some(path) => keys.with_keys_file(path),
            None => Ok(keys),
        }
    }

    /// Reads the keys again and applies them. If this fails, the previous keys remain in force.
    ///
    /// # Errors
    /// As for [`keys`](Self::keys) and [`check`](Self::check).
    pub fn reload_keys(&self, shared: &Shared) -> Result<(), String> {
        let keys = self.keys()?;
        self.check(&keys)?;
        shared.set_keys(keys);
        tracing::info!("the keys were read again");
        Ok(())
    }

    /// The host names of the service.
    pub fn hosts(&self, keys: &Keys) -> Hosts {
        Hosts::new(self.bind.ip(), &self.host, keys.guard_reading())
    }

    /// Checks combinations of flags. The message names the value and the cure.
    ///
    /// # Errors
    /// When others can reach the address, or every host name is allowed, and there are no keys; when only one of the certificate and its
    /// key is given.
    pub fn check(&self, keys: &Keys) -> Result<(), String> {
        // `requires` of clap does not see settings from a file. A certificate without its key must not be ignored, because the service
        // would then answer without TLS.
        for (given, is, missing, is_not) in [
            ("tls_cert", &self.tls_cert, "tls_key", &self.tls_key),
            ("tls_key", &self.tls_key, "tls_cert", &self.tls_cert),
        ] {
            if is.is_some() && is_not.is_none() {
                let flag = missing.replace('_', "-");
                return Err(format!(
                    "{given} is given and {missing} is not: give --{flag}, too, or leave both out to serve without TLS"
                ));
            }
        }
        self.check_follow()?;
        if self.host.iter().any(HostName::is_any) && !keys.guard_reading() {
            return Err("--host '*' lets pages of other sites read what is served, and searching needs no key: give \
                        --read-key-file or --keys-file, or name the hosts"
                .into());
        }
        let guarded = keys.guard_reading() && (keys.let_somebody_change() || self.read_only);
        if self.bind.ip().is_loopback() || guarded {
            return Ok(());
        }
        Err(format!(
            "--bind {} can be reached from other machines, and there are no keys for it: give --read-key-file and \
             --admin-key-file (or --read-only), or --keys-file, or bind 127.0.0.1:{} and put a proxy before it",
            self.bind,
            self.bind.port()
        ))
    }

    /// The origin and source of the collection `default`; absent if the folder of the collections may have it.
    ///
    /// # Errors
    /// As for [`origin`](Self::origin) and [`source`](Self::source).
    pub fn served(&self) -> Result<Option<Served>, String> {
        let is_given = self.run.is_some() || self.codec.is_some() || self.index.is_some();
        let served = Served { origin: self.origin()?, source: self.source()? };
        let is_local = matches!(served.source, Source::Index { .. });
        Ok((is_given || !is_local || self.collections.is_none()).then_some(served))
    }

    /// All collections to serve.
    pub fn collections(&self, default: Option<Served>) -> CollectionsConfig {
        CollectionsConfig {
            default,
            folder: self.collections.clone(),
            access: self.access(),
            snapshots: self.snapshot_dir.clone(),
            journal_bytes: self.journal_mib.map(|mib| u64::from(mib) << 20),
        }
    }

    fn access(&self) -> Access {
        match (self.read_only, &self.follow) {
            (true, _) => Access::ReadOnly,
            (false, Some(_)) => Access::Follower,
            (false, None) => Access::Writable,
        }
    }

    /// What `--follow` asks for, if it is given: one collection, or with `--collections` all of the primary's.
    ///
    /// # Errors
    /// When the key or the certificates cannot be read.
    pub(crate) fn following(&self) -> Result<Option<Following>, String> {
        let Some(address) = &self.follow else { return Ok(None) };
        let key = given_key(self.follow_key_file.as_deref(), "DHIH_FOLLOW_KEY")?;
        let tls = self.follow_ca.as_deref().map(|path| {
            client_config(path).map_err(|error| format!("--follow-ca {}: {error}", path.display()))
        });
        let primary = Primary::new(address.clone(), key, tls.transpose()?);
        if let Some(folder) = &self.collections {
            return Ok(Some(Following::All { primary, folder: folder.clone() }));
        }
        let place = Place::new(&self.index_of_default()).map_err(|error| error.to_string())?;
        Ok(Some(Following::One(Follower::new(primary, place))))
    }

    /// Checks the flags that depend on `--follow` or exclude it.
    fn check_follow(&self) -> Result<(), String> {
        let Some(address) = &self.follow else {
            return match (&self.follow_key_file, &self.follow_ca, self.max_lag) {
                (None, None, None) => Ok(()),
                _ => Err("--follow-key-file, --follow-ca and --max-lag are for a service that follows another: give --follow URL, too".into()),
            };
        };
        if self.read_only {
            return Err("--follow and --read-only are both given: a follower writes what its primary tells it, leave --read-only out".into());
        }
        if self.journal_mib == Some(0) {
            return Err("--follow and --journal-mib 0 are both given: a follower keeps its position in the journal, leave --journal-mib out or give its size".into());
        }
        let names_one = self.run.is_some() || self.codec.is_some() || self.index.is_some();
        if self.collections.is_some() && (names_one || address.is_collection()) {
            return Err("--follow and --collections are both given, which follows all collections of a service: give the URL of the service to --follow, \
                        and leave --run, --codec and --index out"
                .into());
        }
        if address.is_encrypted() && self.follow_ca.is_none() {
            return Err(format!(
                "--follow {address} is encrypted, and nobody's certificates are trusted: give --follow-ca FILE"
            ));
        }
        Ok(())
    }

    /// What encodes queries.
    ///
    /// # Errors
    /// When a codec is given together with a run, or without an index.
    pub fn origin(&self) -> Result<Origin, String> {
        match (&self.run, &self.codec, &self.index) {
            (Some(_), Some(_), _) => {
                Err("--run and --codec are both given: a run has a model of its own, give one"
                    .into())
            }
            (None, Some(_), None) => {
                Err("--codec is given and --index is not: name the index of its codes".into())
            }
            (Some(run), None, _) => Ok(Origin::Run(run.clone())),
            (None, Some(codec), Some(_)) => Ok(Origin::Codec(codec.clone())),
            (None, None, Some(_)) => Ok(Origin::Codes),
            (None, None, None) => Ok(Origin::Run(latest())),
        }
    }

    /// The place of the codes to search.
    ///
    /// # Errors
    /// When the password of the store cannot be read, or both a store and an index are given.
    pub fn source(&self) -> Result<Source, String> {
        #[cfg(feature = "postgres")]
        if let Some(store) = self.store.config().map_err(|error| error.to_string())? {
            return match (&self.index, &self.follow) {
                (None, None) => Ok(Source::Postgres(store)),
                (None, Some(_)) => {
                    Err("--store and --follow are both given: a store is not copied, give one"
                        .into())
                }
                (Some(_), _) => {
                    Err("--store and --index are both given: search one of them".into())
                }
            };
        }
        Ok(Source::Index { dir: self.index_of_default(), access: self.access() })
    }

    /// The directory of the index of the collection `default`.
    fn index_of_default(&self) -> PathBuf {
        let run = self.run.clone().unwrap_or_else(latest);
        index_dir(&run, self.index.as_deref())
    }

    /// The line on stdout that announces the address of the page.
    pub fn announcement(&self, url: &str, collections: &Collections) -> String {
        let run = collections.default_run();
        let (items, bits) = (run.as_ref().map(|run| run.len()), run.as_ref().map(|run| run.bits()));
        match self.json {
            true => json!({ "url": url, "items": items, "bits": bits }).to_string(),
            false => url.to_owned(),
        }
    }

    /// The limits that the flags set.
    pub fn limits(&self) -> Limits {
        Limits {
            #[cfg(feature = "postgres")]
            store_searches: self.store.store_connections.into(),
            max_body_bytes: usize::from(self.max_body_mib) << 20,
            max_in_flight: self.max_in_flight as usize,
            rate_limit: self.rate_limit,
            request_timeout: Duration::from_secs(self.request_timeout.into()),
            ..Limits::default()
        }
    }

    /// The settings of the encode queue.
    pub fn queue(&self) -> QueueConfig {
        QueueConfig {
            capacity: self.queue as usize,
            max_batch: self.max_batch as usize,
            max_wait: Duration::from_millis(self.max_wait_ms.into()),
            max_queued: Duration::from_millis(self.max_queued_ms.into()),
        }
    }

    /// The settings of the server.
    pub fn server(&self) -> ServerConfig {
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        ServerConfig {
            max_connections: self.max_connections as usize,
            timeouts: Timeouts {
                header: seconds(self.header_timeout),
                idle: seconds(self.idle_timeout),
                write: seconds(self.write_timeout.unwrap_or(self.request_timeout)),
            },
            ..ServerConfig::default()
        }
    }

    /// The longest lag of a follower behind its primary, beyond which requests should go elsewhere.
    pub fn max_lag(&self) -> Option<Duration> {
        self.max_lag.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// How long requests are still accepted after a signal to stop.
    pub fn drain_delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay.into())
    }

    /// The paths of certificate and key, if given.
    pub fn tls(&self) -> Option<TlsConfig> {
        let (cert, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(TlsConfig { cert, key })
    }
}

/// The key from a file or from the environment variable, if one is given. Both are refused.
fn given_key(file: Option<&Path>, variable: &str) -> Result<Option<String>, String> {
    let given = std::env::var(variable).ok().filter(|key| !key.is_empty());
    match (file, given) {
        (Some(_), Some(_)) => Err(format!("{variable} and a key file are both set: give one")),
        (Some(file), None) => Keys::key_of_file(file).map(Some),
        (None, given) => Ok(given),
    }
}

/// The index directory: the given one, or that of the run.
pub(crate) fn index_dir(run: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| run.join("index"), Path::to_owned)
}
