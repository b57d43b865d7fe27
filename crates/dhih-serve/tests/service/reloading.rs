//! Reloads. The bug: a failed reload lost the writer or pointed it to another index, so that later additions were refused or went into an
//! index that was not served. Until another run is served, everything continues with the present one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::Method;
use dhih_index::{Index, IndexBuilder};
use dhih_serve::{Access, Keys, Limits, Run, app};

use crate::common::{
    Answer, Fixture, ITEMS, fields, form, get, json, png, send, state, with_method,
};

async fn reload(app: &Router) -> Answer {
    send(app, with_method(Method::POST, "/v1/admin/reload")).await
}

async fn add(app: &Router, image: usize) -> Answer {
    send(app, fields("/v1/items", &[("image", &png(image))])).await
}

async fn items(app: &Router) -> u64 {
    send(app, get("/v1/info")).await.ok()["items"].as_u64().unwrap()
}

/// The number of repetitions: `usual`, unless an environment variable overrides it.
pub fn times(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().unwrap())
}

/// `DHIH_TEST_RELOADS=1000` runs the long version.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_that_fail_lose_no_addition_and_refuse_none() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let (done, added) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let adders = (0..2).map(|adder| {
        let (app, done, added) = (app.clone(), done.clone(), added.clone());
        tokio::spawn(async move {
            let mut ids = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let answer = add(&app, adder).await;
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
                ids.push(answer.json()["id"].as_u64().unwrap());
                added.fetch_add(1, Ordering::Relaxed);
            }
            ids
        })
    });
    let adders: Vec<_> = adders.collect();
    let config = fixture.file("config.toml");
    let whole = std::fs::read(&config).unwrap();
    std::fs::write(&config, "{ nothing").unwrap();
    for round in 0..times("DHIH_TEST_RELOADS", 10) {
        reload(&app).await.refused(409, "not_reloaded", "log");
        let info = send(&app, get("/v1/info")).await.ok();
        let last = &info["last_reload"];
        assert_eq!((&last["ok"], &last["reason"]), (&false.into(), &"unusable".into()), "{round}");
        assert_eq!((&info["writable"], &info["reloading"]), (&true.into(), &false.into()));
    }
    while added.load(Ordering::Relaxed) < 4 {
        tokio::task::yield_now().await;
    }
    std::fs::write(&config, whole).unwrap();
    assert_eq!(reload(&app).await.ok()["last_reload"]["ok"], true);
    done.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for adder in adders {
        ids.extend(adder.await.unwrap());
    }
    assert_eq!(items(&app).await as usize, ITEMS + ids.len());
    // A restart loses none of it.
    drop(app);
    let app = fixture.writable_app();
    for id in &ids {
        send(&app, get(&format!("/v1/items/{id}"))).await.ok();
    }
    assert_eq!(items(&app).await as usize, ITEMS + ids.len());
}

