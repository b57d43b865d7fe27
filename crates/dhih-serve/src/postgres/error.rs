//! Why a store cannot be opened, loaded or searched. No message holds a connection string or a password.

use std::error::Error as _;

/// Why a store cannot be opened, loaded or searched. Each message names the host, shard or value, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection string, of the flag or of a foreign server.
    #[error("the connection string of {what} cannot be used: {reason}")]
    Address {
        /// `the store`, or the server's name.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Codes, queries and passwords would go over the network for all to read.
    #[error(
        "the connection to {host} would be in the clear: give the certificate that signs its own with `--store-ca FILE`, or \
         `sslmode=disable` where the network is trusted"
    )]
    InTheClear {
        /// Where it would go.
        host: String,
    },
    /// The certificates that servers are checked against.
    #[error("the certificates {file} cannot be used: {reason}; give a file in PEM")]
    Certificates {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// None of the hosts of a shard, or of the coordinator, answered.
    #[error("{what} cannot be reached: {}; start one of these hosts, or repair what they say", reasons.join("; "))]
    Unreachable {
        /// `shard 1 (dhih_shard_1)`, or `the coordinator`.
        what: String,
        /// What became of each host.
        reasons: Vec<String>,
    },
    /// A shard did not answer in the time that a search may take.
    #[error(
        "{what} did not answer within {seconds} s; raise --store-timeout, or see what it is busy with"
    )]
    Late {
        /// The shard.
        what: String,
        /// The time.
        seconds: u64,
    },
    /// Nobody waits for the answer any more.
    #[error("the search was given up by who asked for it")]
    Cancelled,
    /// A statement was refused.
    #[error("{what}: {reason}")]
    Statement {
        /// Who refused it.
        what: String,
        /// What was said.
        reason: String,
    },
    /// The coordinator knows no shard.
    #[error(
        "the coordinator has no foreign server `dhih_shard_0`: make one for each shard, numbered from 0 without gaps (`CREATE \
         SERVER dhih_shard_0 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (...)`)"
    )]
    NoShards,
    /// The numbers of the shards have a gap.
    #[error(
        "there are {found} foreign servers `dhih_shard_...`, and `dhih_shard_{missing}` is none of them: number them from 0 without gaps"
    )]
    Gap {
        /// How many there are.
        found: usize,
        /// The first number that is missing.
        missing: usize,
    },
    /// Nothing was loaded.
    #[error("the store holds no codes: load them with `dhih-serve load --store ...`")]
    Empty,
    /// A manifest that this program does not understand.
    #[error(
        "the manifest of generation {generation} cannot be read: {reason}; load the codes again with `dhih-serve load`"
    )]
    Manifest {
        /// Its number.
        generation: i32,
        /// What is wrong with it.
        reason: String,
    },
    /// A generation was loaded for other shards than there are now.
    #[error(
        "generation {generation} was loaded to {expected} shards, and there are {found}: load the codes again with `dhih-serve load`"
    )]
    Shards {
        /// Its number.
        generation: i32,
        /// Shards of its manifest.
        expected: usize,
        /// Foreign servers.
        found: usize,
    },
    /// What a host holds is not what was loaded.
    #[error(
        "{what} at {host} holds {found} of generation {generation}, and {expected} were loaded: the generation is not switched to; \
         see the server's log, then load again"
    )]
    Disagrees {
        /// The shard.
        what: String,
        /// Its host.
        host: String,
        /// The generation.
        generation: i32,
        /// Rows and checksum by the manifest.
        expected: String,
        /// Rows and checksum there.
        found: String,
    },
    /// Somebody else loads.
    #[error("another `dhih-serve load` is under way in this store: wait for it")]
    Loading,
    /// An id that the column cannot hold.
    #[error(
        "the id {id} is beyond what PostgreSQL's bigint holds ({}): give the item another one",
        i64::MAX
    )]
    Id {
        /// The id.
        id: u64,
    },
    /// Codes that do not belong together, or none.
    #[error("these codes cannot be loaded: {reason}")]
    Codes {
        /// What is wrong with them.
        reason: String,
    },
    /// The file of the items' metadata, the declared fields, or what an item has in them.
    #[error("the metadata cannot be loaded: {reason}")]
    Metadata {
        /// What is wrong.
        reason: String,
    },
    /// A query of other bits.
    #[error("the query has no {bits} bits, which the store's codes have: {reason}")]
    Query {
        /// Bits of the store.
        bits: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// More hits than are taken over the network.
    #[error(
        "more than {most} items are as near as that: give a smaller radius, or leave `rerank` out"
    )]
    TooMany {
        /// The most that are taken.
        most: usize,
    },
    /// The system gives no thread, or a task of the search ended without an answer.
    #[error("the search cannot be run: {reason}")]
    Runtime {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What PostgreSQL, or the way to it, said.
    pub(super) fn statement(what: impl ToString, error: &tokio_postgres::Error) -> Self {
        Self::Statement { what: what.to_string(), reason: told(error) }
    }
}

/// An error with its causes, in one line. Details of the server are left out: they may quote values.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
