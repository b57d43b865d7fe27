//! A disk that accepts writes but fails to sync them. It is unknown whether such a change is on disk. The writer of the index therefore
//! refuses everything afterwards, as does the database of the catalogue, until they are reopened.
//!
//! A small library makes the calls fail. It is compiled here and preloaded. Without a C compiler, the test prints a message and tests
//! nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::acknowledged::{Known, add, ask, holds, start};
use crate::common::{Fixture, program};

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/data/failing_sync.c");

/// The compiled library, and the file that names what fails. `None` without a C compiler.
pub fn library(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let (library, control) = (dir.join("failing_sync.so"), dir.join("fails"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(LIBRARY);
    compiler.status().is_ok_and(|status| status.success()).then_some((library, control))
}

#[test]
fn changes_go_on_once_the_disk_syncs_again_and_none_that_was_answered_is_lost() {
    let fixture = Fixture::new();
    let dir = tempfile::tempdir().unwrap();
    let Some((library, control)) = library(dir.path()) else {
        eprintln!("not tested: there is no C compiler");
        return;
    };
    let mut command = program();
    command.arg("--run").arg(fixture.run()).args(["--log-level", "off"]);
    command.env("LD_PRELOAD", &library).env("DHIH_FAIL_SYNC", &control);
    let (mut child, address) = start(&mut command);
    let mut known = BTreeMap::new();
    let mut unknown = 0;
    for (first, failing) in [(1000, "/index/log-"), (2000, "catalogue.redb"), (3000, "/")] {
        let there = add(&address, first).unwrap();
        assert_eq!(there.0, 201, "{failing}: {}", there.1);
        known.insert(first, Known::There);
        std::fs::write(&control, failing).unwrap();
        for id in first + 1..first + 4 {
            let (status, text) = add(&address, id).unwrap();
            assert!([500, 503].contains(&status), "{failing}: {status} {text}");
            let is_unknown = text.contains("outcome_unknown");
            unknown += usize::from(is_unknown);
            known.insert(id, if is_unknown { Known::Either } else { Known::Gone });
        }
        let info = ask(&address, "GET /v1/info HTTP/1.1", b"").unwrap();
        assert!(info.1.contains("\"write_error\":\""), "{failing}: {}", info.1);
        let search = "POST /v1/search HTTP/1.1\r\ncontent-type: application/json";
        assert_eq!(ask(&address, search, b"{\"sample\":1}").unwrap().0, 200);
        std::fs::remove_file(&control).unwrap();
        let started = Instant::now();
        while add(&address, first + 10).unwrap().0 != 201 {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{failing}: adding does not go on"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        known.insert(first + 10, Known::There);
    }
    assert!(unknown > 0, "no outcome was unknown");
    child.kill().unwrap();
    child.wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(holds(&fixture.writable_app(), &known));
}
