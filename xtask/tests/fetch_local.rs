//! `fetch-data` without the network: local copies, the list, verification, wrong usage.

mod support;

use std::fs;
use std::path::Path;

use support::{
    ABC_SHA256, Sandbox, Server, XYZ_SHA256, fail, stderr, stdout, succeed, write, xtask,
};

fn sandbox() -> Sandbox {
    Sandbox::new(&Server::refused())
}

#[test]
fn a_local_copy_is_found_by_path_by_set_and_by_name() {
    for place in ["sub/a.bin", "tiny/sub/a.bin", "a.bin"] {
        let sandbox = sandbox();
        let from = sandbox.local("copy", place, b"abc");
        let output = succeed(sandbox.fetch().args(["tiny", "--json", "--from"]).arg(&from));
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["datasets"][0]["state"], "verified", "{place}");
        assert_eq!(sandbox.data("tiny/sub/a.bin").unwrap(), b"abc");
        let provenance = sandbox.provenance("tiny");
        assert_eq!(provenance["verified"], true);
        assert_eq!(provenance["source"], format!("directory:{}", from.display()));
    }
}

#[test]
fn other_bytes_need_unverified_which_is_said_and_recorded() {
    let sandbox = sandbox();
    let from = sandbox.local("copy", "sub/a.bin", b"xyz");
    let error = fail(sandbox.fetch().args(["tiny", "--from"]).arg(&from), 1);
    for part in ["a.bin", ABC_SHA256, XYZ_SHA256, "--unverified"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(sandbox.is_untouched("tiny"));

    let output = succeed(sandbox.fetch().args(["tiny", "--unverified", "--from"]).arg(&from));
    assert!(stderr(&output).contains("WARNING: tiny: these bytes are NOT those of the manifest"));
    let provenance = sandbox.provenance("tiny");
    assert_eq!(provenance["verified"], false);
    assert_eq!(provenance["revision"], "unknown");
    assert_eq!(provenance["files"][0]["sha256"], XYZ_SHA256);
    assert_eq!(provenance["files"][0]["expected_sha256"], ABC_SHA256);
    assert!(stdout(&succeed(sandbox.fetch().args(["tiny", "--list"]))).contains("unverified"));
    succeed(sandbox.fetch().args(["tiny", "--verify"]));

    let right = sandbox.local("right", "sub/a.bin", b"abc");
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(&right));
    assert_eq!(sandbox.provenance("tiny")["verified"], true);
    assert_eq!(sandbox.data("tiny/sub/a.bin").unwrap(), b"abc");
}

#[test]
fn unverified_with_the_right_bytes_is_verified() {
    let sandbox = sandbox();
    let from = sandbox.local("copy", "sub/a.bin", b"abc");
    let output = succeed(sandbox.fetch().args(["tiny", "--unverified", "--from"]).arg(&from));
    assert!(!stderr(&output).contains("WARNING"));
    assert_eq!(sandbox.provenance("tiny")["verified"], true);
}

#[test]
fn unverified_replaces_verified_files() {
    let sandbox = sandbox();
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(sandbox.local("right", "a.bin", b"abc")));
    let provenance = sandbox.provenance("tiny");
    let other = sandbox.local("other", "a.bin", b"xyz");
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(&other));
    assert_eq!(
        sandbox.data("tiny/sub/a.bin").unwrap(),
        b"abc",
        "good files are kept unless told otherwise"
    );
    assert_eq!(
        sandbox.provenance("tiny"),
        provenance,
        "and so is the word on where they came from"
    );
    succeed(sandbox.fetch().args(["tiny", "--unverified", "--from"]).arg(&other));
    assert_eq!(sandbox.data("tiny/sub/a.bin").unwrap(), b"xyz");
    assert_eq!(sandbox.provenance("tiny")["verified"], false);
}

#[test]
fn a_missing_local_file_is_named() {
    let sandbox = sandbox();
    let from = sandbox.local("copy", "other.bin", b"abc");
    let error = fail(sandbox.fetch().args(["tiny", "--from"]).arg(&from), 1);
    assert!(error.contains("no sub/a.bin in it"), "{error}");
    assert!(sandbox.is_untouched("tiny"));
}

