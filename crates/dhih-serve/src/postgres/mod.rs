//! Codes in PostgreSQL, over several hosts: what is loaded there in generations, and searched there by multi-index hashing as SQL.
//! PostgreSQL stores, replicates, authenticates and backs up; bits, substrings and the order of a search stay ours. What a search
//! is to the rest of the service: `crate::search`. How to set it up: `docs/src/scaling.md`.
//!
//! A coordinator knows the shards (as servers of `postgres_fdw`) and the generations (a table of manifests). It is asked when a
//! store is opened, not when it is searched: searches go from here to all shards at once, over a connection each. Through
//! `postgres_fdw` the same search would be declared, fetched and closed as a cursor for each substring and each shard, one after
//! the other, and a shard that died would be the coordinator's to notice. The coordinator's view `dhih.codes` is for SQL.
//!
//! A generation is never changed once it is there. So a shard's hosts may answer in turns, and a search cannot see half of a load.

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
mod shard;
mod tls;

pub use args::{LoadArgs, PlaceArgs, Secret, StoreArgs, load};
pub use cluster::{Cluster, StoreConfig};
pub use error::Error;
pub(crate) use facets::Description;
pub use load::{LoadConfig, Loaded, Loader, Staged};
pub use partition::remainder;

/// Tells Prometheus what the store's figures are.
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
