//! Loads codes into PostgreSQL as a new generation. It is staged beside the current one, checked on every host, and then becomes current in
//! one transaction. `schema` has the tables, and `copying` the part for one shard.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dhih_index::{CodeSet, Substring};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;

use crate::FieldDeclaration;
use crate::items::metadata::Fields;

use super::{
    Error, StoreConfig,
    address::Address,
    bit_string::BitString,
    checksum::values,
    coordinator::{NAME, Way, read_current},
    copying::{Copying, check, drop_generations},
    facets::Descriptions,
    manifest::Manifest,
    partition::remainder,
    runtime::Runtime,
    schema,
    session::connect_any,
    sets::together,
};

/// The key of PostgreSQL's advisory lock that allows one load at a time. The number is arbitrary.
const LOCK: i64 = 0x6468_6968;
const LOCK_TRIES: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// By how many bits a substring is shorter than the logarithm of a shard's rows. Looking up a value costs as much as comparing a few codes,
/// so values should have several codes.
const SHORTER: f64 = 4.0;
/// The shortest and the longest substring in bits, and the most substrings, because each index has a copy of all codes.
const SHORTEST: f64 = 8.0;
const LONGEST: u32 = 24;
const MOST: u32 = 8;
/// The number of rows between two messages in the log.
const TELL: u64 = 5_000_000;

/// The settings of a load.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// The store to load into.
    pub store: StoreConfig,
    /// The number of substrings, each with an index; `None` chooses it by the number of codes.
    pub substrings: Option<u32>,
    /// The metadata file, whose rows identify items by `id`: CSV if its name says so, otherwise JSON Lines.
    pub metadata: Option<PathBuf>,
    /// The fields of the metadata that filters may name.
    pub fields: Vec<FieldDeclaration>,
}

impl LoadConfig {
    /// The default number of substrings, and no metadata.
    pub fn new(store: StoreConfig) -> Self {
        Self { store, substrings: None, metadata: None, fields: Vec::new() }
    }
}

/// Loads generations.
#[derive(Debug)]
pub struct Loader {
    runtime: Arc<Runtime>,
    config: LoadConfig,
}

/// A generation that is on all shards, but not searched yet.
pub struct Staged {
    runtime: Arc<Runtime>,
    manifest: Manifest,
    shards: Vec<Address>,
    unmatched: Vec<String>,
    /// The session that holds the advisory lock.
    coordinator: Client,
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// The number of the generation, which is current now.
    pub generation: i32,
    /// The number of items.
    pub rows: u64,
    /// The number of items of each shard.
    pub shards: Vec<u64>,
    /// The number of substrings; each has an index.
    pub substrings: usize,
    /// The ids in the metadata file that no item has.
    pub unmatched: Vec<String>,
    /// Hosts that could not be checked, for example standbys that are down.
    pub unchecked: Vec<String>,
}

impl Loader {
    /// A loader with these settings.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub fn new(config: LoadConfig) -> Result<Self, Error> {
        Ok(Self { runtime: Arc::new(Runtime::start()?), config })
    }

    /// Copies codes to all shards, as a new generation that searches do not see yet.
    ///
    /// # Errors
    /// When the codes do not belong together, a host does not answer or refuses a statement, or another load is in progress.
    pub fn stage(&self, sets: Vec<CodeSet>) -> Result<Staged, Error> {
        let LoadConfig { store, substrings, metadata, fields } = &self.config;
        let (way, runtime, wanted) = (Way::new(store)?, self.runtime.clone(), *substrings);
        let fields = Fields::default().with(fields);
        let fields = fields.map_err(|fault| Error::Metadata { reason: fault.to_string() })?;
        let descriptions = Descriptions::read(metadata.as_deref(), fields)?;
        self.runtime
            .wait(async move { stage(runtime, way, wanted, &Items { sets, descriptions }).await })
    }
}

/// The codes to load, with their labels and metadata.
struct Items {
    sets: Vec<CodeSet>,
    descriptions: Descriptions,
}

