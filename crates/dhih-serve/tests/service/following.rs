//! Programs that follow a primary: what they refuse, when they take a new snapshot, and how one of them is promoted to replace its primary.

use std::fs;
use std::path::Path;
use std::process::Output;

use dhih_index::{CodeSet, Codes, IndexBuilder};
use serde_json::json;

use crate::acknowledged::ask;
use crate::common::program;
use crate::followers::{Copy, Primary, get, replication, until};
use crate::full_disk::SmallDisk;

pub const JOURNAL: &[&str] = &["--journal-mib", "1"];

/// A request with an idempotency key that adds an item.
const KEYED: &str =
    "POST /v1/items HTTP/1.1\r\ncontent-type: application/json\r\nidempotency-key: one";

/// Adds items with these ids to the primary.
pub fn fill(primary: &Primary, ids: std::ops::Range<u64>) {
    ids.for_each(|id| primary.put(id, (id * 0x0101_0101, id), 8));
}

fn refused(output: &Output, says: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(says), "{text}");
}

fn error_of(copy: &Copy) -> Option<String> {
    Some(replication(copy.address())?["error"].as_str()?.to_owned())
}

/// The value of a metric of a service; 0 if it is absent.
fn figure(address: &str, name: &str) -> f64 {
    let (_, text) = ask(address, "GET /metrics HTTP/1.1", b"").unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Waits until a copy has taken a second snapshot, and no more.
fn takes_a_snapshot(copy: &Copy) {
    until("all items are taken anew", || {
        let taken = figure(copy.address(), "dhih_replication_snapshots_total");
        assert!(taken < 2.0, "{taken} snapshots");
        (taken == 1.0).then_some(())
    });
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[test]
fn a_copy_answers_like_its_primary_and_refuses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    let declared = json!({ "fields": { "n": "number" } }).to_string();
    let head = "PUT /v1/fields HTTP/1.1\r\ncontent-type: application/json";
    assert_eq!(ask(&primary.address, head, declared.as_bytes()).unwrap().0, 200);
    let mut primary = primary;
    primary.rebase();
    fill(&primary, 0..20);
    let copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    fill(&primary, 20..30);
    primary.delete(3);
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
    // Filters use the metadata of the primary.
    let path = "/v1/items/count?filter=%7B%22must%22%3A%5B%7B%22field%22%3A%22n%22%2C%22range%22%3A%7B%22gte%22%3A18%7D%7D%5D%7D";
    assert_eq!(get(copy.address(), path).unwrap(), json!({ "count": 12 }));

    let of_copy = replication(copy.address()).unwrap();
    assert_eq!(of_copy["role"], "follower");
    assert_eq!(of_copy["primary"], primary.url());
    assert_eq!((&of_copy["connected"], &of_copy["error"]), (&json!(true), &json!(null)));
    assert!(of_copy["lag_seconds"].as_f64().unwrap() < 10.0);
    assert_eq!(replication(&primary.address).unwrap()["role"], "primary");
    assert_eq!(get(copy.address(), "/readyz").unwrap()["writable"], false);
    let last = primary.last() as f64;
    assert_eq!(figure(copy.address(), "dhih_replication_position"), last);
    assert_eq!(figure(&primary.address, "dhih_followers"), 1.0);

    let json_head = |call: &str| format!("{call} HTTP/1.1\r\ncontent-type: application/json");
    for (call, body) in [
        ("POST /v1/items", r#"{"code": "0000000000000001"}"#),
        ("POST /v1/items/batch", r#"{"items": [{"code": "0000000000000001"}]}"#),
        ("DELETE /v1/items/1", ""),
        ("DELETE /v1/items?filter=%7B%22must%22%3A%5B%5D%7D", ""),
        ("PUT /v1/items/1/metadata", "{}"),
        ("PUT /v1/fields", r#"{"fields": {}}"#),
    ] {
        let (status, text) = ask(copy.address(), &json_head(call), body.as_bytes()).unwrap();
        assert_eq!(status, 403, "{call}: {text}");
        assert!(text.contains("\"follower\"") && text.contains(&primary.url()), "{call}: {text}");
    }
    copy.is_exactly(&primary.items_at(primary.last()));
}

#[test]
fn a_copy_outlives_its_primary_and_says_how_late_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let mut copy = Copy::begin(dir.path().join("copy"), &primary.url(), &["--max-lag", "1"]);
    copy.reaches(primary.last());
    primary.kill();
    until("the loss is noticed", || error_of(&copy).filter(|error| error == "unreachable"));
    until("it is late", || {
        let (status, text) = ask(copy.address(), "GET /readyz HTTP/1.1", b"")?;
        (status == 503 && text.contains("lagging")).then_some(())
    });
    copy.is_exactly(&primary.items_at(primary.last()));
    // The same holds if the follower starts while the primary is down.
    copy.kill();
    copy.start_again();
    copy.is_exactly(&primary.items_at(primary.last()));
    primary.start_again();
    fill(&primary, 10..12);
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
    until("it is in time", || get_ready(&copy));
}

fn get_ready(copy: &Copy) -> Option<()> {
    let (status, _) = ask(copy.address(), "GET /readyz HTTP/1.1", b"")?;
    (status == 200).then_some(())
}

#[test]
fn who_is_too_far_behind_takes_all_items_anew() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let mut copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    copy.kill();
    // These changes exceed the bound of the journal, so it drops the change after the follower's position.
    (0..150).for_each(|n| primary.put(n % 20, (n, n), 15_000));
    copy.start_again();
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
    takes_a_snapshot(&copy);
    until("nothing is left beside it", || {
        let left = fs::read_dir(dir.path()).unwrap().flatten().count();
        (left == 2).then_some(())
    });
}

/// A backup that replaces the primary has the same numbers for different changes. The copy must not mix the two histories.
#[test]
fn a_primary_of_another_history_is_not_mixed_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (at, backup) = (dir.path().join("primary"), dir.path().join("backup"));
    let mut primary = Primary::start(at.clone(), JOURNAL);
    fill(&primary, 0..10);
    let copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    primary.kill();
    copy_dir(&at, &backup);
    primary.start_again();
    fill(&primary, 10..15);
    copy.reaches(primary.last());
    primary.kill();
    fs::remove_dir_all(&at).unwrap();
    fs::rename(&backup, &at).unwrap();
    // The backup lacks the last five changes. Seven other changes reuse their numbers.
    primary.made.lock().unwrap().truncate(10);
    primary.start_again();
    (20..27).for_each(|id| primary.put(id, (id, id), 8));
    takes_a_snapshot(&copy);
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
}

#[test]
fn a_copy_takes_the_place_of_its_primary_and_others_follow_it_from_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    let answered = ask(&primary.address, KEYED, br#"{"code": "000000000000000a"}"#).unwrap();
    assert_eq!(answered.0, 201, "{}", answered.1);
    primary.rebase();
    fill(&primary, 0..10);
    let [first, mut second] = Copy::two(dir.path(), &primary);
    second.kill();
    primary.kill();

    let promote = || ask(first.address(), "POST /v1/admin/promote HTTP/1.1", b"").unwrap();
    assert_eq!(promote(), (200, r#"{"promoted":true}"#.into()));
    assert_eq!(promote(), (200, r#"{"promoted":false}"#.into()));
    // The follower has the stored answers of the former primary, so a repeated request with an idempotency key gets the same answer.
    assert_eq!(ask(first.address(), KEYED, br#"{"code": "000000000000000a"}"#), Some(answered));
    let head = "POST /v1/items HTTP/1.1\r\ncontent-type: application/json";
    let (status, text) =
        ask(first.address(), head, br#"{"code": "00000000000000ff", "metadata": {"n": 7}}"#)
            .unwrap();
    assert_eq!(status, 201, "{text}");
    assert!(text.contains("\"id\":10"), "the numbering goes on: {text}");
    let mut items = primary.items_at(primary.last());

    second.follow(&format!("http://{}", first.address()));
    second.start_again();
    // One change is the promotion, which is logged, and the other one adds the item.
    second.reaches(primary.last() + 2);
    items.insert(10, (0xff, 7));
    second.is_exactly(&items);
    assert_eq!(figure(second.address(), "dhih_replication_snapshots_total"), 0.0);
    assert_eq!(replication(first.address()).unwrap()["role"], "primary");

    // After a restart with the same flags it is still a primary.
    let mut first = first;
    first.kill();
    first.start_again();
    assert_eq!(replication(first.address()).unwrap()["role"], "primary");
    first.is_exactly(&items);
    // The index of the former primary is not overwritten.
    let mut command = program();
    command.arg("--index").arg(&primary.dir).args(["--bind", "127.0.0.1:0", "--follow"]);
    let output = command.arg(format!("http://{}", first.address())).output().unwrap();
    refused(&output, "is no copy of a primary, and --follow would overwrite it");
    // Nor is an index that was never served. It has no catalogue, and clients could change it.
    let plain = dir.path().join("plain");
    crate::followers::build(&plain);
    let mut command = program();
    command.arg("--index").arg(&plain).args(["--bind", "127.0.0.1:0", "--follow"]);
    let output = command.arg(format!("http://{}", first.address())).output().unwrap();
    refused(&output, "is no copy of a primary, and --follow would overwrite it");
}

#[test]
fn a_copy_is_promoted_by_a_command_and_nobody_else_changes_it_before() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let mut copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    let promote = |dir: &Path| program().args(["promote", "--index"]).arg(dir).output().unwrap();
    refused(&promote(&copy.dir), "in use by another process");
    copy.kill();
    let serve = |flag: &str| {
        let mut command = program();
        command.arg("--index").arg(&copy.dir).arg(flag);
        command
    };
    let hint = "dhih-serve promote --index";
    refused(&serve("--json").output().unwrap(), hint);
    let (searched, address) = crate::acknowledged::start(&mut serve("--read-only"));
    assert_eq!(get(&address, "/v1/info").unwrap()["items"], 10);
    drop(searched);

    let output = promote(&copy.dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("at change {}", primary.last() + 1)), "{said}");
    refused(&promote(&copy.dir), "nothing to promote");
    refused(&promote(&dir.path().join("nowhere")), "nothing to promote");
    refused(&promote(&dir.path().join("primary")), "in use by another process");
    let promoted = Primary::over(copy.dir.clone(), &[]);
    let (status, _) = ask(
        &promoted.address,
        "POST /v1/items HTTP/1.1\r\ncontent-type: application/json",
        br#"{"code": "00000000000000ff"}"#,
    )
    .unwrap();
    assert_eq!(status, 201);
}

#[test]
fn a_key_of_its_own_lets_follow_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    let roles = ["read", "replicate", "write", "admin"];
    let entry = |role: &&str| {
        format!("[[key]]\nname = \"{role}\"\nrole = \"{role}\"\nkey = \"{role}-key-0123456789\"\n")
    };
    fs::write(&keys, roles.iter().map(entry).collect::<String>()).unwrap();
    crate::followers::build(&dir.path().join("primary"));
    let mut command = program();
    command.arg("--index").arg(dir.path().join("primary")).args(JOURNAL);
    let (_running, address) = crate::acknowledged::start(command.arg("--keys-file").arg(&keys));
    let with = |key: &str, call: &str| {
        let head = format!("{call} HTTP/1.1\r\nx-api-key: {key}-key-0123456789");
        ask(&address, &head, b"").unwrap().0
    };
    let after = format!("GET /v1/replication/changes?after=0-{}", "0".repeat(64));
    for (role, status) in roles.iter().zip([403, 409, 409, 409]) {
        assert_eq!(with(role, &after), status, "{role}");
    }
    assert_eq!(with("read", "POST /v1/replication/epoch"), 403);
    assert_eq!(with("replicate", "GET /v1/items"), 200);
    assert_eq!(with("replicate", "DELETE /v1/items/1"), 403);
    assert_eq!(with("unknown", &after), 401);

    let key = dir.path().join("key");
    fs::write(&key, "replicate-key-0123456789\n").unwrap();
    let flags = ["--follow-key-file", key.to_str().unwrap()];
    let url = format!("http://{address}");
    let copy = Copy::begin(dir.path().join("copy"), &url, &flags);
    until("it is connected", || (replication(copy.address())?["connected"] == true).then_some(()));
}

#[test]
fn a_primary_is_followed_over_tls_and_only_with_its_own_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    crate::followers::build(&dir.path().join("primary"));
    let mut command = program();
    command.arg("--index").arg(dir.path().join("primary")).args(JOURNAL);
    command.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    let (_running, address) = crate::acknowledged::start(&mut command);
    let url = format!("https://localhost:{}", address.rsplit(':').next().unwrap());
    let copy = Copy::begin(dir.path().join("copy"), &url, &["--follow-ca", cert.to_str().unwrap()]);
    until("it is connected", || (replication(copy.address())?["connected"] == true).then_some(()));

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let foreign = dir.path().join("foreign.pem");
    fs::write(&foreign, other.cert.pem()).unwrap();
    let mut copy = copy;
    copy.kill();
    copy.set_flags(&["--follow-ca", foreign.to_str().unwrap()]);
    copy.start_again();
    until("it is refused", || error_of(&copy).filter(|error| error == "unreachable"));
    let mut bare = program();
    bare.arg("--index").arg(dir.path().join("another")).args(["--follow", &url]);
    refused(&bare.output().unwrap(), "--follow-ca");
}

#[test]
fn a_full_disk_of_the_copy_loses_nothing_and_it_catches_up_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(16) else {
        eprintln!("not tested: a disk in memory cannot be mounted here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let copy = Copy::begin(disk.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    let filling = disk.fill();
    for n in 0..40 {
        primary.put(n, (n, n), 10_000);
    }
    until("the full disk is noticed", || {
        error_of(&copy).filter(|error| ["not_written", "disk_full"].contains(&&**error))
    });
    copy.is_at_some_moment(&primary);
    fs::remove_file(filling).unwrap();
    copy.reaches(primary.last());
    copy.is_exactly(&primary.items_at(primary.last()));
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (flags, says) in [
        (&["--follow", "http://a", "--read-only"][..], "--read-only"),
        (&["--follow", "http://a", "--journal-mib", "0"], "--journal-mib"),
        (&["--follow", "http://a", "--collections", "c"], "--collections"),
        (&["--follow", "https://a"], "--follow-ca"),
        (&["--follow", "ftp://a"], "neither"),
        (&["--max-lag", "1"], "--follow URL"),
    ] {
        let output = program().args(["--index", "nowhere"]).args(flags).output().unwrap();
        refused(&output, says);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn an_index_that_was_built_anew_comes_to_the_copies_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    primary.kill();
    let codes = Codes::new(64, 0x00ff_u64.to_le_bytes().to_vec()).unwrap();
    let set = CodeSet { ids: Some(vec![100]), ..CodeSet::new(codes) };
    IndexBuilder::default().build(&set, &primary.dir).unwrap();
    primary.start_again();
    // The items of the catalogue are added to those of the index.
    until("all items come", || {
        let count = get(copy.address(), "/v1/items/count")?["count"].as_u64();
        (count == Some(11)).then_some(())
    });
    takes_a_snapshot(&copy);
    let listed = |address: &str| get(address, "/v1/items?limit=1000").unwrap()["items"].clone();
    assert_eq!(listed(copy.address()), listed(&primary.address));
}
