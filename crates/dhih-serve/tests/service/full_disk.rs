//! A disk that is full. The database of the catalogue refuses everything after one error of the disk until it is opened again, so that
//! adding was over until a restart, and what was wrong was told as a fault of the service.
//!
//! A small disk in memory is mounted, which takes root. Where it cannot be, this says so and tests nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::http::Method;
use dhih_serve::{Access, Keys, Limits, Run, app};

use crate::common::{ITEMS, SAMPLES, fields, form, get, png, send, state, with_method, write_run};

/// A mounted disk of 8 MiB; it goes away with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
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
    let Some(disk) = SmallDisk::mount() else {
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
            answer.refused(507, "disk_full", "space");
            full += 1;
            assert_eq!(send(&app, get("/v1/info")).await.ok()["write_error"], "disk_full");
            // Reading goes on.
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
