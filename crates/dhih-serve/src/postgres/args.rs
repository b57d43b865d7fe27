//! The flags of a store, for serving and for the command `load`, which is also in this file.

use std::{convert::Infallible, fmt, io, io::Write, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, builder::FalseyValueParser};
use dhih_index::CodeSet;

use crate::FieldDeclaration;

use super::{Error, LoadConfig, Loader, StoreConfig};

/// A text that is never shown, neither in messages nor in `--help`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The address of a store.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Codes in PostgreSQL instead of an index on disk: the coordinator's connection string, such as
    /// postgres://dhih@db1,db2/dhih. Other users of the machine see flags: leave the password out
    #[arg(
        long,
        env = "DHIH_STORE",
        value_name = "URL",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub store: Option<Secret>,
    /// File whose first line is the store's password; the password itself may be in DHIH_STORE_PASSWORD instead
    #[arg(long, env = "DHIH_STORE_PASSWORD_FILE", value_name = "FILE")]
    pub store_password_file: Option<PathBuf>,
    /// Certificates in PEM that PostgreSQL's are checked against; with it all connections to the store are encrypted
    #[arg(long, env = "DHIH_STORE_CA", value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
}

/// The flags of a service that searches a store.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Search the store to this distance at most, in bits; answers that may lack items for it say so
    #[arg(long, env = "DHIH_STORE_MAX_RADIUS", value_name = "BITS")]
    pub store_max_radius: Option<u32>,
    /// Longest time that a search of the store may take, in seconds
    #[arg(long, env = "DHIH_STORE_TIMEOUT", value_name = "S", default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub store_timeout: u16,
    /// Searches of the store at the same time, each over a connection to every shard
    #[arg(long, env = "DHIH_STORE_CONNECTIONS", value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub store_connections: u16,
}

/// The flags of `load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Run directory, whose codes are loaded
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    pub run: PathBuf,
    /// Codes file to load instead of the run's; repeatable, with ids then [default: RUN/codes.safetensors]
    #[arg(long, env = "DHIH_CODES", value_name = "FILE", value_delimiter = ',')]
    pub codes: Vec<PathBuf>,
    /// Substrings, an index for each [default: as many as suit the number of codes]
    #[arg(long, env = "DHIH_SUBSTRINGS", value_name = "N")]
    pub substrings: Option<u32>,
    /// CSV or JSON Lines file with the metadata of the items: in each row `id`, the item's number, `external_id` if you like, and whatever
    /// else is to be kept with the item
    #[arg(long, env = "DHIH_METADATA", value_name = "FILE")]
    pub metadata: Option<PathBuf>,
    /// Field of the metadata that filters may name, as `NAME=keyword`, `NAME=number` or `NAME=bool`; repeatable
    #[arg(
        long = "field",
        env = "DHIH_FIELDS",
        value_name = "NAME=TYPE",
        value_delimiter = ',',
        requires = "metadata"
    )]
    pub fields: Vec<FieldDeclaration>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

impl PlaceArgs {
    /// The store, if one is given.
    fn store(&self) -> Result<Option<StoreConfig>, Error> {
        let Some(Secret(url)) = self.store.clone() else { return Ok(None) };
        let variable = std::env::var("DHIH_STORE_PASSWORD").ok().filter(|word| !word.is_empty());
        let wrong = |reason: String| Error::Address { what: "the store".into(), reason };
        let password = match (&self.store_password_file, variable) {
            (Some(_), Some(_)) => {
                let reason = "DHIH_STORE_PASSWORD and a password file are both set: give one";
                return Err(wrong(reason.into()));
            }
            (Some(file), None) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|e| wrong(format!("{}: {e}", file.display())))?;
                let line = text.lines().next().unwrap_or_default();
                if line.is_empty() {
                    return Err(wrong(format!("{}: its first line is empty", file.display())));
                }
                Some(line.to_owned())
            }
            (None, variable) => variable,
        };
        Ok(Some(StoreConfig { password, ca: self.store_ca.clone(), ..StoreConfig::new(url) }))
    }
}

impl StoreArgs {
    /// Whether a store is given.
    pub fn is_named(&self) -> bool {
        self.place.store.is_some()
    }

    /// The store, if one is given.
    ///
    /// # Errors
    /// When the password file cannot be read, or both a file and a variable are set.
    pub fn config(&self) -> Result<Option<StoreConfig>, Error> {
        let searched = |config| StoreConfig {
            max_radius: self.store_max_radius,
            timeout: Duration::from_secs(self.store_timeout.into()),
            ..config
        };
        Ok(self.place.store()?.map(searched))
    }
}

/// Loads codes as the flags say, and prints the result.
///
/// # Errors
/// When no store is given, codes cannot be read or do not belong together, or [`Loader`] refuses them.
pub fn load(args: &LoadArgs) -> Result<(), Error> {
    let store = args.place.store()?.ok_or_else(|| Error::Address {
        what: "the store".into(),
        reason: "there is none: give --store URL, or set DHIH_STORE".into(),
    })?;
    let own = vec![args.run.join("codes.safetensors")];
    let files = if args.codes.is_empty() { &own } else { &args.codes };
    let read = |file: &PathBuf| {
        CodeSet::map(file, None).map_err(|error| Error::Codes { reason: error.with_causes() })
    };
    let sets = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (metadata, fields) = (args.metadata.clone(), args.fields.clone());
    let loader = Loader::new(LoadConfig { store, substrings: args.substrings, metadata, fields })?;
    let loaded = loader.stage(sets)?.switch()?;
    let mut out = io::stdout().lock();
    // A closed stdout is not an error.
    let _ = match (args.json, serde_json::to_string(&loaded)) {
        (true, Ok(json)) => writeln!(out, "{json}"),
        _ => writeln!(
            out,
            "generation {}: {} items on {} shards, {} substrings; reload what serves it (SIGHUP)",
            loaded.generation,
            loaded.rows,
            loaded.shards.len(),
            loaded.substrings
        ),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: Option<PathBuf>) -> PlaceArgs {
        let store = Some(Secret("postgres://me:hidden@127.0.0.1/a".into()));
        PlaceArgs { store, store_password_file: file, store_ca: None }
    }

    #[test]
    fn a_password_comes_from_the_first_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let read = || place(Some(file.clone())).store();
        assert!(read().unwrap_err().to_string().contains("password: "));
        std::fs::write(&file, "\nword").unwrap();
        assert!(read().unwrap_err().to_string().contains("first line is empty"));
        std::fs::write(&file, "a word\nmore").unwrap();
        assert_eq!(read().unwrap().unwrap().password.as_deref(), Some("a word"));
        assert_eq!(place(None).store().unwrap().unwrap().password, None);
    }

    #[test]
    fn a_connection_string_is_never_shown() {
        let place = place(None);
        let shown = format!("{place:?} {:?}", place.store().unwrap());
        assert!(!shown.contains("hidden") && !shown.contains("127.0.0.1"), "{shown}");
    }
}
