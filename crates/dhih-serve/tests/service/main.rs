//! Tests of the service from the outside: over HTTP against the router, over TCP, and as a program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]
#![allow(unreachable_pub, reason = "a test program has nobody outside")]

mod common;

mod abandoned;
mod access;
#[cfg(unix)]
mod acknowledged;
mod allowed_origins;
mod bare;
#[cfg(unix)]
mod bare_durability;
mod below_a_path;
mod bounds;
mod budget;
mod collections;
mod connections;
mod description;
#[cfg(unix)]
mod durability;
#[cfg(unix)]
mod encoding;
mod exporting;
#[cfg(target_os = "linux")]
mod failing_sync;
mod figures;
#[cfg(unix)]
mod follower_durability;
#[cfg(unix)]
mod followers;
#[cfg(unix)]
mod following;
#[cfg(unix)]
mod following_all;
#[cfg(unix)]
mod full_disk;
mod http2;
mod idempotency;
mod importing;
mod items;
#[cfg(unix)]
mod key_rotation;
mod listing;
mod loading;
mod mean;
#[cfg(target_os = "linux")]
mod memory;
mod messages;
mod metadata;
#[cfg(unix)]
mod metadata_durability;
mod overload;
#[cfg(unix)]
mod paging;
mod pictured_vectors;
mod program;
#[cfg(unix)]
mod random_changes;
mod rebuilt;
mod reloading;
mod routes;
#[cfg(target_os = "linux")]
mod same_code;
mod search;
mod serving;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod slow_snapshot;
mod snapshots;
#[cfg(all(unix, feature = "otel"))]
mod spans;
#[cfg(unix)]
mod spoiled_feed;
#[cfg(unix)]
mod succession;
mod texts;
mod time_limits;
mod traces;
mod uploads;
#[cfg(unix)]
mod vectors;
