//! A load generator for `cargo xtask bench serve`: HTTP/1.1 over persistent connections. Requests are written by hand, so that the
//! generator takes few resources of the machine that it shares with the service.
//!
//! ```text
//! load ADDRESS seconds=5 connections=16 codes=queries.txt     searches by code, one after the other on each connection
//!                                                             (path=/v1/search?k=10)
//! load ADDRESS seconds=5 rate=900 images=folder side=224      searches by image, scaled before to JPEGs of this side, at a fixed
//!                                                             rate per second, whatever the answers are
//! load ADDRESS seconds=5 connections=1 add=a.png              additions of a picture
//! load ADDRESS seconds=5 path=/v1/admin/reload method=POST    any other request, repeatedly
//! load ADDRESS count=64 attack=bombs|decoded-bombs|truncated|slow seconds=5
//!                                                             malicious requests
//! ```
//!
//! Prints one JSON object. With a rate, times count from the moment when a request was due, even if it was sent later. The output has the
//! numbers of requests that were sent late or not at all.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Fault = Box<dyn Error + Send + Sync>;

/// The measurements of one connection.
#[derive(Default)]
struct Seen {
    accepted: Vec<f64>,
    rejected: Vec<f64>,
    /// The times of rejected requests, counted from when they were sent.
    rejected_sent: Vec<f64>,
    statuses: BTreeMap<u16, usize>,
    errors: usize,
    /// Requests that were sent more than `LATE` after they were due.
    late: usize,
    /// The time since which no request was accepted.
    refused_since: Option<Instant>,
    /// The longest time without an accepted request, in milliseconds.
    refused_for: f64,
}

const LATE: Duration = Duration::from_millis(10);
/// Answers that take longer count as errors.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after the end overdue requests are still sent.
const AFTER: Duration = Duration::from_secs(30);

// A single thread, because the generator shares the cores with the service and should only use what is left of them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("give an address, and what to ask of it")?;
    let mut settings = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or(format!("{word:?} is no NAME=VALUE"))?;
        settings.insert(name.to_owned(), value.to_owned());
    }
    let number = |name: &str, default: f64| -> Result<f64, Fault> {
        Ok(settings.get(name).map_or(Ok(default), |value| value.parse())?)
    };
    let seconds = Duration::from_secs_f64(number("seconds", 5.0)?);
    let printed = match settings.get("attack") {
        Some(attack) => {
            attacked(&address, attack, number("count", 64.0)? as usize, seconds).await?
        }
        None => {
            let requests = Arc::new(requests(&address, &settings)?);
            let connections = number("connections", 16.0)? as usize;
            let rate = settings.get("rate").map(|rate| rate.parse::<f64>()).transpose()?;
            loaded(address, requests, Load { connections, seconds, rate }).await?
        }
    };
    println!("{printed}");
    Ok(())
}

/// The requests in the form in which they are sent.
fn requests(address: &str, settings: &BTreeMap<String, String>) -> Result<Vec<Vec<u8>>, Fault> {
    let host = format!("host: {address}\r\n");
    if let Some(file) = settings.get("codes") {
        let text = std::fs::read_to_string(file)?;
        let path = settings.get("path").map_or("/v1/search?k=10", String::as_str);
        let one = |code: &str| {
            let body = format!("{{\"code\":\"{code}\"}}");
            let length = body.len();
            let head = "HTTP/1.1\r\ncontent-type: application/json";
            format!("POST {path} {head}\r\n{host}content-length: {length}\r\n\r\n{body}")
                .into_bytes()
        };
        return Ok(text.lines().map(one).collect());
    }
    if let Some(folder) = settings.get("images") {
        let side = settings.get("side").map(|side| side.parse::<u32>()).transpose()?;
        let files = std::fs::read_dir(folder)?.map(|entry| {
            let file = std::fs::read(entry?.path())?;
            side.map_or(Ok(file.clone()), |side| scaled(&file, side))
        });
        return files.map(|file: Result<_, Fault>| Ok(image(&host, &file?, usize::MAX))).collect();
    }
    if let Some(file) = settings.get("add") {
        let search = image(&host, &std::fs::read(file)?, usize::MAX);
        let addition = search.strip_prefix(b"POST /v1/search?k=10 ").ok_or("not a search")?;
        return Ok(vec![[b"POST /v1/items ", addition].concat()]);
    }
    let path =
        settings.get("path").ok_or("give codes=FILE, images=FOLDER, add=FILE or path=PATH")?;
    let method = settings.get("method").map_or("GET", String::as_str);
    Ok(vec![format!("{method} {path} HTTP/1.1\r\n{host}content-length: 0\r\n\r\n").into_bytes()])
}

