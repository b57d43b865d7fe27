//! Errors of opening, loading or searching a store. Messages contain neither connection strings nor passwords.

use std::error::Error as _;

/// Why a store cannot be opened, loaded or searched. Each message names the host, shard or value, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection string of the flag or of a foreign server cannot be used.
    #[error("the connection string of {what} cannot be used: {reason}")]
    Address {
        /// `the store`, or the name of the foreign server.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection would be unencrypted, so that codes, queries and passwords could be read on the network.
    #[error(
        "the connection to {host} would be in the clear: give the certificate that signs its own with `--store-ca FILE`, or \
         `sslmode=disable` where the network is trusted"
    )]
    InTheClear {
        /// The host of the connection.
        host: String,
    },
    /// The file of trusted certificates cannot be used.
    #[error("the certificates {file} cannot be used: {reason}; give a file in PEM")]
    Certificates {
        /// The path of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No host of a shard or of the coordinator answers.
    #[error("{what} cannot be reached: {}; start one of these hosts, or repair what they say", reasons.join("; "))]
    Unreachable {
        /// `shard 1 (dhih_shard_1)`, or `the coordinator`.
        what: String,
        /// The error of each host.
        reasons: Vec<String>,
    },
    /// A shard did not answer within the time limit of a search.
    #[error(
        "{what} did not answer within {seconds} s; raise --store-timeout, or see what it is busy with"
    )]
    Late {
        /// The name of the shard.
        what: String,
        /// The time limit.
        seconds: u64,
    },
    /// The caller of the search has gone.
    #[error("the search was given up by who asked for it")]
    Cancelled,
    /// A server refused a statement.
    #[error("{what}: {reason}")]
    Statement {
        /// The server.
        what: String,
        /// The message of the server.
        reason: String,
    },
    /// The coordinator has no foreign servers for shards.
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
        /// The number of foreign servers.
        found: usize,
        /// The first missing number.
        missing: usize,
    },
    /// Nothing is loaded.
    #[error("the store holds no codes: load them with `dhih-serve load --store ...`")]
    Empty,
    /// The manifest of a generation is not valid.
    #[error(
        "the manifest of generation {generation} cannot be read: {reason}; load the codes again with `dhih-serve load`"
    )]
    Manifest {
        /// The number of the generation.
        generation: i32,
        /// What is wrong with it.
        reason: String,
    },
    /// A generation was loaded to another number of shards than there are now.
    #[error(
        "generation {generation} was loaded to {expected} shards, and there are {found}: load the codes again with `dhih-serve load`"
    )]
    Shards {
        /// The number of the generation.
        generation: i32,
        /// The number of shards in its manifest.
        expected: usize,
        /// The number of foreign servers.
        found: usize,
    },
    /// A host does not hold the rows that were loaded.
    #[error(
        "{what} at {host} holds {found} of generation {generation}, and {expected} were loaded: the generation is not switched to; \
         see the server's log, then load again"
    )]
    Disagrees {
        /// The name of the shard.
        what: String,
        /// The name of the host.
        host: String,
        /// The number of the generation.
        generation: i32,
        /// Rows and checksum in the manifest.
        expected: String,
        /// Rows and checksum on the host.
        found: String,
    },
    /// Another load is in progress.
    #[error("another `dhih-serve load` is under way in this store: wait for it")]
    Loading,
    /// An id exceeds the range of the column.
    #[error(
        "the id {id} is beyond what PostgreSQL's bigint holds ({}): give the item another one",
        i64::MAX
    )]
    Id {
        /// The id.
        id: u64,
    },
    /// The codes do not belong together, or there are none.
    #[error("these codes cannot be loaded: {reason}")]
    Codes {
        /// What is wrong with them.
        reason: String,
    },
    /// The metadata file, the declared fields, or the values of an item are invalid.
    #[error("the metadata cannot be loaded: {reason}")]
    Metadata {
        /// What is wrong.
        reason: String,
    },
    /// The query has another number of bits than the codes.
    #[error("the query has no {bits} bits, which the store's codes have: {reason}")]
    Query {
        /// The number of bits in the store.
        bits: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// There are more hits than are transferred over the network.
    #[error(
        "more than {most} items are as near as that: give a smaller radius, or leave `rerank` out"
    )]
    TooMany {
        /// The most hits.
        most: usize,
    },
    /// The system cannot create a thread, or a task of the search ended without an answer.
    #[error("the search cannot be run: {reason}")]
    Runtime {
        /// The cause.
        reason: String,
    },
}

impl Error {
    /// An error of PostgreSQL or of the connection to it.
    pub(super) fn statement(what: impl ToString, error: &tokio_postgres::Error) -> Self {
        Self::Statement { what: what.to_string(), reason: told(error) }
    }
}

/// An error with its causes in one line. The server's details are omitted, because they may quote values.
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
