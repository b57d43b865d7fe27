//! `Cluster`: a generation of codes in PostgreSQL, opened for searching. `search` carries out searches.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use dhih_index::{CodeSet, Codes};
use tokio::{spawn, time::Instant};

use crate::items::metadata::json_path::predicate;
use crate::items::{LabelShape, Wanted};
use crate::search::{Found, Query, SearchError, Searcher};

use super::{
    Error,
    bit_string::BitString,
    checksum::{Sum, values},
    coordinator::{Way, read_current},
    facets::{Description, Facets},
    json_path::JsonPath,
    manifest::Manifest,
    partition::remainder,
    plan::Plan,
    runtime::Runtime,
    search::{Reach, Shards},
    session::{Held, Question, connect_any},
    shard::Shard,
};

/// The address of a store and the settings of its searches.
#[derive(Clone)]
pub struct StoreConfig {
    /// The connection string of the coordinator, in the form of libpq or as a URL. It may contain a password and is never shown.
    pub url: String,
    /// The password, if the string has none.
    pub password: Option<String>,
    /// A PEM file of certificates that must have signed those of the servers. With it, all connections are encrypted, except those whose
    /// connection string has `sslmode=disable`.
    pub ca: Option<PathBuf>,
    /// The greatest distance of a search, in bits. Answers that may lack items because of it say so.
    pub max_radius: Option<u32>,
    /// The time limit of a search.
    pub timeout: Duration,
}

impl StoreConfig {
    /// The defaults: no greatest distance, and a time limit of 30 seconds.
    pub fn new(url: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(30);
        Self { url: url.into(), password: None, ca: None, max_radius: None, timeout }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoreConfig");
        shown.field("ca", &self.ca).field("max_radius", &self.max_radius);
        shown.field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A generation in PostgreSQL.
pub struct Cluster {
    runtime: Runtime,
    way: Way,
    shards: Arc<Shards>,
    manifest: Manifest,
    shown: String,
    config: StoreConfig,
}

impl Cluster {
    /// Reads the current generation from the coordinator, and checks that one host of each shard holds it.
    ///
    /// # Errors
    /// When a connection string cannot be used, the coordinator or a shard does not answer, or nothing is loaded.
    pub fn open(config: &StoreConfig) -> Result<Self, Error> {
        let (runtime, way) = (Runtime::start()?, Way::new(config)?);
        let shown = way.coordinator.shown();
        let asked = way.clone();
        let (manifest, json, addresses) = runtime.wait(async move { asked.current().await })?;
        let held = |shard| Held {
            generation: manifest.generation,
            shard,
            bits: manifest.bits,
            substrings: manifest.substrings.len(),
            has_facets: manifest.facets.is_some(),
            manifest: json.clone(),
            timeout: config.timeout,
        };
        let shard = |(at, address)| Arc::new(Shard::new(address, held(at)));
        let largest = manifest.shards.iter().map(|sum| sum.rows).max().unwrap_or_default();
        let shards = Arc::new(Shards {
            bits: manifest.bits,
            rows: manifest.total().rows,
            substrings: manifest.substrings.clone(),
            plan: Plan::new(&manifest.substrings, largest),
            shards: addresses.into_iter().enumerate().map(shard).collect(),
        });
        let cluster = Self { runtime, way, shards, manifest, shown, config: config.clone() };
        cluster.check_shards()?;
        Ok(cluster)
    }

    /// Checks that every shard answers; all are asked concurrently.
    ///
    /// # Errors
    /// For the first shard without a host that answers and holds the generation.
    pub fn check_shards(&self) -> Result<(), Error> {
        let (shards, deadline) = (self.shards.shards.clone(), self.deadline());
        self.runtime.wait(async move {
            // The item need not exist; what counts is that the shard answers.
            let ask = |shard: Arc<Shard>| {
                spawn(async move { shard.ask(&Question::Item(0), deadline).await })
            };
            let asked: Vec<_> = shards.into_iter().map(ask).collect();
            for answer in asked {
                answer.await.map_err(|error| Error::Runtime { reason: error.to_string() })??;
            }
            Ok(())
        })
    }

    /// The number of the coordinator's current generation, which may differ from the open one.
    ///
    /// # Errors
    /// When the coordinator does not answer, or nothing is loaded.
    pub fn current_generation(&self) -> Result<i32, Error> {
        let coordinator = self.way.coordinator.clone();
        self.runtime.wait(async move {
            let client = connect_any(&coordinator).await?;
            let current = read_current(&client).await?;
            current.map(|(generation, _)| generation).ok_or(Error::Empty)
        })
    }

    /// Hosts and database of the coordinator, without user and password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The number of the generation.
    pub fn generation(&self) -> i32 {
        self.manifest.generation
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.shards.shards.len()
    }

    /// The number of substrings; each has an index.
    pub fn substrings(&self) -> usize {
        self.shards.substrings.len()
    }

    /// The labels and metadata that items can have; `None` if the codes were loaded alone.
    pub(crate) fn facets(&self) -> Option<&Facets> {
        self.manifest.facets.as_ref()
    }

    /// The labels and metadata of items, in the order of `ids`.
    ///
    /// # Errors
    /// When a shard does not answer.
    pub(crate) fn descriptions(&self, ids: &[u64]) -> Result<Vec<Description>, Error> {
        if self.manifest.facets.is_none() {
            return Ok(vec![Description::default(); ids.len()]);
        }
        let shards = &self.shards.shards;
        let mut of_shards = vec![Vec::new(); shards.len()];
        for id in ids.iter().filter_map(|id| i64::try_from(*id).ok()) {
            of_shards[remainder(id, shards.len())].push(id);
        }
        let (shards, deadline) = (shards.clone(), self.deadline());
        let found = self.runtime.wait(async move {
            let asked = shards.into_iter().zip(of_shards).filter(|(_, ids)| !ids.is_empty());
            let ask = |(shard, ids): (Arc<Shard>, Vec<i64>)| {
                spawn(async move { shard.ask(&Question::Shown(ids), deadline).await })
            };
            let asked: Vec<_> = asked.map(ask).collect();
            let mut found = HashMap::new();
            for answer in asked {
                let answer =
                    answer.await.map_err(|e| Error::Runtime { reason: e.to_string() })??;
                found.extend(answer.shown());
            }
            Ok(found)
        });
        let found: HashMap<u64, Description> = found?;
        Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or_default()).collect())
    }

