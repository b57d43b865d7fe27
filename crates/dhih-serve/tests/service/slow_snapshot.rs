//! A snapshot for a follower takes minutes, and much may happen meanwhile. The bugs: a promotion during that time was undone, and the changes
//! that the promoted copy had acknowledged were deleted. Snapshots that nobody needed any more, with deleted items, stayed on the disk.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::acknowledged::ask;
use crate::followers::{Copy, Primary, get, listed, replication, until};
use crate::following::{JOURNAL, fill};

/// A proxy before a primary that can hold back the files of snapshots.
struct Gate {
    address: String,
    is_closed: Arc<AtomicBool>,
    /// Whether a file is held back.
    holds: Arc<AtomicBool>,
}

impl Gate {
    fn start(primary: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_closed, holds): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (primary, gate) = (primary.to_owned(), (is_closed.clone(), holds.clone()));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (primary, (is_closed, holds)) = (primary.clone(), gate.clone());
                std::thread::spawn(move || pass(client, &primary, &is_closed, &holds));
            }
        });
        Self { address, is_closed, holds }
    }
}

fn pass(mut client: TcpStream, primary: &str, is_closed: &AtomicBool, holds: &AtomicBool) {
    let mut request = [0; 4096];
    let Ok(read) = client.read(&mut request) else { return };
    let asks_for_file = String::from_utf8_lossy(&request[..read]).contains("/snapshot/");
    while asks_for_file && is_closed.load(Ordering::Relaxed) {
        holds.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
    let Ok(mut server) = TcpStream::connect(primary) else { return };
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    if server.write_all(&request[..read]).is_ok() {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut server, &mut client);
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

#[test]
fn a_copy_that_is_promoted_while_it_takes_a_snapshot_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let gate = Gate::start(&primary.address);
    let mut copy = Copy::begin(dir.path().join("copy"), &format!("http://{}", gate.address), &[]);
    copy.reaches(primary.last());
    let mut items = primary.items_at(primary.last());
    copy.kill();
    // These changes exceed the bound of the journal, so the copy needs a snapshot.
    (0..150).for_each(|n| primary.put(n % 20, (n, n), 15_000));
    gate.is_closed.store(true, Ordering::Relaxed);
    copy.start_again();
    until("a snapshot is taken", || gate.holds.load(Ordering::Relaxed).then_some(()));

    let promoted = ask(copy.address(), "POST /v1/admin/promote HTTP/1.1", b"").unwrap();
    assert_eq!(promoted, (200, r#"{"promoted":true}"#.into()));
    let add = "POST /v1/items?upsert=true HTTP/1.1\r\ncontent-type: application/json";
    let item = br#"{"id": 77, "code": "00000000000000ff", "metadata": {"n": 7}}"#;
    assert_eq!(ask(copy.address(), add, item).unwrap().0, 201);
    items.insert(77, (0xff, 7));
    gate.is_closed.store(false, Ordering::Relaxed);
    until("the snapshot is given up", || (!dir.path().join(".copy.taking").exists()).then_some(()));
    copy.is_exactly(&items);
    copy.kill();
    copy.start_again();
    copy.is_exactly(&items);
    assert_eq!(replication(copy.address()).unwrap()["role"], "primary");
}

#[test]
fn a_compaction_and_a_start_remove_the_snapshots_for_followers() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let offered = primary.dir.join(".followers");
    let copy = Copy::begin(dir.path().join("first"), &primary.url(), &[]);
    copy.reaches(primary.last());
    assert_eq!(fs::read_dir(&offered).unwrap().count(), 1, "it is kept for further followers");
    let deleted = "DELETE /v1/items/3 HTTP/1.1";
    assert_eq!(ask(&primary.address, deleted, b"").unwrap().0, 204);
    let compact = "POST /v1/admin/compact HTTP/1.1";
    assert_eq!(ask(&primary.address, compact, b"").unwrap().0, 200);
    assert!(!offered.exists());
    // The next follower is not sent to the snapshot that is gone.
    let copy = Copy::begin(dir.path().join("second"), &primary.url(), &[]);
    assert_eq!(listed(copy.address()), listed(&primary.address));
    assert!(offered.exists());
    primary.kill();
    primary.start_again();
    assert!(get(&primary.address, "/v1/info").is_some());
    assert!(!offered.exists());
}
