//! Hosts die, hang and return during searches. Every answer is complete and the same, or an error that names the shard.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use dhih_index::{CodeSet, Flat};
use dhih_serve::{
    Cancellation, Query, SearchError, Searcher,
    postgres::{Cluster, Error, StoreConfig},
};

use super::{
    codes::{Kind, items},
    servers::Servers,
};

/// The time within which searches must succeed again.
const RECOVERY: Duration = Duration::from_secs(5);
const SEARCHES: usize = 1000;
const K: usize = 10;

/// The error of a part of the store that does not answer.
fn unavailable(error: &SearchError) -> Option<&Error> {
    let SearchError::Unavailable { source, .. } = error else { return None };
    source.downcast_ref()
}

/// The answers of a flat scan.
fn oracle(set: &CodeSet) -> Vec<Vec<(u32, u64)>> {
    let flat = Flat::of(set).unwrap();
    let of = |code| flat.knn(code, K).unwrap().iter().map(|hit| (hit.distance, hit.id)).collect();
    set.codes.iter().take(50).map(of).collect()
}

fn search(cluster: &Cluster, code: &[u8]) -> Result<Vec<(u32, u64)>, SearchError> {
    let found = cluster.search(&Query {
        code,
        k: K,
        radius: cluster.bits(),
        filter: None,
        codes: true,
        cancellation: None,
    })?;
    Ok(found.neighbours.iter().map(|hit| (hit.distance, hit.id)).collect())
}

/// Runs 1,000 searches on four threads, with `strike` after the first part. All must be correct, and none slower than a failover may be.
/// Returns the slowest time.
fn all_right(cluster: &Cluster, set: &CodeSet, strike: impl FnOnce()) -> Duration {
    let expected = oracle(set);
    let (next, struck) = (AtomicUsize::new(0), AtomicBool::new(false));
    let slowest = std::thread::scope(|scope| {
        let searching: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut slowest = Duration::ZERO;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= SEARCHES {
                            return slowest;
                        }
                        // Most searches must come after the strike.
                        while number > SEARCHES / 4 && !struck.load(Ordering::Acquire) {
                            std::thread::yield_now();
                        }
                        let row = number % expected.len();
                        let started = Instant::now();
                        let found = search(cluster, set.codes.get(row));
                        slowest = slowest.max(started.elapsed());
                        assert_eq!(found.unwrap(), expected[row], "search {number}");
                    }
                })
            })
            .collect();
        while next.load(Ordering::Relaxed) < SEARCHES / 5 {
            std::thread::yield_now();
        }
        strike();
        struck.store(true, Ordering::Release);
        searching.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    assert!(slowest < RECOVERY, "a search took {slowest:?}");
    slowest
}

#[test]
fn searches_go_on_when_a_primary_dies_or_hangs() {
    let mut servers = Servers::start();
    let set = items(64, 4000, Kind::Learned(40), 1);
    let loaded = servers.load(&set);
    assert_eq!(loaded.unchecked.len(), 0, "standbys were checked, too");
    let cluster = servers.open();

    let slowest = all_right(&cluster, &set, || servers.primaries[0].kill());
    println!("a primary killed: the slowest of {SEARCHES} searches took {slowest:?}");

    // Searches do not need the coordinator.
    servers.coordinator.kill();
    all_right(&cluster, &set, || ());
    servers.coordinator.restart();

    // The primary of the other shard hangs: connections stay open, but nothing answers.
    let slowest = all_right(&cluster, &set, || servers.primaries[1].hang(true));
    println!("a primary stopped: the slowest of {SEARCHES} searches took {slowest:?}");
    servers.primaries[1].hang(false);

    // A store that is opened meanwhile finds the standby.
    assert_eq!(search(&servers.open(), set.codes.get(0)).unwrap(), oracle(&set)[0]);
}

