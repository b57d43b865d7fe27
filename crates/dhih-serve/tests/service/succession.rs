//! A primary that missed the promotion of a copy. The bug: when it came back, it accepted changes that no other service ever had, and copies
//! that still followed it dropped the changes of the new primary.

use serde_json::json;

use crate::acknowledged::ask;
use crate::common::program;
use crate::followers::{Copy, Primary, build, get, listed, replication, until};
use crate::following::{JOURNAL, fill};

const ADD: &str = "POST /v1/items HTTP/1.1\r\ncontent-type: application/json";
const EPOCH: &str = "POST /v1/replication/epoch HTTP/1.1\r\ncontent-type: application/json";
const ITEM: &[u8] = br#"{"code": "00000000000000ff", "metadata": {"n": 7}}"#;

fn promote(address: &str) {
    let promoted = ask(address, "POST /v1/admin/promote HTTP/1.1", b"").unwrap();
    assert_eq!(promoted, (200, r#"{"promoted":true}"#.into()));
}

/// Role and epoch of a service.
fn role(address: &str) -> Option<(String, u64)> {
    let replication = replication(address)?;
    Some((replication["role"].as_str()?.to_owned(), replication["epoch"].as_u64()?))
}

fn becomes(address: &str, wanted: (&str, u64)) {
    until("the role changes", || {
        role(address).filter(|(role, epoch)| (&**role, *epoch) == wanted).map(drop)
    });
}

fn has_error(copy: &Copy, wanted: &str) {
    until("the copy says why it is not told of changes", || {
        replication(copy.address()).filter(|it| it["error"] == wanted).map(drop)
    });
}

#[test]
fn a_primary_that_comes_back_gives_way_to_the_promoted_copy() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let [first, mut second] = Copy::two(dir.path(), &primary);
    primary.kill();
    promote(first.address());
    assert_eq!(role(first.address()), Some(("primary".into(), 1)));
    assert_eq!(ask(first.address(), ADD, ITEM).unwrap().0, 201);

    primary.start_again();
    becomes(&primary.address, ("superseded", 0));
    let refused = |head: &str, body: &[u8]| {
        let (status, text) = ask(&primary.address, head, body).unwrap();
        assert!(status == 403 && text.contains("\"superseded\""), "{status} {text}");
    };
    refused(ADD, ITEM);
    refused("DELETE /v1/items/3 HTTP/1.1", b"");
    assert_eq!(listed(&primary.address).len(), 10, "it answers searches on");
    has_error(&second, "superseded");
    assert_eq!(listed(second.address()).len(), 10);
    // It stays so after a restart, and the other copy goes on at the new primary without a snapshot.
    primary.kill();
    primary.start_again();
    assert_eq!(role(&primary.address), Some(("superseded".into(), 0)));
    assert_eq!(ask(&primary.address, ADD, ITEM).unwrap().0, 403);
    second.kill();
    second.follow(&format!("http://{}", first.address()));
    second.start_again();
    second.reaches(primary.last() + 2);
    assert_eq!(listed(second.address()), listed(first.address()));
    assert_eq!(role(second.address()), Some(("follower".into(), 1)));

    // An operator may decide otherwise.
    promote(&primary.address);
    assert_eq!(role(&primary.address), Some(("primary".into(), 2)));
    assert_eq!(ask(&primary.address, ADD, ITEM).unwrap().0, 201);
}

#[test]
fn a_copy_does_not_go_back_to_a_primary_that_missed_the_promotion() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let [mut first, mut second] = Copy::two(dir.path(), &primary);
    primary.kill();
    promote(first.address());
    assert_eq!(ask(first.address(), ADD, ITEM).unwrap().0, 201);
    second.kill();
    second.follow(&format!("http://{}", first.address()));
    second.start_again();
    second.reaches(primary.last() + 2);
    let items = listed(second.address());
    assert_eq!(items.len(), 11);
    // The promoted copy is gone before the former primary is back, which therefore does not know.
    first.kill();
    second.kill();
    primary.start_again();
    second.follow(&primary.url());
    second.start_again();
    has_error(&second, "superseded");
    assert_eq!(listed(second.address()), items, "it keeps what it has");
    assert_eq!(role(&primary.address), Some(("primary".into(), 0)));
}

