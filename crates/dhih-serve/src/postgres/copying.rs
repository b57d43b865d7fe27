//! The part of a load for one shard: a transaction that creates the table, sends the rows by `COPY BINARY`, builds the indexes and stores
//! the manifest. A host, also a standby, therefore has either the whole generation or nothing of it.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_postgres::{
    Client, CopyInSink,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use super::{
    Error,
    address::{Address, Endpoint},
    bit_string::BitString,
    checksum::{self, Sum},
    error::told,
    facets::Row,
    manifest::Manifest,
    schema,
    session::{connect, connect_any},
};

/// How long a standby may take to catch up with its primary.
const CATCH_UP: Duration = Duration::from_secs(60);
/// The pause between two checks of a standby.
const PAUSE: Duration = Duration::from_millis(200);

/// A shard while rows are sent to it.
pub(super) struct Copying {
    what: String,
    client: Client,
    writer: Pin<Box<BinaryCopyInWriter>>,
    sum: Sum,
    generation: i32,
    substrings: usize,
}

impl Copying {
    /// Begins to copy to the writable host of a shard.
    pub(super) async fn begin(
        address: &Address,
        (generation, bits, substrings): (i32, u32, usize),
    ) -> Result<Self, Error> {
        let said = |e: tokio_postgres::Error| Error::statement(&address.what, &e);
        let client = connect_any(address).await?;
        for statement in [schema::LOADING, schema::SHARD, "BEGIN"] {
            client.batch_execute(statement).await.map_err(said)?;
        }
        let table = schema::create_table(generation, bits, substrings);
        client.batch_execute(&table).await.map_err(said)?;
        let sink: CopyInSink<Bytes> =
            client.copy_in(&schema::copy(generation)).await.map_err(said)?;
        let mut types = vec![Type::INT8, Type::BIT, Type::TEXT, Type::TEXT];
        types.resize(types.len() + substrings, Type::INT4);
        let writer = Box::pin(BinaryCopyInWriter::new(sink, &types));
        let what = address.what.clone();
        Ok(Self { what, client, writer, sum: Sum::default(), generation, substrings })
    }

    /// Sends a row.
    pub(super) async fn send(
        &mut self,
        id: i64,
        code: &BitString,
        described: &Row,
        values: &[i32],
    ) -> Result<(), Error> {
        let mut row: Vec<&(dyn ToSql + Sync)> =
            vec![&id, code, &described.facets, &described.shown];
        row.extend(values.iter().map(|value| value as &(dyn ToSql + Sync)));
        let sent = self.writer.as_mut().write(&row).await;
        sent.map_err(|e| Error::statement(&self.what, &e))?;
        self.sum.add(id, code, values);
        self.sum.describe(id, described);
        Ok(())
    }

    /// The checksum of the rows sent so far.
    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// Builds the indexes, stores the manifest and commits.
    pub(super) async fn finish(mut self, shard: usize, manifest: String) -> Result<(), Error> {
        let what = self.what;
        let said = |e: tokio_postgres::Error| Error::statement(&what, &e);
        self.writer.as_mut().finish().await.map_err(said)?;
        for statement in schema::create_indexes(self.generation, self.substrings) {
            self.client.batch_execute(&statement).await.map_err(said)?;
        }
        let note = "INSERT INTO dhih.loaded (generation, shard, manifest) VALUES ($1, $2, $3)";
        let shard = i32::try_from(shard).unwrap_or(i32::MAX);
        self.client.execute(note, &[&self.generation, &shard, &manifest]).await.map_err(said)?;
        self.client.batch_execute("COMMIT").await.map_err(said)
    }
}

/// Why the rows of a host are unknown.
enum Unknown {
    /// The host is down or unreachable.
    Down(String),
    /// The host answers, but does not have the generation, or the statement failed.
    Refused(Error),
}