#[test]
fn a_shard_without_hosts_is_named_and_nothing_is_answered_without_it() {
    let mut servers = Servers::start();
    let set = items(64, 4000, Kind::Learned(40), 1);
    servers.load(&set);
    let cluster = servers.open();
    let expected = oracle(&set);
    assert_eq!(search(&cluster, set.codes.get(0)).unwrap(), expected[0]);
    servers.primaries[1].kill();
    servers.standbys[1].kill();
    for row in 0..3 {
        let started = Instant::now();
        let error = search(&cluster, set.codes.get(row)).unwrap_err();
        let text = error.to_string();
        let Some(Error::Unreachable { what, reasons }) = unavailable(&error) else {
            panic!("{text}")
        };
        assert_eq!(what, "shard 1 (dhih_shard_1)");
        let hosts = [&servers.primaries[1], &servers.standbys[1]];
        for host in hosts {
            let name = format!("127.0.0.1:{}: ", host.port);
            assert!(reasons.iter().any(|reason| reason.starts_with(&name)), "{text}");
        }
        assert!(!text.contains("ss\\w"), "{text}");
        assert!(started.elapsed() < RECOVERY, "{:?}", started.elapsed());
    }
    let error = Cluster::open(&servers.store()).unwrap_err().to_string();
    assert!(error.contains("shard 1 (dhih_shard_1) cannot be reached"), "{error}");
    // A load needs every shard.
    let error = servers.loader().stage(vec![set.clone()]).err().unwrap().to_string();
    assert!(error.contains("shard 1 (dhih_shard_1) cannot be reached"), "{error}");
    servers.standbys[1].restart();
    for (row, expected) in expected.iter().enumerate() {
        assert_eq!(&search(&cluster, set.codes.get(row)).unwrap(), expected);
    }
    // A standby alone is sufficient for searching, but not for loading.
    let error = servers.loader().stage(vec![set.clone()]).err().unwrap().to_string();
    assert!(error.contains("does not allow writes"), "{error}");
    servers.primaries[1].restart();
    // A standby that is down is reported, but does not prevent a load.
    servers.standbys[0].kill();
    let loaded = servers.load(&set);
    let name = format!("127.0.0.1:{}: ", servers.standbys[0].port);
    assert!(loaded.unchecked.len() == 1 && loaded.unchecked[0].starts_with(&name), "{loaded:?}");
}

/// A returning standby lacks what was loaded meanwhile until it has caught up. It is not searched before that.
#[test]
fn a_host_that_is_behind_is_not_asked() {
    let mut servers = Servers::start();
    let (old, new) = (items(64, 2000, Kind::Random, 1), items(64, 2000, Kind::Random, 2));
    servers.load(&old);
    servers.standbys[0].kill();
    servers.load(&new);
    let cluster = servers.open();
    assert!(cluster.holds(&new));
    // The standby has no primary now, so it cannot catch up.
    let standby = &mut servers.standbys[0];
    standby.restart_with(&["primary_conninfo="]);
    servers.primaries[0].kill();
    let error = search(&cluster, new.codes.get(0)).unwrap_err().to_string();
    assert!(
        error.contains("shard 0 (dhih_shard_0)") && error.contains("holds no generation 2"),
        "{error}"
    );
    servers.primaries[0].restart();
    servers.standbys[0].restart_with(&[]);
    assert_eq!(search(&cluster, new.codes.get(0)).unwrap(), oracle(&new)[0]);
}

#[test]
fn a_search_ends_when_its_time_is_over() {
    let servers = Servers::start();
    let set = items(64, 500, Kind::Random, 1);
    servers.load(&set);
    let config = StoreConfig { timeout: Duration::from_secs(2), ..servers.store() };
    let cluster = Cluster::open(&config).unwrap();
    for host in [&servers.primaries[1], &servers.standbys[1]] {
        host.hang(true);
    }
    let error = search(&cluster, set.codes.get(0)).unwrap_err();
    let Some(Error::Late { what, seconds: 2 }) = unavailable(&error) else { panic!("{error}") };
    assert_eq!(what, "shard 1 (dhih_shard_1)");
}

/// The bug: after a client had gone, PostgreSQL continued its search, and a worker of the service waited for that.
#[test]
fn a_search_that_is_given_up_ends_here_and_at_the_server() {
    let set = items(48, 300, Kind::Random, 5);
    let servers = Servers::start();
    servers.load(&set);
    let cluster = servers.open();
    let active = || {
        let active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        servers.primaries[1].sql_as_owner(active).trim().parse::<usize>().unwrap()
    };
    let until = |count| {
        let started = Instant::now();
        while active() != count {
            assert!(started.elapsed() < Duration::from_secs(20), "{} wait, not {count}", active());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let cancellation = Cancellation::default();
    std::thread::scope(|scope| {
        // The codes of a shard are locked for a while.
        let table = "SELECT min(format('dhih.%I', relname)) FROM pg_class WHERE relname LIKE 'codes%' AND relkind IN ('r', 'p')";
        let table = servers.primaries[1].sql_as_owner(table);
        let lock = format!(
            "BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8)",
            table.trim()
        );
        let server = &servers.primaries[1];
        scope.spawn(move || server.sql_as_owner(&lock));
        let search = scope.spawn(|| {
            let started = Instant::now();
            // Searches are answered until the lock is taken.
            while started.elapsed() < Duration::from_secs(60) {
                let query = Query {
                    code: set.codes.get(0),
                    k: K,
                    radius: cluster.bits(),
                    filter: None,
                    codes: true,
                    cancellation: Some(&cancellation),
                };
                if let Err(error) = cluster.search(&query) {
                    return error;
                }
            }
            panic!("no search waits for the lock")
        });
        until(1);
        cancellation.cancel();
        let started = Instant::now();
        assert!(matches!(search.join().unwrap(), SearchError::Cancelled));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        until(0);
    });
    assert_eq!(search(&cluster, set.codes.get(0)).unwrap().len(), K);
}
