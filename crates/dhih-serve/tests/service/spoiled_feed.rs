//! A proxy between a follower and its primary that corrupts or cuts off responses. The follower must never serve any corrupted data.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::followers::{Copy, Primary, Random};
use crate::following::{JOURNAL, fill};

/// The number of connections that are corrupted or cut off.
const SPOILED: u64 = 14;

/// A proxy that forwards bytes between a follower and its primary, and corrupts or cuts off some responses of the primary.
struct Spoiler {
    address: String,
    connections: Arc<AtomicU64>,
}

impl Spoiler {
    /// Starts the proxy. Responses over the first `SPOILED` connections get a corrupted byte or are cut off if they are long enough.
    fn start(primary: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (counted, primary) = (Arc::new(AtomicU64::new(0)), primary.to_owned());
        let counter = counted.clone();
        std::thread::spawn(move || {
            let mut random = Random(11);
            for client in listener.incoming().flatten() {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let magnitude = 4 + random.below(14);
                let at = random.below(1 << magnitude);
                let spoil = match (number < SPOILED, number % 2) {
                    (false, _) => None,
                    (true, 0) => Some((at, random.below(3) == 0)),
                    (true, _) => Some((300_000, true)),
                };
                let Ok(server) = TcpStream::connect(&primary) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, None));
                std::thread::spawn(move || pass(server, client, spoil));
            }
        });
        Self { address, connections: counted }
    }
}

/// Forwards bytes until one side closes. `spoil` is an offset, and whether the stream is cut off there instead of having one byte
/// corrupted.
fn pass(mut from: TcpStream, mut to: TcpStream, spoil: Option<(u64, bool)>) {
    let (mut passed, mut bytes) = (0_u64, [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let mut part = &mut bytes[..read];
        if let Some((at, is_cut)) = spoil
            && let Some(place) = at.checked_sub(passed).map(|place| place as usize)
            && place < read
        {
            if is_cut {
                part = &mut part[..place];
                let _ = to.write_all(part);
                break;
            }
            part[place] ^= 0x20;
        }
        if to.write_all(part).is_err() {
            break;
        }
        passed += read as u64;
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn what_is_spoiled_or_cut_off_on_its_way_is_never_taken() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..50);
    // Both the snapshot and the changes pass through the proxy.
    let spoiler = Spoiler::start(&primary.address);
    let url = format!("http://{}", spoiler.address);
    let copy = Copy::begin(dir.path().join("copy"), &url, &[]);
    let mut random = Random(5);
    let started = Instant::now();
    while spoiler.connections.load(Ordering::Relaxed) <= SPOILED {
        let n = primary.last();
        primary.put(random.below(50), (random.below(1 << 31), n), 2000);
        copy.is_at_some_moment(&primary);
        assert!(started.elapsed() < Duration::from_secs(120), "no more connections come");
    }
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
}