async fn stage(
    runtime: Arc<Runtime>,
    way: Way,
    wanted: Option<u32>,
    items: &Items,
) -> Result<Staged, Error> {
    let Items { sets, descriptions } = items;
    let first = together(sets)?;
    let facets = descriptions.facets(sets)?;
    let unmatched = descriptions.unmatched(sets);
    let coordinator = connect_any(&way.coordinator.writable()).await?;
    let said = |e: tokio_postgres::Error| Error::statement(NAME, &e);
    coordinator.batch_execute(schema::LOADING).await.map_err(said)?;
    lock(&coordinator).await?;
    coordinator.batch_execute(schema::COORDINATOR).await.map_err(said)?;
    let shards: Vec<Address> =
        way.shards(&coordinator).await?.iter().map(Address::writable).collect();
    drop_old(&coordinator, &shards).await?;

    let rows: u64 = sets.iter().map(|set| set.codes.len() as u64).sum();
    let bits = first.codes.bits();
    let count = wanted.unwrap_or_else(|| suitable(bits, rows / shards.len() as u64));
    let substrings = Substring::choose(&first.codes, Some(count))
        .map_err(|error| Error::Codes { reason: error.to_string() })?;
    let generation = "INSERT INTO dhih.generations (state) VALUES ('loading') RETURNING generation";
    let generation = coordinator.query_one(generation, &[]).await.map_err(said)?;
    let generation: i32 = generation.try_get(0).map_err(said)?;
    tracing::info!(
        generation,
        rows,
        shards = shards.len(),
        substrings = substrings.len(),
        "loading"
    );

    let mut copying = Vec::new();
    for address in &shards {
        copying.push(Copying::begin(address, (generation, bits, substrings.len())).await?);
    }
    copy(items, &substrings, &mut copying).await?;
    let sums = copying.iter().map(Copying::sum).collect();
    let model_sha256 = first.model_sha256.clone();
    let manifest = Manifest { generation, bits, model_sha256, substrings, facets, shards: sums };
    let json = manifest.to_json()?;
    tracing::info!(generation, "building indexes");
    let mut finishing = JoinSet::new();
    for (shard, copying) in copying.into_iter().enumerate() {
        finishing.spawn(copying.finish(shard, json.clone()));
    }
    while let Some(finished) = finishing.join_next().await {
        finished.map_err(|e| Error::Runtime { reason: e.to_string() })??;
    }
    let note = "UPDATE dhih.generations SET manifest = $2 WHERE generation = $1";
    coordinator.execute(note, &[&generation, &json]).await.map_err(said)?;
    let shards = way.shards(&coordinator).await?;
    Ok(Staged { runtime, manifest, shards, unmatched, coordinator })
}

/// Takes the advisory lock. Retries, because the server may need a moment to notice that another session has ended.
async fn lock(coordinator: &Client) -> Result<(), Error> {
    for _ in 0..LOCK_TRIES {
        let locked = coordinator.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await;
        let locked = locked.and_then(|row| row.try_get(0));
        if locked.map_err(|e| Error::statement(NAME, &e))? {
            return Ok(());
        }
        sleep(LOCK_PAUSE).await;
    }
    Err(Error::Loading)
}

/// The number of substrings that suits codes with this many bits and shards with this many rows.
fn suitable(bits: u32, rows: u64) -> u32 {
    let length = ((rows.max(2) as f64).log2() - SHORTER).clamp(SHORTEST, f64::from(LONGEST));
    let fitting = (f64::from(bits) / length) as u32;
    fitting.max(bits.div_ceil(LONGEST)).clamp(1, MOST)
}

/// Sends each row to its shard.
async fn copy(
    items: &Items,
    substrings: &[Substring],
    copying: &mut [Copying],
) -> Result<(), Error> {
    let (started, mut sent) = (Instant::now(), 0_u64);
    for set in &items.sets {
        for (row, code) in set.codes.iter().enumerate() {
            let id = set.ids.as_ref().map_or(row as u64, |ids| ids[row]);
            let key = i64::try_from(id).map_err(|_| Error::Id { id })?;
            let shard = remainder(key, copying.len());
            let bits = BitString::of(set.codes.bits(), code);
            let described = items.descriptions.row(set, row)?;
            copying[shard].send(key, &bits, &described, &values(substrings, code)).await?;
            sent += 1;
            if sent.is_multiple_of(TELL) {
                let rate = sent as f64 / started.elapsed().as_secs_f64();
                tracing::info!(rows = sent, rate = rate as u64, "sent");
            }
        }
    }
    Ok(())
}