    /// SHA-256 of the model that made the codes, if the codes file had one.
    pub fn model_sha256(&self) -> Option<&str> {
        self.manifest.model_sha256.as_deref()
    }

    /// Whether the store holds exactly the items of this set: the same ids with the same codes.
    pub fn holds(&self, set: &CodeSet) -> bool {
        let codes = &set.codes;
        if codes.bits() != self.shards.bits || codes.len() as u64 != self.shards.rows {
            return false;
        }
        let mut sum = Sum::default();
        for (row, code) in codes.iter().enumerate() {
            let id = set.ids.as_ref().map_or(Some(row as u64), |ids| ids.get(row).copied());
            let Some(id) = id.and_then(|id| i64::try_from(id).ok()) else { return false };
            let bits = BitString::of(codes.bits(), code);
            sum.add(id, &bits, &values(&self.shards.substrings, code));
        }
        sum.has_codes_of(self.manifest.total())
    }

    /// The predicate of the items that a request selects.
    fn predicate(&self, wanted: &Wanted) -> Result<JsonPath, SearchError> {
        let facets = self.manifest.facets.as_ref().ok_or(SearchError::NoFilter)?;
        let Wanted { labels, metadata } = wanted;
        if labels.is_some() && facets.labels == LabelShape::None {
            return Err(SearchError::NoFilter);
        }
        Ok(JsonPath(predicate(labels.as_deref(), metadata.as_ref())))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    fn find(&self, query: &Query<'_>) -> Result<Found, SearchError> {
        let bits = self.shards.bits;
        let code = Codes::new(bits, query.code.to_vec()).ok().filter(|codes| codes.len() == 1);
        let code = code.ok_or_else(|| Error::Query {
            bits,
            reason: format!(
                "it is {} bytes, and the bits beyond the last must be zero",
                query.code.len()
            ),
        })?;
        if query.k == 0 {
            return Ok(Found::default());
        }
        let predicate = query.filter.map(|scope| match scope.in_store() {
            Some(wanted) => self.predicate(wanted),
            None => Err(SearchError::NoFilter),
        });
        let reach = Reach {
            predicate: predicate.transpose()?,
            k: query.k,
            radius: query.radius.min(bits),
            cap: self.config.max_radius.unwrap_or(bits),
            deadline: self.deadline(),
        };
        let shards = self.shards.clone();
        let search = async move { shards.search(code.get(0), reach).await };
        let found = match query.cancellation.cloned() {
            None => self.runtime.wait(search)?,
            Some(cancellation) => self.runtime.wait(async move {
                // Dropping the search cancels its statements on the servers (`session.rs`).
                tokio::select! {
                    found = search => found,
                    () = cancellation.cancelled() => Err(Error::Cancelled),
                }
            })?,
        };
        if found.exhaustive {
            metrics::counter!("dhih_store_exhaustive_total").increment(1);
        }
        if found.capped_radius.is_some() {
            metrics::counter!("dhih_store_capped_total").increment(1);
        }
        Ok(found)
    }
}

impl Searcher for Cluster {
    fn bits(&self) -> u32 {
        self.shards.bits
    }

    fn len(&self) -> usize {
        usize::try_from(self.shards.rows).unwrap_or(usize::MAX)
    }

    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError> {
        self.find(query)
    }

    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        let shard = self.shards.shards[remainder(id, self.shards.shards.len())].clone();
        let deadline = self.deadline();
        let asked = async move { shard.ask(&Question::Item(id), deadline).await };
        Ok(self.runtime.wait(asked)?.items().pop().map(|item| item.code))
    }
}

impl From<Error> for SearchError {
    fn from(error: Error) -> Self {
        match &error {
            Error::TooMany { .. } => Self::TooMany(error.to_string()),
            Error::Cancelled => Self::Cancelled,
            Error::Unreachable { what, .. } | Error::Late { what, .. } => {
                Self::Unavailable { what: what.clone(), source: error.into() }
            }
            _ => Self::Store(error.into()),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, generation) = (self.shards.rows, self.manifest.generation);
        write!(f, "Cluster({}, generation {generation}, {rows} items)", self.shown)
    }
}
