//! Helpers of the tests of followers: programs that can be killed and restarted at the same address, changes whose outcome is decided by
//! the position of the primary, and comparisons of a copy's answers with the items of its primary.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dhih_index::{CodeSet, Codes, IndexBuilder};
use serde_json::{Value, json};

use crate::acknowledged::{Running, ask, start};
use crate::common::program;

/// The state of an item: its code, and the number in its metadata.
pub type Kept = (u64, u64);
/// A change of the primary: the id of an item, and its new state or `None` if it was deleted.
type Made = (u64, Option<Kept>);

/// A primary, and the changes that it has made.
pub struct Primary {
    pub dir: PathBuf,
    pub address: String,
    flags: Vec<String>,
    pub running: Option<Running>,
    /// The changes in order. The first one has position `base + 1`.
    pub made: Mutex<Vec<Made>>,
    base: u64,
}

/// A follower.
pub struct Copy {
    pub dir: PathBuf,
    primary: String,
    flags: Vec<String>,
    running: Option<(Running, String)>,
}

/// Builds an index without items.
pub fn build(dir: &Path) {
    let set = CodeSet::new(Codes::new(64, Vec::new()).unwrap());
    IndexBuilder::default().build(&set, dir).unwrap();
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Primary {
    /// Starts a primary with a new index. Its port stays the same after a restart.
    pub fn start(dir: PathBuf, flags: &[&str]) -> Self {
        build(&dir);
        Self::over(dir, flags)
    }

    /// Starts a primary with an existing index.
    pub fn over(dir: PathBuf, flags: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (flags, running, made) = (words(flags), None, Mutex::default());
        let mut primary = Self { dir, address, flags, running, made, base: 0 };
        primary.start_again();
        primary.base = primary.position().unwrap();
        primary
    }

    pub fn start_again(&mut self) {
        self.running = Some(self.running_again());
    }

    /// Starts the program again at the same address.
    pub fn running_again(&self) -> Running {
        let mut command = program();
        command.arg("--index").arg(&self.dir).args(["--log-level", "error"]);
        command.args(&self.flags).args(["--bind", &self.address]);
        start_at(&mut command)
    }

    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Forgets the recorded changes and counts from the current position. It is for changes that were made by other means than `put` and
    /// `delete`.
    pub fn rebase(&mut self) {
        self.base = self.position().unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn position(&self) -> Option<u64> {
        position(&self.address)
    }

    /// Adds or replaces an item.
    pub fn put(&self, id: u64, (code, n): Kept, pad: usize) {
        let code = format!("{code:016x}");
        let metadata = json!({ "n": n, "pad": "x".repeat(pad) });
        let body = json!({ "id": id, "code": code, "metadata": metadata }).to_string();
        let head = "POST /v1/items?upsert=true HTTP/1.1\r\ncontent-type: application/json";
        self.change((id, Some((u64::from_str_radix(&code, 16).unwrap(), n))), head, &body);
    }

    pub fn delete(&self, id: u64) {
        self.change((id, None), &format!("DELETE /v1/items/{id} HTTP/1.1"), "");
    }

    /// Makes a change and records it. If the primary goes away before it answers, its position after the restart shows whether the change
    /// was made.
    fn change(&self, made: Made, head: &str, body: &str) {
        match ask(&self.address, head, body.as_bytes()) {
            Some((201 | 204, _)) => self.made.lock().unwrap().push(made),
            Some((status, text)) => panic!("{head}: {status} {text}"),
            None => {
                let position = until("the primary comes back", || self.position());
                let mut all = self.made.lock().unwrap();
                let known = self.base + all.len() as u64;
                assert!([known, known + 1].contains(&position), "{position}, known {known}");
                if position > known {
                    all.push(made);
                }
            }
        }
    }

    /// The items after the change with this position.
    pub fn items_at(&self, position: u64) -> BTreeMap<u64, Kept> {
        items_after(&self.made.lock().unwrap(), position - self.base)
    }

    /// The position after all recorded changes.
    pub fn last(&self) -> u64 {
        self.base + self.made.lock().unwrap().len() as u64
    }
}

impl Copy {
    /// Starts a follower of a primary.
    pub fn begin(dir: PathBuf, primary: &str, flags: &[&str]) -> Self {
        let mut copy =
            Self { dir, primary: primary.to_owned(), flags: words(flags), running: None };
        copy.start_again();
        copy
    }

    /// Starts two followers of a primary, in folders of `dir`, which have all of its changes when this returns.
    pub fn two(dir: &Path, primary: &Primary) -> [Self; 2] {
        let copies =
            ["first", "second"].map(|name| Self::begin(dir.join(name), &primary.url(), &[]));
        copies.iter().for_each(|copy| copy.reaches(primary.last()));
        copies
    }

    pub fn start_again(&mut self) {
        let mut command = program();
        command.arg("--index").arg(&self.dir).args(["--follow", &self.primary]);
        command.args(["--log-level", "error"]).args(&self.flags);
        self.running = Some(start(&mut command));
    }

    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Sets another primary for the next start.
    pub fn follow(&mut self, primary: &str) {
        primary.clone_into(&mut self.primary);
    }

    /// Sets other flags for the next start.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = words(flags);
    }

    pub fn address(&self) -> &str {
        &self.running.as_ref().expect("it runs").1
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until the copy has reached a position of its primary.
    pub fn reaches(&self, wanted: u64) {
        until("the copy catches up", || {
            position(self.address()).filter(|position| *position >= wanted)
        });
    }

    /// Compares all answers of the copy with the items of a position. The copy must have reached it, and nothing may change meanwhile.
    pub fn is_exactly(&self, items: &BTreeMap<u64, Kept>) {
        assert_eq!(listed(self.address()), *items);
        for query in items.values().map(|(code, _)| code ^ 5).step_by(7).chain([0]) {
            assert_eq!(nearest(self.address(), query), nearest_of(items, query));
        }
    }

    /// Checks the items that a copy lists while primary and copy may both be changing: their codes are those of the primary at one
    /// position, which is not before the position that the copy reported.
    pub fn is_at_some_moment(&self, primary: &Primary) {
        let from = position(self.address()).unwrap();
        let answered = listed(self.address());
        let codes = |items: &BTreeMap<u64, Kept>| -> Vec<(u64, u64)> {
            items.iter().map(|(id, (code, _))| (*id, *code)).collect()
        };
        // The primary may have made a change that the thread of the writer has not recorded yet. Wait for the record.
        until("what was answered is known", || {
            let last = primary.last();
            let at = (from.min(last)..=last)
                .find(|position| codes(&primary.items_at(*position)) == codes(&answered))?;
            // The metadata may be that of a later change: either the search does not have its code yet, or the code is the same.
            let made = primary.made.lock().unwrap();
            let later = &made[usize::try_from(at - primary.base).unwrap()..];
            let known = items_after(&made, at - primary.base);
            let is_known = |id: &u64, n: &u64| {
                let is_later = |(of, kept): &Made| of == id && kept.is_some_and(|(_, m)| m == *n);
                known.get(id).is_some_and(|(_, m)| m == n) || later.iter().any(is_later)
            };
            answered.iter().all(|(id, (_, n))| is_known(id, n)).then_some(())
        });
    }
}

/// The items after the first `count` changes.
fn items_after(made: &[Made], count: u64) -> BTreeMap<u64, Kept> {
    let mut items = BTreeMap::new();
    for (id, kept) in made.iter().take(usize::try_from(count).unwrap()) {
        match kept {
            Some(kept) => drop(items.insert(*id, *kept)),
            None => drop(items.remove(id)),
        }
    }
    items
}

/// Starts the program with an address that is among its flags.
fn start_at(command: &mut std::process::Command) -> Running {
    use std::io::{BufRead, BufReader};
    let started = Instant::now();
    loop {
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let running = Running::of(child);
        if line.starts_with("http") {
            return running;
        }
        // A connection of another test may occupy the port for a moment.
        assert!(started.elapsed() < Duration::from_secs(20), "it does not start");
    }
}

/// Repeats `work` until it returns a result. Fails after 30 seconds.
pub fn until<T>(what: &str, work: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(done) = work() {
            return done;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{what} does not come to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn get(address: &str, path: &str) -> Option<Value> {
    let (status, text) = ask(address, &format!("GET {path} HTTP/1.1"), b"")?;
    assert_eq!(status, 200, "{path}: {text}");
    Some(serde_json::from_str(&text).unwrap())
}

/// The field `replication` of `/v1/info`; `None` if there is no answer.
pub fn replication(address: &str) -> Option<Value> {
    get(address, "/v1/info").map(|info| info["replication"].clone())
}

pub fn position(address: &str) -> Option<u64> {
    replication(address)?["position"].as_u64()
}

/// Lists all items.
pub fn listed(address: &str) -> BTreeMap<u64, Kept> {
    let list = get(address, "/v1/items?limit=1000").expect("it answers");
    assert!(list["next"].is_null(), "more than a page");
    let item = |item: &Value| {
        let code = u64::from_str_radix(item["code"].as_str().unwrap(), 16).unwrap();
        let n = item["metadata"]["n"].as_u64().expect("each item has metadata");
        (item["id"].as_u64().unwrap(), (code, n))
    };
    list["items"].as_array().unwrap().iter().map(item).collect()
}

fn nearest(address: &str, code: u64) -> Vec<(u32, u64)> {
    let head = "POST /v1/search?k=10 HTTP/1.1\r\ncontent-type: application/json";
    let body = json!({ "code": format!("{code:016x}") }).to_string();
    let (status, text) = ask(address, head, body.as_bytes()).expect("it answers");
    assert_eq!(status, 200, "{text}");
    let found: Value = serde_json::from_str(&text).unwrap();
    let hit = |hit: &Value| {
        (u32::try_from(hit["distance"].as_u64().unwrap()).unwrap(), hit["id"].as_u64().unwrap())
    };
    found["hits"].as_array().unwrap().iter().map(hit).collect()
}

fn nearest_of(items: &BTreeMap<u64, Kept>, code: u64) -> Vec<(u32, u64)> {
    let mut all: Vec<_> =
        items.iter().map(|(id, (other, _))| ((other ^ code).count_ones(), *id)).collect();
    all.sort_unstable();
    all.truncate(10);
    all
}

/// A generator of random numbers with a fixed seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
