//! `fetch-data` over the network, against a server in the test that behaves, or does not.

mod support;

use support::{
    ABC_SHA256, Answer, REVISION, Sandbox, Server, XYZ_SHA256, fail, stderr, stdout, succeed,
};

const SOURCES: [&str; 2] = ["tiny", "web"];

#[test]
fn the_right_bytes_arrive_verified_from_hub_and_address() {
    let server = Server::start(Answer::Body(b"abc"));
    let sandbox = Sandbox::new(&server.endpoint);
    let output = succeed(sandbox.fetch().arg("--json"));
    let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["datasets"].as_array().unwrap().len(), 2);
    assert_eq!(answer["datasets"][0]["state"], "verified");
    for (name, source) in
        [("tiny", "hub:owner/tiny".to_owned()), ("web", format!("{}/{REVISION}/", server.endpoint))]
    {
        assert_eq!(sandbox.data(&format!("{name}/sub/a.bin")).unwrap(), b"abc");
        let provenance = sandbox.provenance(name);
        assert_eq!(provenance["verified"], true);
        assert_eq!(provenance["source"], source);
        assert_eq!(provenance["revision"], REVISION);
        assert_eq!(provenance["files"][0]["sha256"], ABC_SHA256);
    }
    let gets = server.gets();
    succeed(&mut sandbox.fetch());
    assert_eq!(server.gets(), gets, "files that are there are not asked for again");
    succeed(sandbox.fetch().arg("--verify"));
}

#[test]
fn wrong_bytes_are_deleted_asked_for_once_more_and_refused() {
    for name in SOURCES {
        let server = Server::start(Answer::Body(b"xyz"));
        let sandbox = Sandbox::new(&server.endpoint);
        let error = fail(sandbox.fetch().arg(name), 1);
        for part in ["sub/a.bin", ABC_SHA256, XYZ_SHA256, "trying once more", "--from DIR"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(server.gets(), 2);
        assert!(sandbox.is_untouched(name));
    }
}

#[test]
fn a_second_answer_may_mend_the_first() {
    for name in SOURCES {
        let server = Server::start(Answer::WrongOnce);
        let sandbox = Sandbox::new(&server.endpoint);
        let output = succeed(sandbox.fetch().arg(name));
        assert!(stderr(&output).contains("trying once more"), "{}", stderr(&output));
        assert_eq!(sandbox.data(&format!("{name}/sub/a.bin")).unwrap(), b"abc");
    }
}

#[test]
fn an_error_page_never_becomes_the_file() {
    let page = Answer::Body(b"<!DOCTYPE html><html>login</html>");
    let cases =
        [(page, "a web page came"), (Answer::Status(404), "404"), (Answer::Status(500), "500")];
    for (answer, expected) in cases {
        for name in SOURCES {
            let server = Server::start(answer);
            let sandbox = Sandbox::new(&server.endpoint);
            let error = fail(sandbox.fetch().arg(name), 1);
            let not_found = expected == "404" && error.contains("not found");
            assert!(error.contains(expected) || not_found, "{expected}: {error}");
            assert!(error.contains("sub/a.bin") && error.contains("--from DIR"), "{error}");
            assert!(sandbox.is_untouched(name));
        }
    }
}

#[test]
fn a_truncated_body_is_refused() {
    for name in SOURCES {
        let server = Server::start(Answer::Truncated);
        let sandbox = Sandbox::new(&server.endpoint);
        let error = fail(sandbox.fetch().arg(name), 1);
        assert!(error.contains("broke off"), "{error}");
        assert!(sandbox.is_untouched(name));
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    for name in SOURCES {
        let server = Server::start(Answer::Stalled);
        let sandbox = Sandbox::new(&server.endpoint);
        let error = fail(sandbox.fetch().args([name, "--stall-seconds", "1"]), 1);
        assert!(error.contains("stalled: nothing came for 1 s"), "{error}");
        assert!(sandbox.is_untouched(name));
    }
}

#[test]
fn a_refused_connection_names_the_cure() {
    for name in SOURCES {
        let sandbox = Sandbox::new(&Server::refused());
        let error = fail(sandbox.fetch().arg(name), 1);
        assert!(error.contains("--from DIR"), "{error}");
        assert!(error.to_lowercase().contains("connect"), "{error}");
    }
}

#[test]
fn offline_mode_asks_nobody() {
    let server = Server::start(Answer::Body(b"abc"));
    let sandbox = Sandbox::new(&server.endpoint);
    let error = fail(sandbox.fetch().arg("tiny").env("HF_HUB_OFFLINE", "1"), 1);
    assert!(error.contains("HF_HUB_OFFLINE is set") && error.contains("--from DIR"), "{error}");
    assert_eq!(server.gets(), 0);
    succeed(sandbox.fetch().arg("tiny").env("HF_HUB_OFFLINE", "0"));
}

#[test]
fn one_failure_does_not_keep_the_other_sets_away() {
    let server = Server::start(Answer::Body(b"abc"));
    let sandbox = Sandbox::new(&server.endpoint);
    let error = fail(sandbox.fetch().env("HF_ENDPOINT", Server::refused()), 1);
    assert!(error.contains("error: tiny: sub/a.bin"), "{error}");
    assert_eq!(sandbox.data("web/sub/a.bin").unwrap(), b"abc");
}
