//! How late a follower finds what its primary has acknowledged, at a thousand changes a second.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::acknowledged::ask;
use crate::followers::{Copy, Primary, position};

/// Items a second, the threads that add them, and for how long.
const RATE: u32 = 1000;
const THREADS: u32 = 8;
const TIME: Duration = Duration::from_secs(10);
/// Of so many items one is looked for.
const SAMPLED: u32 = 20;

#[test]
#[ignore = "it measures, and takes a machine that does nothing else"]
fn the_lag_at_a_thousand_changes_a_second_is_below_one() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), &["--journal-mib", "64"]);
    let copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    let (sampled, samples) = mpsc::channel::<(u32, Instant)>();
    let (started, next) = (Instant::now(), AtomicU32::new(0));
    let mut lags = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (primary, next, sampled) = (&primary, &next, sampled.clone());
            scope.spawn(move || {
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs(1) * id / RATE;
                    if due >= TIME {
                        return;
                    }
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                    let code = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let body = json!({ "id": id, "code": format!("{code:016x}") }).to_string();
                    let head = "POST /v1/items HTTP/1.1\r\ncontent-type: application/json";
                    let answer = ask(&primary.address, head, body.as_bytes());
                    assert_eq!(answer.map(|(status, _)| status), Some(201));
                    if id % SAMPLED == 0 {
                        sampled.send((id, Instant::now())).unwrap();
                    }
                }
            });
        }
        drop(sampled);
        let lag = |(id, at): (u32, Instant)| {
            let wanted = format!("GET /v1/items/{id} HTTP/1.1");
            while ask(copy.address(), &wanted, b"").unwrap().0 != 200 {
                std::thread::sleep(Duration::from_millis(1));
            }
            at.elapsed()
        };
        samples.into_iter().map(lag).collect::<Vec<Duration>>()
    });
    let took = started.elapsed();
    lags.sort_unstable();
    let of = |part: f64| lags[((lags.len() - 1) as f64 * part) as usize];
    println!(
        "{} items in {took:.2?}, as {} changes; lag: median {:.1?}, 99 % {:.1?}, most {:.1?}",
        u32::try_from(TIME.as_secs()).unwrap() * RATE,
        position(&primary.address).unwrap(),
        of(0.5),
        of(0.99),
        of(1.0)
    );
    assert!(of(1.0) < Duration::from_secs(1));
}