/// The journal of the former primary does not reach back to the promotion, after many changes or a compaction.
#[test]
fn a_former_primary_gives_way_even_if_its_journal_is_too_short() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let mut copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    copy.kill();
    let promoted = program().args(["promote", "--index"]).arg(&copy.dir).output().unwrap();
    assert!(promoted.status.success());
    (0..150).for_each(|n| primary.put(n % 20, (n, n), 15_000));
    copy.start_again();
    becomes(&primary.address, ("superseded", 0));
    assert_eq!(ask(&primary.address, ADD, ITEM).unwrap().0, 403);
}

/// A backup from before a promotion has a lower epoch than the copies, which took it for a former primary for ever.
#[test]
fn a_restored_backup_is_followed_although_there_was_a_promotion_since() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("backups");
    let with_backups = [JOURNAL, &["--snapshot-dir", backups.to_str().unwrap()]].concat();
    let mut primary = Primary::start(dir.path().join("primary"), &with_backups);
    fill(&primary, 0..10);
    let snapshot = "POST /v1/admin/snapshots?name=backup HTTP/1.1";
    assert_eq!(ask(&primary.address, snapshot, b"").unwrap().0, 201);
    let [mut first, mut second] = Copy::two(dir.path(), &primary);
    primary.kill();
    promote(first.address());
    assert_eq!(ask(first.address(), ADD, ITEM).unwrap().0, 201);
    second.kill();
    second.follow(&format!("http://{}", first.address()));
    second.start_again();
    becomes(second.address(), ("follower", 1));
    first.kill();
    second.kill();

    let restored = Primary::over(backups.join("backup"), JOURNAL);
    restored.put(20, (20, 20), 8);
    second.follow(&restored.url());
    second.start_again();
    becomes(second.address(), ("follower", 0));
    until("the copy has what was restored, and what came after it", || {
        (listed(second.address()) == listed(&restored.address)).then_some(())
    });
    assert_eq!(listed(second.address()).len(), 11);
}

/// A service with another history at the address of the former primary is none of the promoted copy's business.
#[test]
fn only_a_primary_of_the_same_history_gives_way_and_only_to_a_higher_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), JOURNAL);
    fill(&primary, 0..10);
    let copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    copy.reaches(primary.last());
    let snapshot = get(&primary.address, "/v1/replication/snapshot").unwrap();
    let at = snapshot["position"].as_str().unwrap();
    let tell = |head: &str, epoch: u64, position: &str| {
        let body = json!({"epoch": epoch, "position": position}).to_string();
        ask(&primary.address, head, body.as_bytes()).unwrap()
    };
    assert_eq!(tell(EPOCH, 0, at), (200, r#"{"superseded":false}"#.into()));
    assert_eq!(tell(EPOCH, 9, &format!("{}-{}", primary.last(), "0".repeat(64))).0, 409);
    assert_eq!(tell(EPOCH, 9, "another").0, 400);
    let cross_site = format!("{EPOCH}\r\norigin: http://evil.example");
    assert_eq!(tell(&cross_site, 9, at).0, 403);
    assert_eq!(ask(&primary.address, EPOCH, b"{}").unwrap().0, 400);
    assert_eq!(role(&primary.address), Some(("primary".into(), 0)));
    let told = json!({"epoch": 9, "position": at}).to_string();
    let of_copy = ask(copy.address(), EPOCH, told.as_bytes()).unwrap();
    assert_eq!(of_copy, (200, r#"{"superseded":false}"#.into()), "a copy is no primary");

    primary.kill();
    promote(copy.address());
    primary.dir = dir.path().join("other");
    build(&primary.dir);
    primary.start_again();
    until("it was asked to give way", || {
        let (_, text) = ask(&primary.address, "GET /metrics HTTP/1.1", b"")?;
        let asked = |line: &str| {
            line.starts_with("dhih_requests_total{")
                && line.contains("/v1/replication/epoch")
                && line.contains("\"409\"")
        };
        text.lines().any(asked).then_some(())
    });
    assert_eq!(role(&primary.address), Some(("primary".into(), 0)));
    assert_eq!(ask(&primary.address, ADD, ITEM).unwrap().0, 201);
}