fn scaled(file: &[u8], side: u32) -> Result<Vec<u8>, Fault> {
    let picture = image::load_from_memory(file)?.into_rgb8();
    let picture = image::imageops::resize(&picture, side, side, image::imageops::Triangle);
    let mut scaled = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut scaled, image::ImageFormat::Jpeg)?;
    Ok(scaled.into_inner())
}

/// A search by image, which sends only the first `sent` bytes of the file.
fn image(host: &str, file: &[u8], sent: usize) -> Vec<u8> {
    let before =
        b"--edge\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";
    let after = b"\r\n--edge--\r\n";
    let length = before.len() + file.len() + after.len();
    let head = format!(
        "POST /v1/search?k=10 HTTP/1.1\r\n{host}content-type: multipart/form-data; boundary=edge\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut bytes = [head.as_bytes(), before, file, after].concat();
    bytes.truncate(head.len().saturating_add(sent));
    bytes
}

/// The settings of a load.
struct Load {
    connections: usize,
    seconds: Duration,
    /// Requests per second; absent if each connection sends the next request as soon as it has its answer.
    rate: Option<f64>,
}

async fn loaded(address: String, requests: Arc<Vec<Vec<u8>>>, load: Load) -> Result<Value, Fault> {
    let Load { connections, seconds, rate } = load;
    let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let until = started + seconds;
    let tasks = (0..connections).map(|_| {
        let (address, requests, next) = (address.clone(), requests.clone(), next.clone());
        tokio::spawn(async move {
            let (mut seen, mut connection) = (Seen::default(), None);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = match rate {
                    Some(rate) => started + Duration::from_secs_f64(number as f64 / rate),
                    None => Instant::now(),
                };
                if due >= until || Instant::now() >= until + AFTER {
                    return seen;
                }
                if rate.is_some() {
                    tokio::time::sleep_until(due.into()).await;
                }
                let sent = Instant::now();
                seen.late += usize::from(sent - due > LATE);
                let request = &requests[number % requests.len()];
                let answer = exchange(&mut connection, &address, request);
                match tokio::time::timeout(PATIENCE, answer).await {
                    Ok(Ok(status)) => {
                        let ms = |from: Instant| 1e3 * from.elapsed().as_secs_f64();
                        if !(200..300).contains(&status) {
                            seen.refused_since.get_or_insert(sent);
                        }
                        *seen.statuses.entry(status).or_default() += 1;
                        match status {
                            200..300 => {
                                seen.accepted.push(ms(due));
                                let refused = seen.refused_since.take().map_or(0.0, ms);
                                seen.refused_for = seen.refused_for.max(refused);
                            }
                            429 | 503 => {
                                seen.rejected.push(ms(due));
                                seen.rejected_sent.push(ms(sent));
                            }
                            _ => {}
                        }
                    }
                    Ok(Err(_)) | Err(_) => {
                        connection = None;
                        seen.refused_since.get_or_insert(sent);
                        seen.errors += 1;
                    }
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await?;
        all.accepted.extend(seen.accepted);
        all.rejected.extend(seen.rejected);
        all.rejected_sent.extend(seen.rejected_sent);
        all.late += seen.late;
        seen.statuses.into_iter().for_each(|(s, n)| *all.statuses.entry(s).or_default() += n);
        all.errors += seen.errors;
        let to_the_end = seen.refused_since.map_or(0.0, |from| 1e3 * from.elapsed().as_secs_f64());
        all.refused_for = all.refused_for.max(seen.refused_for).max(to_the_end);
    }
    // The last answers may have come after the end of the measurement.
    let took = started.elapsed().max(seconds).as_secs_f64();
    let sent = all.statuses.values().sum::<usize>() + all.errors;
    let due = rate.map(|rate| (rate * seconds.as_secs_f64()).ceil() as usize);
    let statuses: BTreeMap<String, usize> =
        all.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    Ok(json!({
        "requests": sent,
        "late": all.late,
        "unsent": due.map_or(0, |due| due.saturating_sub(sent)),
        "per_second": all.accepted.len() as f64 / took,
        "statuses": statuses,
        "errors": all.errors,
        "refused_for_ms": all.refused_for,
        "accepted_ms": quantiles(all.accepted),
        "rejected_ms": quantiles(all.rejected),
        "rejected_sent_ms": quantiles(all.rejected_sent),
    }))
}

fn quantiles(mut ms: Vec<f64>) -> Value {
    if ms.is_empty() {
        return Value::Null;
    }
    ms.sort_by(f64::total_cmp);
    let at = |part: f64| ms[((ms.len() - 1) as f64 * part).round() as usize];
    let mean = ms.iter().sum::<f64>() / ms.len() as f64;
    json!({ "mean": mean, "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

/// Sends a request and reads the whole answer. Returns its status.
async fn exchange(
    connection: &mut Option<TcpStream>,
    address: &str,
    request: &[u8],
) -> Result<u16, Fault> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    // A server may refuse a request and close the connection before the whole request was sent.
    let written = stream.write_all(request).await.is_ok();
    let mut answer = Vec::with_capacity(8192);
    let head = loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the connection was closed".into());
        }
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
    let status: u16 = text.split(' ').nth(1).ok_or("no status")?.parse()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
    let chunked = text.contains("\r\ntransfer-encoding: chunked");
    loop {
        let body = &answer[head..];
        let whole = if chunked { all_chunks(body)? } else { body.len() >= length };
        if whole {
            break;
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the answer was cut".into());
        }
    }
    if !written || text.contains("connection: close") {
        *connection = None;
    }
    Ok(status)
}

/// Whether a chunked body has arrived completely.
fn all_chunks(body: &[u8]) -> Result<bool, Fault> {
    let mut rest = body;
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(false) };
        let line = std::str::from_utf8(&rest[..end])?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)?;
        rest = &rest[end + 2..];
        if size == 0 {
            // Trailer lines may follow; the last one is empty.
            return Ok(rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n"));
        }
        match size.checked_add(2).and_then(|past| rest.get(past..)) {
            Some(after) => rest = after,
            None => return Ok(false),
        }
    }
}

/// Sends malicious requests, all at once. Returns what became of them.
async fn attacked(
    address: &str,
    attack: &str,
    count: usize,
    seconds: Duration,
) -> Result<Value, Fault> {
    let host = format!("host: {address}\r\n");
    let request = match attack {
        "bombs" => image(&host, &bomb(OVER)?, usize::MAX),
        "decoded-bombs" => image(&host, &bomb(WITHIN)?, usize::MAX),
        "truncated" => {
            let bomb = bomb(OVER)?;
            image(&host, &bomb, bomb.len() / 2)
        }
        "slow" => b"GET /healthz HTTP/1.1\r\nx-slow: ".to_vec(),
        other => {
            return Err(
                format!("{other:?} is none of bombs, decoded-bombs, truncated and slow").into()
            );
        }
    };
    let slow = attack == "slow";
    let tasks = (0..count).map(|_| {
        let (address, request) = (address.to_owned(), request.clone());
        tokio::spawn(tokio::time::timeout(seconds, async move {
            let mut connection = None;
            if !slow {
                return exchange(&mut connection, &address, &request).await;
            }
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(&request).await?;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(b"a").await?;
            }
        }))
    });
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        let outcome = match task.await? {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(_)) => "closed".to_owned(),
            Err(_) => "still open".to_owned(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    Ok(json!({ "attack": attack, "outcomes": outcomes }))
}

/// More pixels than the service accepts, so that the picture is refused by its header.
const OVER: [u32; 2] = [8000, 8000];
/// Just below 40 megapixels and, with transparency, below 192 MiB. The picture is decoded with the most memory that one may take.
const WITHIN: [u32; 2] = [7000, 5700];

/// A PNG of some kilobytes that decodes to this many columns and rows, with four bytes for each pixel.
fn bomb([width, height]: [u32; 2]) -> Result<Vec<u8>, Fault> {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbaImage::new(width, height).write_to(&mut file, image::ImageFormat::Png)?;
    Ok(file.into_inner())
}
