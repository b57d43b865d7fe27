//! Load beyond the limits is refused at once and affects nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::common::{Fixture, form, get, json, png, send};
use crate::metadata::put;
use dhih_serve::{Access, AppState, Keys, Limits, QueueConfig, Run, app};

#[tokio::test(flavor = "multi_thread")]
async fn images_beyond_the_queue_are_refused_and_the_others_answered() {
    let fixture = Fixture::new();
    let wait = Duration::from_millis(200);
    let queue =
        QueueConfig { capacity: 4, max_batch: 64, max_wait: wait, ..QueueConfig::default() };
    let run = fixture.load().unwrap();
    let state = AppState::new(run, Limits::default(), Keys::default(), queue).unwrap();
    let app = app(Arc::new(state));
    let requests = (0..12).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { send(&app, form("image", &png(7))).await })
    });
    let requests: Vec<_> = requests.collect();
    let (mut found, mut refused) = (0, 0);
    for request in requests {
        let answer = request.await.unwrap();
        if answer.status == 200 {
            found += 1;
        } else {
            answer.refused(503, "busy", "again");
            assert!(["1", "2"].contains(&answer.header("retry-after")));
            refused += 1;
        }
    }
    assert!(found >= 4 && found + refused == 12 && refused > 0, "{found} found, {refused} refused");
    // The places are free again.
    assert_eq!(send(&app, form("image", &png(7))).await.status, 200);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_and_health_is_not() {
    let limits = Limits { max_in_flight: 0, ..Limits::default() };
    let app = Fixture::new().app_with(limits);
    for request in [get("/v1/info"), json("/v1/search", "{\"id\":1}"), get("/")] {
        let answer = send(&app, request).await;
        answer.refused(503, "busy", "again");
        assert!(["1", "2"].contains(&answer.header("retry-after")));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(&app, get(path)).await.status, 200);
    }
}

/// The bug: a change that was made was answered by 503 "busy", because the answer waited for a thread that searches.
#[tokio::test]
async fn a_change_that_was_made_is_answered_however_busy_searches_are() {
    let fixture = Fixture::new();
    let limits = Limits { workers: 0, queue_timeout: Duration::ZERO, ..Limits::default() };
    let app = app(crate::common::state(fixture.writable(), limits, Keys::default()));
    let code = fixture.codes().codes.to_hex(3);
    let item = serde_json::json!({ "code": code, "id": 1000 });
    let added = send(&app, json("/v1/items", &item.to_string())).await;
    assert_eq!((added.status.as_u16(), &added.json()["code"]), (201, &code.into()));
    let metadata = serde_json::json!({ "camera": "north" });
    let kept = send(&app, put("/v1/items/1000/metadata", &metadata)).await.ok();
    assert_eq!((&kept["id"], &kept["metadata"]), (&1000.into(), &metadata));
    let filtered = json("/v1/search?label=ring", "{\"id\":1000}");
    send(&app, filtered).await.refused(503, "busy", "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_many_requests_share_batches_and_get_their_own_codes() {
    let fixture = Fixture::new();
    // The time limit of the queue is raised, so that no image is refused on a slow machine.
    let queue = QueueConfig { max_queued: Duration::from_secs(60), ..QueueConfig::default() };
    let state = AppState::new(fixture.load().unwrap(), Limits::default(), Keys::default(), queue);
    let app = app(Arc::new(state.unwrap()));
    let codes = fixture.codes();
    let requests = (0..24).map(|i| {
        let app = app.clone();
        tokio::spawn(async move { (i, send(&app, form("image", &png(i))).await.ok()) })
    });
    for request in requests.collect::<Vec<_>>() {
        let (i, answer) = request.await.unwrap();
        assert_eq!(answer["code"], codes.codes.to_hex(i));
    }
}

/// Two runs alternate behind one link while images are encoded. Each answer comes completely from one of them.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_meanwhile_mixes_no_models() {
    let runs = [Fixture::new(), Fixture::with(1, None)];
    let codes = [runs[0].codes(), runs[1].codes()];
    assert_ne!(codes[0].codes.to_hex(0), codes[1].codes.to_hex(0));
    let dir = tempfile::tempdir().unwrap();
    let (latest, next) = (dir.path().join("latest"), dir.path().join("next"));
    let point = |run: usize| {
        std::os::unix::fs::symlink(runs[run].run(), &next).unwrap();
        std::fs::rename(&next, &latest).unwrap();
    };
    point(0);
    let run = Run::load(&latest, &latest.join("index"), Access::ReadOnly).unwrap();
    let state = crate::common::state(run, Limits::default(), Keys::default());
    let (app, done) = (app(state.clone()), Arc::new(AtomicBool::new(false)));
    let askers = (0..4).map(|asker| {
        let (app, done) = (app.clone(), done.clone());
        tokio::spawn(async move {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let image = (7 * answers.len() + asker) % crate::common::ITEMS;
                answers.push((image, send(&app, form("image", &png(image))).await.ok()));
            }
            answers
        })
    });
    let askers: Vec<_> = askers.collect();
    for turn in 1..=40 {
        point(turn % 2);
        let state = state.clone();
        let reloaded = tokio::task::spawn_blocking(move || state.reload().map(drop));
        reloaded.await.unwrap().unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let mut of = [0; 2];
    for asker in askers {
        for (image, answer) in asker.await.unwrap() {
            let is = |run: &usize| answer["code"] == codes[*run].codes.to_hex(image);
            let run = (0..2).find(is).unwrap();
            of[run] += 1;
            // The image is in both databases. If code and index are of the same model, its own code is found.
            assert_eq!(answer["hits"][0]["distance"], 0, "{image}");
        }
    }
    assert!(of.iter().all(|answers| *answers > 4), "{of:?}");
}
