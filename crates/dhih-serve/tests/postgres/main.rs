//! A store in PostgreSQL, on real servers: two shards with a hot standby each, and a coordinator. They are made anew for each test,
//! listen on loopback alone, and end with it. What they need is PostgreSQL 15 or newer, Debian's package `postgresql` say.
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