#[cfg(unix)]
fn point(link: &Path, to: &Path) {
    let next = link.with_extension("next");
    std::os::unix::fs::symlink(to, &next).unwrap();
    std::fs::rename(&next, link).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_was_moved_to_another_index_leaves_both_alone() {
    let fixture = Fixture::new();
    let indexes = ["v1", "v2"].map(|name| fixture.file(name));
    for index in &indexes {
        IndexBuilder::default().build(&fixture.codes(), index).unwrap();
    }
    let link = fixture.file("current");
    point(&link, &indexes[0]);
    let run = Run::load(fixture.run(), &link, Access::Writable).unwrap();
    let app = app(state(run, Limits::default(), Keys::default()));
    assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/7")).await.status, 204);
    assert_eq!(add(&app, 3).await.json()["id"], 60);
    point(&link, &indexes[1]);
    // Until the reload, the first index is served and changed.
    assert_eq!(add(&app, 4).await.json()["id"], 61);
    assert_eq!(reload(&app).await.ok()["items"], ITEMS);
    send(&app, get("/v1/items/7")).await.ok();
    send(&app, get("/v1/items/60")).await.refused(404, "not_found", "");
    assert_eq!(add(&app, 5).await.status, 201);
    drop(app);
    let held = indexes.map(|index| Index::open(index).unwrap().ids());
    assert_eq!(held[0], (0..62).filter(|id| *id != 7).collect::<Vec<u64>>());
    assert_eq!(held[1], (0..61).collect::<Vec<u64>>());
}

#[cfg(unix)]
#[tokio::test]
async fn a_run_without_an_index_is_not_served_and_adding_goes_on() {
    let (fixture, next) = (Fixture::new(), Fixture::with(1, None));
    std::fs::remove_dir_all(next.file("index")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let latest = dir.path().join("latest");
    point(&latest, fixture.run());
    let run = Run::load(&latest, &latest.join("index"), Access::Writable).unwrap();
    let app = app(state(run, Limits::default(), Keys::default()));
    point(&latest, next.run());
    reload(&app).await.refused(409, "not_reloaded", "");
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!(info["last_reload"]["reason"], "missing");
    assert_eq!(add(&app, 2).await.status, 201);
    assert_eq!(items(&app).await as usize, ITEMS + 1);
    assert!(!next.file("index").exists());
}

#[tokio::test]
async fn a_reload_of_what_has_not_changed_opens_nothing() {
    let fixture = Fixture::new();
    let state = state(fixture.writable(), Limits::default(), Keys::default());
    let app = app(state.clone());
    let before = state.run();
    assert_eq!(add(&app, 1).await.status, 201);
    assert_eq!(reload(&app).await.ok()["items"], ITEMS + 1);
    assert!(Arc::ptr_eq(&before, &state.run()));
    // A file that was rewritten is read again, and the items stay.
    std::fs::write(fixture.file("evaluation.json"), "{\"map\": 0.5}").unwrap();
    let info = reload(&app).await.ok();
    assert_eq!((&info["map"], &info["items"]), (&0.5.into(), &(ITEMS + 1).into()));
    assert!(!Arc::ptr_eq(&before, &state.run()));
    // A request that still uses the old run changes the same items.
    drop(before);
    assert_eq!(add(&app, 2).await.json()["id"], 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reload_is_refused_while_one_is_under_way() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let mut refused = 0;
    for round in 0..200 {
        let evaluation = format!("{{\"map\": 0.{round}1}}");
        std::fs::write(fixture.file("evaluation.json"), evaluation).unwrap();
        let both = [(); 4].map(|()| {
            let app = app.clone();
            tokio::spawn(async move { reload(&app).await })
        });
        let mut done = 0;
        for one in both {
            let answer = one.await.unwrap();
            if answer.status == 200 {
                done += 1;
            } else {
                answer.refused(409, "reloading", "last_reload");
                refused += 1;
            }
        }
        assert!(done > 0, "one of them is the first");
        if refused > 0 {
            return;
        }
    }
    panic!("four reloads at once were never under way together");
}

/// Replaces the files of an open index by those of another one.
fn replace(index: &Path, with: &Path) {
    let files = |dir: &Path| -> Vec<_> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "lock" && name != "catalogue.redb").collect()
    };
    files(index).iter().for_each(|name| std::fs::remove_file(index.join(name)).unwrap());
    for name in files(with) {
        std::fs::copy(with.join(&name), index.join(&name)).unwrap();
    }
}

#[tokio::test]
async fn an_index_that_was_replaced_under_the_service_takes_no_change_until_it_is_reloaded() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    assert_eq!(add(&app, 3 * ITEMS).await.json()["id"], 60);
    let codes = fixture.codes();
    let fewer = codes.codes.select(&(0..40).collect::<Vec<_>>());
    let set = dhih_index::CodeSet {
        codes: fewer,
        labels: Some(dhih_index::Labels::Single(vec![0; 40])),
        ..codes
    };
    IndexBuilder::default().build(&set, &fixture.file("other")).unwrap();
    replace(&fixture.file("index"), &fixture.file("other"));

    let refused = add(&app, 2).await;
    refused.refused(503, "not_writable", "nothing was changed");
    assert!(!refused.header("retry-after").is_empty());
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!((&info["writable"], &info["write_error"]), (&false.into(), &"replaced".into()));
    assert_eq!(send(&app, get("/readyz")).await.ok()["writable"], false);
    // The index that is still open can be searched.
    assert_eq!(send(&app, form("image", &png(1))).await.status, 200);
    assert_eq!(items(&app).await as usize, ITEMS + 1);

    assert_eq!(reload(&app).await.ok()["items"], 41, "what was added is in the new index, too");
    assert_eq!(send(&app, get("/readyz")).await.ok()["writable"], true);
    assert_eq!(add(&app, 2).await.json()["id"], 61);
    let found = send(&app, json("/v1/search?k=1", "{\"id\":61}")).await.ok();
    assert_eq!(found["hits"][0]["distance"], 0);
}