/// The rows and checksum of a generation on a host, once the host has the generation.
async fn sum_when_there(
    what: &str,
    host: &Endpoint,
    (generation, substrings): (i32, usize),
) -> Result<Sum, Unknown> {
    let refused = |reason: String| {
        Unknown::Refused(Error::Statement { what: format!("{what} at {}", host.name), reason })
    };
    let client = connect(host).await.map_err(Unknown::Down)?;
    client.batch_execute(schema::LOADING).await.map_err(|e| refused(told(&e)))?;
    let started = Instant::now();
    loop {
        let found = "SELECT 1 FROM dhih.loaded WHERE generation = $1";
        // On a standby that is behind, the table may not exist yet.
        if matches!(client.query_opt(found, &[&generation]).await, Ok(Some(_))) {
            break;
        }
        if client.is_closed() {
            return Err(Unknown::Down("the connection ended".into()));
        }
        if started.elapsed() > CATCH_UP {
            let seconds = CATCH_UP.as_secs();
            return Err(refused(format!(
                "generation {generation} is not there after {seconds} s: see that it follows its primary, or take it out of the server's hosts"
            )));
        }
        sleep(PAUSE).await;
    }
    let sql = checksum::sql(&schema::table(generation), substrings);
    let row = client.query_one(&sql, &[]).await.map_err(|e| refused(told(&e)))?;
    let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (rows, sum, described): (i64, &str, &str) =
        read().map_err(|e: tokio_postgres::Error| refused(told(&e)))?;
    Sum::of_row(rows, sum, described).ok_or_else(|| refused("its checksum is no number".into()))
}

/// Compares every host with the manifest. Returns the hosts that are down.
pub(super) async fn check(manifest: &Manifest, shards: &[Address]) -> Result<Vec<String>, Error> {
    let Manifest { generation, substrings, .. } = manifest;
    let of = (*generation, substrings.len());
    let mut checking = JoinSet::new();
    for (shard, address) in shards.iter().enumerate() {
        for host in address.hosts.clone() {
            let what = address.what.clone();
            checking.spawn(async move {
                let sum = sum_when_there(&what, &host, of).await;
                (shard, what, host.name, sum)
            });
        }
    }
    let mut agreed = vec![0; shards.len()];
    let mut down: Vec<(usize, String)> = Vec::new();
    while let Some(checked) = checking.join_next().await {
        let (shard, what, host, sum) =
            checked.map_err(|e| Error::Runtime { reason: e.to_string() })?;
        match sum {
            Ok(sum) if sum == manifest.shards[shard] => agreed[shard] += 1,
            Ok(sum) => {
                let (expected, found) = (manifest.shards[shard].to_string(), sum.to_string());
                let generation = *generation;
                return Err(Error::Disagrees { what, host, generation, expected, found });
            }
            Err(Unknown::Refused(error)) => return Err(error),
            Err(Unknown::Down(reason)) => down.push((shard, format!("{host}: {reason}"))),
        }
    }
    if let Some(shard) = agreed.iter().position(|hosts| *hosts == 0) {
        let of_shard = |(at, reason): (usize, String)| (at == shard).then_some(reason);
        let reasons = down.into_iter().filter_map(of_shard).collect();
        return Err(Error::Unreachable { what: shards[shard].what.clone(), reasons });
    }
    let unchecked: Vec<String> = down.into_iter().map(|(_, reason)| reason).collect();
    for host in &unchecked {
        tracing::warn!(host, "not checked: it is down");
    }
    Ok(unchecked)
}

/// Drops generations of a shard, as far as they exist.
pub(super) async fn drop_generations(address: &Address, generations: &[i32]) -> Result<(), Error> {
    let said = |e: tokio_postgres::Error| Error::statement(&address.what, &e);
    let mut client = connect_any(address).await?;
    for statement in [schema::LOADING, schema::SHARD] {
        client.batch_execute(statement).await.map_err(said)?;
    }
    for generation in generations {
        let change = client.transaction().await.map_err(said)?;
        let table = schema::table(*generation);
        change.batch_execute(&format!("DROP TABLE IF EXISTS {table}")).await.map_err(said)?;
        let note = "DELETE FROM dhih.loaded WHERE generation = $1";
        change.execute(note, &[generation]).await.map_err(said)?;
        change.commit().await.map_err(said)?;
    }
    Ok(())
}