/// Drops the generations of failed loads, and those that are older than the previous one.
async fn drop_old(coordinator: &Client, shards: &[Address]) -> Result<(), Error> {
    let said = |e: tokio_postgres::Error| Error::statement(NAME, &e);
    let old = "SELECT generation FROM dhih.generations WHERE state IN ('loading', 'leaving')";
    let old = coordinator.query(old, &[]).await.map_err(said)?;
    let old: Result<Vec<i32>, _> = old.iter().map(|row| row.try_get(0)).collect();
    let old = old.map_err(said)?;
    if old.is_empty() {
        return Ok(());
    }
    for address in shards {
        drop_generations(address, &old).await?;
    }
    for generation in old {
        let drop = format!("DROP TABLE IF EXISTS {}", schema::parent(generation));
        coordinator.batch_execute(&drop).await.map_err(said)?;
        let state = "UPDATE dhih.generations SET state = 'dropped' WHERE generation = $1";
        coordinator.execute(state, &[&generation]).await.map_err(said)?;
        tracing::info!(generation, "dropped");
    }
    Ok(())
}

impl Staged {
    /// The number of the generation.
    pub fn generation(&self) -> i32 {
        self.manifest.generation
    }

    /// Checks that every host of every shard holds the rows that were sent, waits for standbys to catch up, and makes the generation
    /// current in one transaction, for all searches that begin afterwards. The previous generation remains for searches in progress; older
    /// ones are dropped.
    ///
    /// # Errors
    /// When a host holds other rows; then the current generation stays. When no host of a shard answers.
    pub fn switch(self) -> Result<Loaded, Error> {
        let runtime = self.runtime.clone();
        runtime.wait(self.check_and_switch())
    }

    async fn check_and_switch(self) -> Result<Loaded, Error> {
        let Self { manifest, shards, mut coordinator, unmatched, .. } = self;
        let unchecked = check(&manifest, &shards).await?;
        let Manifest { generation, bits, .. } = manifest;
        let said = |e: tokio_postgres::Error| Error::statement(NAME, &e);
        let before = read_current(&coordinator).await?;
        let before = before.map(|(number, json)| Manifest::parse(number, &json)).transpose()?;
        let is_same_type = before.is_some_and(|before| before.bits == bits);
        let parts = (manifest.substrings.len(), manifest.shards.len());
        let change = coordinator.transaction().await.map_err(said)?;
        for statement in schema::create_parent(generation, bits, parts) {
            change.batch_execute(&statement).await.map_err(said)?;
        }
        change.batch_execute(&schema::switch_view(generation, is_same_type)).await.map_err(said)?;
        for (from, to) in [("previous", "leaving"), ("current", "previous"), ("loading", "current")]
        {
            let state = "UPDATE dhih.generations SET state = $2, since = now() WHERE state = $1";
            change.execute(state, &[&from, &to]).await.map_err(said)?;
        }
        change.commit().await.map_err(said)?;
        tracing::info!(generation, "switched");
        let writable: Vec<Address> = shards.iter().map(Address::writable).collect();
        if let Err(error) = drop_old(&coordinator, &writable).await {
            tracing::warn!(%error, "an old generation is still there; the next load drops it");
        }
        Ok(Loaded {
            generation,
            rows: manifest.total().rows,
            shards: manifest.shards.iter().map(|sum| sum.rows).collect(),
            substrings: manifest.substrings.len(),
            unmatched,
            unchecked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_suit_bits_and_rows() {
        for ((bits, rows), expected) in [
            ((48, 1_000_000), 3),
            ((64, 1_000_000), 4),
            ((64, 100_000_000), 3),
            ((128, 1_000_000), 8),
            ((1024, 10), 8),
            ((5, 10), 1),
            ((44, 30), 5),
        ] {
            assert_eq!(suitable(bits, rows), expected, "{bits} bits, {rows} rows");
        }
    }
}
