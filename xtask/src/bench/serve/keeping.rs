//! The service as a place to keep things: items in bulk and one at a time, exact searches under filters of metadata, and a snapshot while
//! searches go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::service::Service;
use super::{BITS, Bench, good, number, text};
use crate::bench::median;

/// Items with metadata.
const ITEMS: u64 = 1_000_000;
/// Lines of a request.
const LINES: u64 = 20_000;
/// Requests of codes alone.
const PLAIN: u64 = 10;
/// Threads that add one item after the other.
const WRITERS: usize = 64;
/// Items that each of them adds.
const SINGLE: usize = 50;
/// Searches under each filter.
const SEARCHES: u64 = 201;

impl Bench<'_> {
    /// Bulk, single additions, filters, and a snapshot.
    pub(super) fn keeping(&self) -> Result<String> {
        let (index, snapshots) = (self.fresh("index-keeping")?, self.fresh("snapshots")?);
        self.build(&index)?;
        let dir = text(&index)?;
        let words = ["--index", dir, "--snapshot-dir", text(&snapshots)?, "--bind", "127.0.0.1:0"];
        let words = [&words[..], &["--json", "--log-level", "error"]].concat();
        let service = Service::start(&self.step("serve", "dhih-serve", &words)?)?;
        let mut lines = vec![
            "| additions, each on disk when it is answered | items a second |\n|---|---:|"
                .to_owned(),
        ];
        let mut row = |what: &str, rate: f64| lines.push(format!("| {what} | {rate:.0} |"));
        let plain = bulk(&service, 0..PLAIN, |_| None)?;
        row("lines of JSON, 20,000 a request, codes, without a catalogue", plain);
        declare(&service)?;
        let kept = bulk(&service, PLAIN..PLAIN + ITEMS / LINES, |i| Some(metadata(i)))?;
        row("the same with metadata of four fields", kept);
        row("one item a request, one after the other", one_by_one(&service, 1)?);
        row(&format!("one item a request, {WRITERS} connections"), one_by_one(&service, WRITERS)?);
        Ok([lines.join("\n"), filters(&service)?, self.snapshot(&service)?].join("\n\n"))
    }

    /// A snapshot while searches are sent.
    fn snapshot(&self, service: &Service) -> Result<String> {
        let codes = format!("codes={}", text(&self.file("queries.txt"))?);
        let over = AtomicBool::new(false);
        let (seen, made) = std::thread::scope(|scope| {
            let searching = scope.spawn(|| {
                let seen = self.load(service, &["connections=4", &self.seconds(), &codes]);
                over.store(true, Ordering::Relaxed);
                seen
            });
            let mut made = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                let snapshot = service.send("POST", "/v1/admin/snapshots", None)?;
                made.push((started.elapsed().as_secs_f64(), number(&snapshot, "/bytes")?));
                // Names are of the second.
                std::thread::sleep(std::time::Duration::from_millis(1100));
            }
            let seen = searching.join().map_err(|_| anyhow::anyhow!("the load ended early"))??;
            anyhow::Ok((seen, made))
        })?;
        let seconds: Vec<f64> = made.iter().map(|(seconds, _)| *seconds).collect();
        let failed = number(&seen, "/requests")? - good(&seen);
        let mib = made.last().map_or(0.0, |(_, bytes)| bytes / f64::from(1 << 20));
        Ok(format!(
            "{} snapshots of {mib:.0} MiB were made under load, each in {:.2} s (median). Of {:.0} searches by 4 connections meanwhile {failed:.0} failed; \
             the 99.9th percentile was {:.1} ms.",
            made.len(),
            median(&seconds).unwrap_or(f64::NAN),
            number(&seen, "/requests")?,
            number(&seen, "/accepted_ms/p999")?,
        ))
    }
}

/// A code of a number, at random.
pub(super) fn code(number: u64) -> String {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:012x}", (mixed ^ mixed >> 29) >> 16)
}

fn metadata(number: u64) -> Value {
    json!({"thousandth": (number % 1000).to_string(), "tenth": (number % 10).to_string(), "half": number.is_multiple_of(2), "number": number})
}

