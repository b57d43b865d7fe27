//! Tests of a store in PostgreSQL on real servers: two shards with a hot standby each, and a coordinator. The servers are created for each
//! test, listen only on loopback, and end with the test. They need PostgreSQL 15 or newer, for example Debian's package `postgresql`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]
#![allow(unreachable_pub, reason = "a test program has nobody outside")]

#[path = "../service/common/mod.rs"]
mod common;

mod codes;
mod exact;
mod facets;
mod failover;
mod loading;
mod servers;
mod serving;
mod tls;
