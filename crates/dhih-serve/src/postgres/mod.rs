//! Codes in PostgreSQL, distributed over several hosts, loaded in generations and searched by multi-index hashing in SQL. PostgreSQL
//! handles storage, replication, authentication and backups; this crate decides on bits, substrings and the steps of a search.
//! `crate::search` is the interface to the rest of the service, and `docs/src/scaling.md` describes the setup.
//!
//! The coordinator knows the shards (as foreign servers of `postgres_fdw`) and the generations (as a table of manifests). It is queried
//! when a store is opened, but not for searches: these go directly to all shards in parallel, over one connection to each. Through
//! `postgres_fdw`, the same search would declare, fetch and close a cursor for each substring and shard, one after the other, and the
//! coordinator would have to handle failed shards. The coordinator's view `dhih.codes` is for use in SQL.
//!
//! A generation is never changed once it exists. Any host of a shard may therefore answer, and no search sees a part of a load.

mod address;
mod args;
mod bit_string;
mod checksum;
mod cluster;
mod coordinator;
mod copying;
mod error;
mod facets;
mod json_path;
mod load;
mod manifest;
mod partition;
mod plan;
mod runtime;
mod schema;
mod search;
mod session;
mod sets;
mod shard;
mod tls;

pub use args::{LoadArgs, PlaceArgs, Secret, StoreArgs, load};
pub use cluster::{Cluster, StoreConfig};
pub use error::Error;
pub(crate) use facets::Description;
pub use load::{LoadConfig, Loaded, Loader, Staged};
pub use partition::remainder;

/// Registers the descriptions of the store's metrics.
pub(crate) fn describe() {
    use metrics::{Unit::Count, describe_counter};
    describe_counter!("dhih_store_failovers_total", Count, "Another host of a shard answers");
    describe_counter!("dhih_store_exhaustive_total", Count, "Searches that read all codes");
    describe_counter!(
        "dhih_store_capped_total",
        Count,
        "Searches that ended at --store-max-radius"
    );
}
