//! Images of clients that have gone. The bug: their places were released although the images were not dropped. They were encoded for
//! nobody, ahead of later images, and the queue was unbounded.

use std::{future::Future, sync::Arc, time::Duration};

use crate::common::{Fixture, form, png, send};
use axum::Router;
use dhih_serve::{AppState, Keys, Limits, QueueConfig, app};
use tokio::task::JoinHandle;

/// A time longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(600);

/// A service whose images wait for a full batch for longer than any test.
fn waiting(limits: Limits) -> (Arc<AppState>, Router) {
    let queue = QueueConfig { capacity: 7, max_batch: 4, max_wait: LONG, ..QueueConfig::default() };
    let run = Fixture::new().load().unwrap();
    let state = Arc::new(AppState::new(run, limits, Keys::default(), queue).unwrap());
    (state.clone(), app(state))
}

fn search(app: &Router, image: usize) -> JoinHandle<u16> {
    let app = app.clone();
    tokio::spawn(async move { send(&app, form("image", &png(image))).await.status.as_u16() })
}

async fn until(what: &str, state: &AppState, images: usize) {
    let reached = async {
        while state.images_under_way() != images {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(what, reached).await;
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect(what)
}

/// Each waiting image holds the run that it is for. After the images are dropped, only the service holds it.
#[tokio::test(flavor = "multi_thread")]
async fn images_leave_the_queue_with_their_client() {
    let (state, app) = waiting(Limits::default());
    let run = state.run();
    let idle = Arc::strong_count(&run);
    let requests: Vec<_> = (0..3).map(|image| search(&app, image)).collect();
    until("three images wait", &state, 3).await;
    assert!(Arc::strong_count(&run) > idle);
    requests.iter().for_each(JoinHandle::abort);
    until("their places are free", &state, 0).await;
    let dropped = async {
        while Arc::strong_count(&run) > idle {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time("they are dropped", dropped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_leave_the_queue_when_their_time_is_up() {
    let request_timeout = Duration::from_millis(700);
    let (state, app) = waiting(Limits { request_timeout, ..Limits::default() });
    let late = search(&app, 0);
    assert_eq!(in_time("a request that takes too long", late).await.unwrap(), 408);
    until("its image is dropped", &state, 0).await;
}

/// Places count images, not requests: a batch needs one for each of its images.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_more_images_than_are_ever_taken_is_told_so() {
    let (state, app) = waiting(Limits::default());
    let batch = |count: usize| {
        let images: Vec<_> = (0..count).map(png).collect();
        let images: Vec<_> = images.iter().map(|image| ("image", &image[..])).collect();
        crate::common::fields("/v1/search/batch", &images)
    };
    let eight = in_time("a refusal", send(&app, batch(8))).await;
    eight.refused(400, "too_many_images", "at most 7 images");
    let one = search(&app, 0);
    until("one image waits", &state, 1).await;
    let seven = in_time("a refusal", send(&app, batch(7))).await;
    seven.refused(503, "busy", "again");
    one.abort();
    until("its place is free", &state, 0).await;
}