#[test]
fn verify_finds_every_difference() {
    let sandbox = sandbox();
    let none = succeed(sandbox.fetch().arg("--verify"));
    assert!(stderr(&none).contains("tiny: absent, nothing to verify"));
    assert!(
        fail(sandbox.fetch().args(["tiny", "--verify"]), 1).contains("provenance.json is absent")
    );

    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(sandbox.local("copy", "a.bin", b"abc")));
    succeed(sandbox.fetch().args(["tiny", "--verify"]));
    let (file, provenance) =
        (sandbox.path("data/tiny/sub/a.bin"), sandbox.path("data/tiny/provenance.json"));

    write(&file, b"abd");
    let error = fail(sandbox.fetch().args(["--verify", "--json"]), 1);
    assert!(
        error.contains("tiny/sub/a.bin: expected 3 bytes") && error.contains(ABC_SHA256),
        "{error}"
    );
    write(&file, b"ab");
    assert!(fail(sandbox.fetch().arg("--verify"), 1).contains("got 2 bytes"));
    fs::remove_file(&file).unwrap();
    assert!(fail(sandbox.fetch().arg("--verify"), 1).contains("cannot open"));

    write(&file, b"abc");
    let text = fs::read_to_string(&provenance).unwrap();
    write(&provenance, text.replace("sub/a.bin", "sub/b.bin").as_bytes());
    assert!(fail(sandbox.fetch().args(["tiny", "--verify"]), 1).contains("does not list it"));
    write(&provenance, b"{");
    assert!(fail(sandbox.fetch().args(["tiny", "--verify"]), 1).contains("not a provenance file"));
}

#[test]
fn verify_holds_verified_sets_to_todays_manifest() {
    let sandbox = sandbox();
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(sandbox.local("copy", "a.bin", b"abc")));
    let manifest = sandbox.path("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace(ABC_SHA256, XYZ_SHA256)).unwrap();
    assert!(fail(sandbox.fetch().args(["tiny", "--verify"]), 1).contains(XYZ_SHA256));
}

#[test]
fn the_list_shows_the_state_without_reading_all_bytes() {
    let sandbox = sandbox();
    let state = || {
        let output = succeed(sandbox.fetch().args(["--list", "--json"]));
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["datasets"][0]["bytes"], 3);
        assert_eq!(answer["datasets"][0]["licence"], "MIT");
        answer["datasets"][0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(), "absent");
    write(&sandbox.path("data/tiny/sub/a.bin"), b"abc");
    assert_eq!(state(), "incomplete");
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(sandbox.local("copy", "a.bin", b"abc")));
    assert_eq!(state(), "verified");
    write(&sandbox.path("data/tiny/sub/a.bin"), b"ab");
    assert_eq!(state(), "incomplete");
}

#[test]
fn left_overs_of_a_killed_run_are_cleared_and_a_running_one_is_respected() {
    let sandbox = sandbox();
    write(&sandbox.path("data/tiny/.staging/sub/a.bin"), b"half");
    let from = sandbox.local("copy", "a.bin", b"abc");
    let lock = fs::File::create(sandbox.path("data/tiny/.lock")).unwrap();
    lock.lock().unwrap();
    let error = fail(sandbox.fetch().args(["tiny", "--from"]).arg(&from), 1);
    assert!(error.contains("another fetch-data is at work"), "{error}");
    drop(lock);
    succeed(sandbox.fetch().args(["tiny", "--from"]).arg(&from));
    assert!(!sandbox.path("data/tiny/.staging").exists());
}

#[test]
fn wrong_usage_exits_2_and_helps() {
    let sandbox = sandbox();
    let error = fail(sandbox.fetch().arg("tinny"), 2);
    assert!(
        error.contains("did you mean `tiny`?") && error.contains("known: tiny, web"),
        "{error}"
    );
    assert!(fail(sandbox.fetch().arg("--unverified"), 2).contains("--from"));
    fail(sandbox.fetch().args(["--list", "--verify"]), 2);
    fail(xtask("fetch-data").arg("--nonsense"), 2);
    let manifest = fail(xtask("fetch-data").args(["--list", "--manifest", "no/manifest.toml"]), 1);
    assert!(manifest.contains("no/manifest.toml"), "{manifest}");
}

#[test]
fn flags_have_environment_twins() {
    let sandbox = sandbox();
    let from = sandbox.local("copy", "a.bin", b"xyz");
    succeed(sandbox.fetch().arg("tiny").env("DHIH_FROM", from).env("DHIH_UNVERIFIED", "true"));
    assert_eq!(sandbox.provenance("tiny")["verified"], false);
}

#[test]
fn the_list_survives_a_reader_that_went_away() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = sandbox().fetch().arg("--list").stdout(writer).output().unwrap();
    assert!(
        output.status.success() && !stderr(&output).contains("panicked"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_repositorys_sets_are_listed() {
    let output = succeed(
        xtask("fetch-data").args(["--list", "--data-dir"]).arg(Path::new("no-such-directory")),
    );
    let listed = stdout(&output);
    assert!(
        listed.contains("fashion-mnist") && listed.contains("cifar10") && listed.contains("absent"),
        "{listed}"
    );
}