fn declare(service: &Service) -> Result<()> {
    let fields = json!({"fields": {"thousandth": "keyword", "tenth": "keyword", "half": "bool", "number": "number"}});
    service.send("PUT", "/v1/fields", Some(("application/json", &fields.to_string()))).map(drop)
}

/// Adds requests of lines; items a second.
fn bulk(
    service: &Service,
    requests: std::ops::Range<u64>,
    metadata: impl Fn(u64) -> Option<Value>,
) -> Result<f64> {
    let line = |number: u64| match metadata(number) {
        Some(metadata) => json!({"code": code(number), "metadata": metadata}).to_string(),
        None => json!({"code": code(number)}).to_string(),
    };
    let items = (requests.end - requests.start) * LINES;
    let mut seconds = 0.0;
    for request in requests {
        let body: Vec<String> = (request * LINES..(request + 1) * LINES).map(line).collect();
        let body = body.join("\n");
        let started = Instant::now();
        let made =
            service.send("POST", "/v1/items/batch", Some(("application/x-ndjson", &body)))?;
        seconds += started.elapsed().as_secs_f64();
        if made["added"] != LINES {
            bail!("not all lines were added: {}", made["failed"]);
        }
    }
    Ok(items as f64 / seconds)
}

/// Adds one item a request on so many connections; items a second.
fn one_by_one(service: &Service, connections: usize) -> Result<f64> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let add = |connection: usize| {
            for at in 0..SINGLE {
                let body = json!({"code": code((connection * SINGLE + at) as u64)}).to_string();
                service.send("POST", "/v1/items", Some(("application/json", &body)))?;
            }
            anyhow::Ok(())
        };
        let writers: Vec<_> =
            (0..connections).map(|connection| scope.spawn(move || add(connection))).collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().map_err(|_| anyhow::anyhow!("a writer ended early"))?
        })
    })?;
    Ok((connections * SINGLE) as f64 / started.elapsed().as_secs_f64())
}

/// Searches under filters that let more and more through, beside the one that lets all through.
fn filters(service: &Service) -> Result<String> {
    let equals = |field: &str, value: Value| json!({"must": [{"field": field, "equals": value}]});
    let hundredth: Vec<String> = (0..10).map(|value| value.to_string()).collect();
    let some = json!({"field": "number", "range": {"gte": 400_000, "lt": 700_000}});
    let cases = [
        ("none", None),
        ("0.1 %, one value", Some(equals("thousandth", "7".into()))),
        (
            "1 %, any of ten values",
            Some(json!({"must": [{"field": "thousandth", "any": hundredth}]})),
        ),
        (
            "3 %, a range and a value",
            Some(json!({"must": [some, {"field": "tenth", "equals": "3"}]})),
        ),
        ("10 %, one value", Some(equals("tenth", "3".into()))),
        ("30 %, a range of a million values", Some(json!({ "must": [some] }))),
        ("50 %, true or false", Some(equals("half", true.into()))),
        ("all but 0.1 %", Some(json!({"must_not": [{"field": "thousandth", "equals": "7"}]}))),
        ("all that have a value", Some(json!({"must": [{"field": "half", "exists": true}]}))),
    ];
    let mut lines = vec![
        "| filter | median, ms | beside no filter | the first search, ms |\n|---|---:|---:|---:|"
            .to_owned(),
    ];
    let mut alone = None;
    for (name, filter) in cases {
        let filter = filter.map(|filter| escaped(&filter.to_string()));
        let path = filter
            .map_or("/v1/search?k=10".into(), |filter| format!("/v1/search?k=10&filter={filter}"));
        let mut took = Vec::new();
        for query in 0..SEARCHES {
            let body = json!({ "code": code(!query) }).to_string();
            let found = service.send("POST", &path, Some(("application/json", &body)))?;
            took.push(number(&found, "/took_ms/search")?);
        }
        let (first, later) = (took[0], median(&took[1..]).context("no searches")?);
        let beside = later / *alone.get_or_insert(later);
        lines.push(format!("| {name} | {later:.3} | {beside:.2} | {first:.2} |"));
    }
    lines.push(format!("\n{ITEMS} items with metadata, uniform codes of {BITS} bits, the 10 nearest of those that pass. The first search under a filter finds out which items these are; the next change of the items or their metadata ends that."));
    Ok(lines.join("\n"))
}

/// A text as a value of a query string.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
