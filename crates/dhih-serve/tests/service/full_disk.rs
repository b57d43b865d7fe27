//! A full disk. The bug: after one error of the disk, the database of the catalogue refuses everything until it is reopened. Adding failed
//! until a restart, and the error was reported as an internal failure.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Method;
use dhih_serve::{Access, Keys, Limits, Run, app};

use crate::acknowledged::{Known, add, ask, goes_on, holds, start};
use crate::common::{
    ITEMS, SAMPLES, fields, form, get, png, program, send, state, with_method, write_run,
};
use crate::reloading::times;

/// How often the disk fills up; `DHIH_TEST_FULL_DISKS` overrides it.
const FULL_DISKS: usize = 40;

/// A mounted disk of a few MiB. It is unmounted after the test.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let size = format!("size={mebibytes}m");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the disk except for `left` bytes.
    fn fill_but(&self, left: usize) -> PathBuf {
        let kept = self.path().join("kept");
        std::fs::write(&kept, vec![0; left]).unwrap_or_default();
        let fill = self.fill();
        std::fs::remove_file(kept).unwrap();
        fill
    }

    /// Fills the disk.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("fill");
        let mut file = std::fs::File::create(&path).unwrap();
        for bytes in [1 << 16, 1] {
            while file.write_all(&vec![0; bytes]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn adding_goes_on_once_there_is_space_again() {
    let Some(disk) = SmallDisk::mount(8) else {
        eprintln!("not tested: a disk in memory cannot be mounted here");
        return;
    };
    write_run(disk.path(), 0, None, ITEMS, SAMPLES);
    let open = || {
        let run = Run::load(disk.path(), &disk.path().join("index"), Access::Writable).unwrap();
        app(state(run, Limits::default(), Keys::default()))
    };
    let app = open();
    let add = async |image: usize| send(&app, fields("/v1/items", &[("image", &png(image))])).await;
    let mut known = vec![add(1).await.json()["id"].as_u64().unwrap()];
    for round in 0..3 {
        let fill = disk.fill();
        let mut full = 0;
        for image in 0..40 {
            let answer = add(image).await;
            if answer.status == 201 {
                known.push(answer.json()["id"].as_u64().unwrap());
                continue;
            }
            // A change with unknown outcome is undone.
            let is_unknown = answer.json()["error"]["code"] == "outcome_unknown";
            answer.refused(507, if is_unknown { "outcome_unknown" } else { "disk_full" }, "space");
            full += 1;
            assert_eq!(send(&app, get("/v1/info")).await.ok()["write_error"], "disk_full");
            // Reading is still possible.
            assert_eq!(send(&app, form("image", &png(1))).await.status, 200);
            send(&app, get(&format!("/v1/items/{}", known[0]))).await.ok();
        }
        assert!(full > 0, "round {round}: the disk was never full");
        std::fs::remove_file(fill).unwrap();
        let again = add(2).await;
        assert_eq!(again.status, 201, "{}", String::from_utf8_lossy(&again.body));
        known.push(again.json()["id"].as_u64().unwrap());
        let info = send(&app, get("/v1/info")).await.ok();
        assert_eq!(
            (&info["write_error"], &info["writable"]),
            (&serde_json::Value::Null, &true.into())
        );
    }
    let gone = known.remove(0);
    assert_eq!(
        send(&app, with_method(Method::DELETE, &format!("/v1/items/{gone}"))).await.status,
        204
    );
    let items = send(&app, get("/v1/info")).await.ok()["items"].clone();
    assert_eq!(items, ITEMS + known.len(), "what was refused is not there");
    drop(app);
    let app = open();
    assert_eq!(send(&app, get("/v1/info")).await.ok()["items"], items, "nor is it after a restart");
    for id in known {
        send(&app, get(&format!("/v1/items/{id}"))).await.ok();
        assert_eq!(send(&app, get(&format!("/v1/items/{id}/image"))).await.status, 200);
    }
}

/// The disk fills up at any step of a change, while other clients add, delete and search.
#[test]
fn a_disk_that_fills_up_at_random_moments_loses_nothing() {
    let Some(disk) = SmallDisk::mount(48) else {
        eprintln!("not tested: a disk in memory cannot be mounted here");
        return;
    };
    write_run(disk.path(), 0, None, ITEMS, SAMPLES);
    let mut command = program();
    command.arg("--run").arg(disk.path()).args(["--log-level", "off"]);
    let (mut child, address) = start(&mut command);
    let (ended, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Each client adds its own items and deletes some of them.
    let client = |first: u64| {
        let mut known = BTreeMap::new();
        for id in (first..first + 400).cycle() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            let is_there = known.get(&id) == Some(&Known::There);
            let (answer, wanted) = match is_there {
                true => {
                    (ask(&address, &format!("DELETE /v1/items/{id} HTTP/1.1"), b""), Known::Gone)
                }
                false => (add(&address, id), Known::There),
            };
            let (status, text) = answer.expect("the service is gone");
            match status {
                201 | 204 => drop(known.insert(id, wanted)),
                404 | 409 if known.get(&id) == Some(&Known::Either) => {}
                _ if text.contains("outcome_unknown") => drop(known.insert(id, Known::Either)),
                503 | 507 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                _ => panic!("item {id}: {status} {text}"),
            }
        }
        known
    };
    let rounds = times("DHIH_TEST_FULL_DISKS", FULL_DISKS);
    let mut random = 1_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % end
    };
    let mut known = BTreeMap::new();
    std::thread::scope(|scope| {
        let clients = [1000, 2000, 3000].map(|first| scope.spawn(move || client(first)));
        for _ in 0..rounds {
            let fill = disk.fill_but(below(1 << 16) as usize);
            std::thread::sleep(Duration::from_millis(below(60)));
            std::fs::remove_file(fill).unwrap();
            // Long enough for some changes, and sometimes for files to be reopened.
            std::thread::sleep(Duration::from_millis(below(40) + 1000 * u64::from(below(20) == 0)));
        }
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| known.extend(client.join().unwrap()));
    });
    // Many changes fit into space that the files have already allocated, so not every full disk makes one fail.
    let refused = refused.into_inner();
    println!("{refused} changes met a full disk");
    assert!(refused > rounds / 20, "the disk was hardly ever full");
    assert!(known.values().filter(|known| **known == Known::There).count() > 3);
    goes_on(|| add(&address, 5000).expect("the service is gone"));
    known.insert(5000, Known::There);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = Run::load(disk.path(), &disk.path().join("index"), Access::Writable).unwrap();
    let app = app(state(run, Limits::default(), Keys::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(holds(&app, &known));
}
