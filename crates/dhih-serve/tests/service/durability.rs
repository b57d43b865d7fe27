//! The service is killed at random moments while items are added and deleted: acknowledged items are there, deleted items stay deleted, and
//! index and catalogue agree. The import of a folder is interrupted and repeated.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::acknowledged::{Known, add, ask, holds, start};
use crate::common::{Fixture, fields, get, png, program, send};
use crate::reloading::times;

/// The number of kills; `DHIH_TEST_KILLS` overrides it.
const KILLS: usize = 100;

#[test]
fn a_hundred_kills_lose_nothing_that_was_answered() {
    let fixture = Fixture::new();
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut random = 1_u64;
    let mut next = || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let (mut first, mut answered) = (1000, 0);
    let kills = times("DHIH_TEST_KILLS", KILLS);
    for round in 0..kills {
        let mut command = program();
        command.arg("--run").arg(fixture.run()).args(["--log-level", "error"]);
        let (mut child, address) = start(&mut command);
        let done = AtomicUsize::new(0);
        let until = 1 + next() % 5;
        let pause = Duration::from_micros(next() as u64 % 3000);
        // Delete an item of an earlier round while new ones are added.
        let old = known.iter().find(|(_, known)| **known == Known::There).map(|(id, _)| *id);
        let old = old.filter(|_| round % 2 == 1);
        let outcomes = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let mut outcomes = Vec::new();
                if let Some(id) = old {
                    let head = format!("DELETE /v1/items/{id} HTTP/1.1");
                    let status = ask(&address, &head, b"").map(|(status, _)| status);
                    outcomes.push((id, status, Known::Gone));
                    done.fetch_add(1, Ordering::SeqCst);
                }
                for id in first..first + 5 {
                    let status = add(&address, id).map(|(status, _)| status);
                    outcomes.push((id, status, Known::There));
                    done.fetch_add(1, Ordering::SeqCst);
                    if status.is_none() {
                        break;
                    }
                }
                outcomes
            });
            while done.load(Ordering::SeqCst) < until && !work.is_finished() {
                std::thread::yield_now();
            }
            // Kill in the middle of the next addition.
            std::thread::sleep(pause);
            child.kill().unwrap();
            work.join().unwrap()
        });
        child.wait().unwrap();
        for (id, status, wanted) in outcomes {
            match status {
                Some(201 | 204) => {
                    answered += 1;
                    known.insert(id, wanted);
                }
                Some(other) => panic!("item {id}: {other}"),
                None => drop(known.insert(id, Known::Either)),
            }
        }
        first += 5;
    }
    assert!(answered > kills, "{answered} answered");
    assert!(known.values().any(|known| *known == Known::Either), "no kill met a request");

    let app = fixture.writable_app();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(holds(&app, &known));
}

/// The last record of the log is truncated, as by a loss of power. This is no damage, and rebuilding the index would lose the items of the
/// catalogue.
#[tokio::test]
async fn a_write_that_was_interrupted_keeps_nothing_down() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    for image in 100..103 {
        assert_eq!(send(&app, fields("/v1/items", &[("image", &png(image))])).await.status, 201);
    }
    drop(app);
    let logs = std::fs::read_dir(fixture.file("index")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs =
        logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"));
    let log = logs.next().unwrap();
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, &whole[..whole.len() - 7]).unwrap();
    // A read-only service serves everything acknowledged before, and does not change the file.
    assert_eq!(send(&fixture.app(), get("/v1/info")).await.ok()["items"], 62);
    assert_eq!(std::fs::read(&log).unwrap().len(), whole.len() - 7);
    let app = fixture.writable_app();
    for (id, image) in (60..63).zip(100..) {
        send(&app, get(&format!("/v1/items/{id}"))).await.ok();
        let kept = send(&app, get(&format!("/v1/items/{id}/image"))).await;
        let kept = image::load_from_memory(&kept.body).unwrap().into_rgb8().into_raw();
        assert_eq!(kept, crate::common::picture(image));
    }
}

#[test]
fn an_import_goes_on_where_it_was_and_tells_what_it_left_out() {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    for i in 0..7 {
        write(&format!("ring/deep/{i}.png"), &png(100 + i));
    }
    write("top.PNG", &png(200));
    write("moon/a.png", &png(201));
    write("moon/broken.jpg", b"\xff\xd8\xff nothing");
    write("moon/text.png", b"text");
    write("moon/notes.txt", b"not looked at");
    let import = |input: &Path| {
        let mut command = program();
        command.arg("import").arg("--run").arg(fixture.run()).arg("--input").arg(input);
        command.arg("--json").output().unwrap()
    };
    let first = import(folder.path());
    let imported: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!((&imported["added"], &imported["known"]), (&9.into(), &0.into()));
    let skipped = imported["skipped"].as_array().unwrap().iter();
    let skipped: Vec<_> = skipped.map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["moon/broken.jpg", "moon/text.png"]);

    write("ring/late.png", &png(202));
    let again: serde_json::Value = serde_json::from_slice(&import(folder.path()).stdout).unwrap();
    assert_eq!((&again["added"], &again["known"]), (&1.into(), &9.into()));

    let app = fixture.writable_app();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let of = async |id: u64| send(&app, get(&format!("/v1/items/{id}"))).await.ok();
        let items = [60, 61, 62, 68, 69].map(of);
        let mut sources = Vec::new();
        for item in items {
            let item = item.await;
            sources.push((item["source"].as_str().unwrap().to_owned(), item["label"].clone()));
        }
        let expected = [
            ("moon/a.png", serde_json::Value::Null),
            ("ring/deep/0.png", "ring".into()),
            ("ring/deep/1.png", "ring".into()),
            ("top.PNG", serde_json::Value::Null),
            ("ring/late.png", "ring".into()),
        ];
        assert_eq!(sources, expected.map(|(source, label)| (source.to_owned(), label)));
    });
    drop(app);

    let missing = import(Path::new("/no/such/folder"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/folder"));
    // A running service prevents the import, whose message says what to do.
    let (mut child, _) = start(program().arg("--run").arg(fixture.run()));
    let locked = import(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(locked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&locked.stderr).contains("in use by another process"));
}
