//! The lag of a follower, measured from the primary's answer to a change until the follower finds the item.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::keeping::code;
use super::service::Service;
use super::{Bench, text};

/// The number of items that are added in a second.
const RATE: u64 = 1000;
/// The number of threads that add them, with one item in each request.
const WRITERS: usize = 8;
/// The lag is measured for one of this many items.
const SAMPLED: u64 = 20;
/// The longest time that a follower may take for its first snapshot, and to find an item.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench<'_> {
    /// Adds items to a primary and searches for them in a follower on the same machine.
    pub(super) fn following(&self) -> Result<String> {
        let (index, copy) = (self.fresh("index-followed")?, self.fresh("index-following")?);
        self.build(&index)?;
        let dir = text(&index)?;
        let common = ["--bind", "127.0.0.1:0", "--json", "--log-level", "error"];
        let words = [&["--index", dir, "--journal-mib", "64"], &common[..]].concat();
        let primary = Service::start(&self.step("serve", "dhih-serve", &words)?)?;
        let url = format!("http://{}", primary.address);
        let words = [&["--index", text(&copy)?, "--follow", &url], &common[..]].concat();
        let follower = Service::start(&self.step("follow", "dhih-serve", &words)?)?;

        let seconds = u64::from(self.args.seconds);
        let (started, next) = (Instant::now(), AtomicU64::new(0));
        let (sampled, samples) = mpsc::channel();
        let write = |sampled: mpsc::Sender<(u64, Instant)>| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= seconds * RATE {
                    return anyhow::Ok(());
                }
                let due = Duration::from_secs_f64(number as f64 / RATE as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
                let body = json!({ "code": code(number) }).to_string();
                let item = primary.send("POST", "/v1/items", Some(("application/json", &body)))?;
                if number.is_multiple_of(SAMPLED) {
                    let id = item["id"].as_u64().context("an item without an id")?;
                    // The receiver is gone if the measurement has failed. The error is ignored here, because the measurement reports its
                    // own.
                    let _ = sampled.send((id, Instant::now()));
                }
            }
        };
        let mut lags = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| {
                    let (write, sampled) = (&write, sampled.clone());
                    scope.spawn(move || write(sampled))
                })
                .collect();
            drop(sampled);
            let mut lags = Vec::new();
            for (id, answered) in samples {
                while follower.get(&format!("/v1/items/{id}"))?.0 != 200 {
                    if answered.elapsed() > PATIENCE {
                        bail!("the follower does not find item {id} after {PATIENCE:?}");
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                lags.push(answered.elapsed().as_secs_f64() * 1e3);
            }
            for writer in writers {
                writer.join().map_err(|_| anyhow::anyhow!("a writer ended early"))??;
            }
            anyhow::Ok(lags)
        })?;
        let rate = (seconds * RATE) as f64 / started.elapsed().as_secs_f64();
        lags.sort_by(f64::total_cmp);
        let of = |part: f64| lags[((lags.len() - 1) as f64 * part) as usize];
        Ok(format!(
            "{rate:.0} items a second were added to a primary, one a request over {WRITERS} connections. A follower on the same machine found them after \
             {:.1} ms (median), {:.1} ms (99th percentile) and at most {:.1} ms.",
            of(0.5),
            of(0.99),
            of(1.0)
        ))
    }
}
