//! The service over a store, by its routes and as a program: the same answers as over an index, and errors for what a store cannot do.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Output, Stdio},
    time::Duration,
};

use axum::Router;
use dhih_serve::{Keys, Limits, Run, Source, StoreWatch, app, postgres::StoreConfig};
use serde_json::Value;

use super::{
    codes::{Kind, items},
    common::{
        BITS, CLASSES, Fixture, ITEMS, fields, form, get, json, png, program, send, state,
        with_method,
    },
    servers::{PASSWORD, Servers, Size},
};

fn over_store(fixture: &Fixture, store: StoreConfig) -> Run {
    Run::load_from(fixture.run(), &Source::Postgres(store)).unwrap()
}

fn router(run: Run) -> Router {
    app(state(run, Limits::default(), Keys::default()))
}

/// The part of an answer that must be the same for index and store.
fn part(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("took_ms");
    answer.as_object_mut().unwrap().remove("exhaustive");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_the_index() {
    let servers = Servers::of(Size::shards(2));
    let ids = (0..ITEMS as u64).map(|row| 1000 - 3 * row).collect::<Vec<_>>();
    let fixture = Fixture::with(1, Some(ids.clone()));
    servers.load(&fixture.codes());
    let (local, store) = (fixture.app(), router(over_store(&fixture, servers.store())));
    let hex = fixture.codes().codes.to_hex(3);
    for query in
        ["", "?k=7", "?k=60&codes=true", "?k=50&radius=9", "?radius=0", "?k=1000&radius=44"]
    {
        let path = format!("/v1/search{query}");
        for body in [
            r#"{"sample":3}"#.to_owned(),
            format!(r#"{{"id":{}}}"#, ids[9]),
            format!(r#"{{"code":"{hex}"}}"#),
        ] {
            let expected = part(send(&local, json(&path, &body)).await.ok());
            let found = part(send(&store, json(&path, &body)).await.ok());
            assert_eq!(found, expected, "{path} {body}");
        }
    }
    for rerank in ["", "?rerank=true&k=9"] {
        let mut answers = Vec::new();
        for app in [&local, &store] {
            let mut request = form("image", &png(2));
            *request.uri_mut() = format!("/v1/search{rerank}").parse().unwrap();
            answers.push(part(send(app, request).await.ok()));
        }
        assert_eq!(answers[0], answers[1]);
    }
    let batch = format!(r#"{{"queries":[{{"id":{}}},{{"sample":0}},{{"id":7}}]}}"#, ids[0]);
    let batch = send(&store, json("/v1/search/batch", &batch)).await.ok();
    assert_eq!(batch["answers"][0]["hits"][0]["id"], ids[0]);
    assert_eq!(batch["answers"][2]["error"]["code"], "not_found");
    // Items, their labels and thumbnails are those of the run.
    let path = format!("/v1/items/{}", ids[4]);
    let expected = send(&local, get(&path)).await.ok();
    let found = send(&store, get(&path)).await.ok();
    assert_eq!(found, expected);
    let image = format!("{path}/image");
    let expected = send(&local, get(&image)).await.body;
    let found = send(&store, get(&image)).await.body;
    assert_eq!(found, expected);
    send(&store, get("/v1/items/7")).await.refused(404, "not_found", "no item 7");
    send(&store, get("/v1/items/7/image")).await.refused(404, "not_found", "no item 7");

    let info = send(&store, get("/v1/info")).await.ok();
    assert_eq!((&info["items"], &info["bits"]), (&ITEMS.into(), &BITS.into()));
    assert_eq!((&info["index"], &info["store"]["kind"]), (&Value::Null, &"postgresql".into()));
    assert_eq!((&info["store"]["shards"], &info["store"]["generation"]), (&2.into(), &1.into()));
    assert_eq!((&info["writable"], &info["labels"]), (&false.into(), &"single".into()));
    let add = fields("/v1/items", &[("image", &png(1)[..])]);
    send(&store, add).await.refused(403, "read_only", "dhih-serve load");
    let delete = with_method(axum::http::Method::DELETE, &path);
    send(&store, delete).await.refused(403, "read_only", "dhih-serve load");
    let timed = send(&store, json("/v1/search?budget_us=500", r#"{"sample":3}"#)).await;
    timed.refused(400, "invalid_parameter", "leave `budget_us` out");
    let explained = send(&store, json("/v1/search?explain=true", r#"{"sample":3}"#)).await;
    explained.refused(400, "invalid_parameter", "leave `explain` out");
    assert_eq!(send(&store, get("/readyz")).await.ok()["items"], ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_items_have_no_labels_and_a_new_generation_comes_by_reload() {
    let mut servers = Servers::of(Size::shards(1));
    let fixture = Fixture::new();
    let model = fixture.codes().model_sha256;
    let mut others = items(BITS as u32, 200, Kind::Random, 1);
    others.model_sha256.clone_from(&model);
    servers.load(&others);
    let run = over_store(&fixture, StoreConfig { max_radius: Some(3), ..servers.store() });
    let app = router(run);
    let answer = send(&app, json("/v1/search?k=40", r#"{"sample":3}"#)).await.ok();
    assert_eq!(answer["capped_radius"], 3);
    let id = others.ids.as_ref().unwrap()[0];
    let found = send(&app, json("/v1/search?k=1", &format!(r#"{{"id":{id}}}"#))).await.ok();
    assert_eq!((&found["hits"][0]["label"], &found["capped_radius"]), (&Value::Null, &Value::Null));
    let image = send(&app, get(found["hits"][0]["image_url"].as_str().unwrap())).await;
    assert_eq!(image.header("content-type"), "image/svg+xml");
    assert_eq!(send(&app, get("/v1/info")).await.ok()["thumbnails"], false);
    let label = format!("/v1/search?label={}", CLASSES[0]);
    let label = send(&app, json(&label, r#"{"sample":3}"#)).await;
    label.refused(400, "invalid_parameter", "without labels");

    servers.load(&fixture.codes());
    assert_eq!(send(&app, get("/v1/info")).await.ok()["store"]["generation"], 1);
    let reloaded = send(&app, with_method(axum::http::Method::POST, "/v1/admin/reload")).await.ok();
    assert_eq!((&reloaded["store"]["generation"], &reloaded["items"]), (&2.into(), &ITEMS.into()));
    assert!(send(&app, get("/v1/items/0")).await.ok()["label"].is_string());

    servers.primaries[0].kill();
    let gone = send(&app, json("/v1/search", r#"{"sample":3}"#)).await;
    gone.refused(503, "store_unavailable", "shard 0 (dhih_shard_0)");
    let told = String::from_utf8_lossy(&gone.body).into_owned();
    assert!(!told.contains("127.0.0.1"), "hosts are for the log: {told}");
    let reload = send(&app, with_method(axum::http::Method::POST, "/v1/admin/reload")).await;
    reload.refused(409, "not_reloaded", "still is");
}

#[test]
fn a_store_of_another_model_or_of_other_bits_is_refused() {
    let servers = Servers::of(Size::shards(1));
    let (fixture, other) = (Fixture::new(), Fixture::with(5, None));
    let refusal = || {
        let source = Source::Postgres(servers.store());
        Run::load_from(fixture.run(), &source).unwrap_err().to_string()
    };
    assert!(refusal().contains("holds no codes"), "{}", refusal());
    servers.load(&other.codes());
    let text = refusal();
    for part in [
        "generation 1",
        "another model",
        "44 bits",
        other.encoder().model_sha256(),
        "dhih-serve load",
    ] {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.contains("ss%5Cw"), "{text}");
    let mut bits = items(48, 30, Kind::Random, 1);
    bits.model_sha256 = fixture.codes().model_sha256;
    servers.load(&bits);
    assert!(refusal().contains("48 bits"), "{}", refusal());
}

/// The bug: after a load, services continued with a generation that the next load dropped. All searches then failed until someone reloaded,
/// while `/readyz` reported no fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_generation_is_served_by_itself_and_readiness_tells_of_shards_that_are_down() {
    let mut servers = Servers::of(Size::shards(1));
    let (fixture, other) = (Fixture::new(), Fixture::with(5, None));
    servers.load(&fixture.codes());
    let run = over_store(&fixture, servers.store());
    let state = state(run, Limits::default(), Keys::default());
    let app = app(state.clone());
    let mut watch = StoreWatch::new(state);
    let search = async || send(&app, json("/v1/search", r#"{"sample":3}"#)).await;
    let generation = async || send(&app, get("/v1/info")).await.ok()["store"]["generation"].clone();
    // After two more generations, the one that was opened is dropped.
    for expected in [2, 3] {
        servers.load(&fixture.codes());
        tokio::task::block_in_place(|| watch.check());
        assert_eq!((generation().await, search().await.status.as_u16()), (expected.into(), 200));
    }
    // Codes of another model are refused once, and the previous ones are still searched.
    servers.load(&other.codes());
    for _ in 0..2 {
        tokio::task::block_in_place(|| watch.check());
        assert_eq!((generation().await, search().await.status.as_u16()), (3.into(), 200));
        let told = send(&app, get("/v1/info")).await.ok()["last_reload"].clone();
        assert_eq!(told["ok"], false, "{told}");
    }
    assert_eq!(send(&app, get("/readyz")).await.ok()["status"], "ready");
    servers.primaries[0].kill();
    tokio::task::block_in_place(|| watch.check());
    let answer = send(&app, get("/readyz")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (503, &"store_unavailable".into())
    );
    servers.primaries[0].restart();
    tokio::task::block_in_place(|| watch.check());
    assert_eq!(send(&app, get("/readyz")).await.ok()["status"], "ready");
    assert_eq!(search().await.status, 200);
}

/// The bug: while a shard hung, searches waited for it on the threads that also decode pictures and read thumbnails, so those requests were
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_hangs_takes_no_worker_from_local_work() {
    let servers = Servers::start();
    let fixture = Fixture::new();
    servers.load(&fixture.codes());
    let second = Duration::from_secs(1);
    let limits =
        Limits { workers: 1, store_searches: 2, queue_timeout: second, ..Limits::default() };
    let app = app(state(over_store(&fixture, servers.store()), limits, Keys::default()));
    let hosts = [&servers.primaries[1], &servers.standbys[1]];
    hosts.iter().for_each(|host| host.hang(true));
    let asked = ["{\"sample\":0}", "{\"id\":1}", "{\"sample\":1}"].map(|body| {
        let app = app.clone();
        tokio::spawn(async move { send(&app, json("/v1/search", body)).await.status })
    });
    let item = {
        let app = app.clone();
        tokio::spawn(async move { send(&app, get("/v1/items/1")).await.status })
    };
    // By now, searches without a place have been refused, and two wait for the shard.
    tokio::time::sleep(2 * second).await;
    assert!(
        asked.iter().filter(|search| !search.is_finished()).count()
            + usize::from(!item.is_finished())
            == 2
    );
    for sample in 0..4 {
        let image = format!("/v1/samples/{sample}/image");
        assert_eq!(send(&app, get(&image)).await.status, 200);
    }
    hosts.iter().for_each(|host| host.hang(false));
    for search in asked.into_iter().chain([item]) {
        assert!([200, 503].contains(&search.await.unwrap().as_u16()));
    }
}

/// The output of a program that has ended, which must contain neither the password nor the connection string.
fn said(output: &Output) -> String {
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for word in ["ss%5Cw", "ss\\w", "hidden"] {
        assert!(!all.contains(word), "{all}");
    }
    all
}

#[test]
fn the_program_loads_and_serves_and_shows_no_password() {
    let servers = Servers::of(Size::shards(2));
    let fixture = Fixture::new();
    let file = servers.folder().join("word");
    std::fs::write(&file, PASSWORD).unwrap();
    let bare = servers.url().replace(":p%27a%20ss%5Cw%40rd@", "@");
    let loaded = program()
        .args(["load", "--json", "--store", &bare, "--run"])
        .arg(fixture.run())
        .arg("--store-password-file")
        .arg(&file)
        .output()
        .unwrap();
    let text = said(&loaded);
    assert!(loaded.status.success(), "{text}");
    let line: Value = serde_json::from_slice(&loaded.stdout).unwrap();
    assert_eq!((&line["generation"], &line["rows"]), (&1.into(), &ITEMS.into()));

    let log = servers.folder().join("stderr");
    let mut child = program()
        .env("DHIH_STORE", servers.url())
        .env("DHIH_RUN", fixture.run())
        .env("DHIH_LOG_LEVEL", "trace")
        .args(["--bind", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let url = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let body = r#"{"id":5}"#;
    write!(
        stream,
        "POST /v1/search?k=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""distance":0"#), "{answer}");
    let stop = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(stop.unwrap().success());
    let status = child.wait().unwrap();
    let log = std::fs::read(log).unwrap();
    let text = said(&Output { status, stdout: Vec::new(), stderr: log });
    assert!(status.success() && text.contains("stopped"), "{text}");
}

#[test]
fn wrong_flags_are_refused_and_no_password_is_shown() {
    let fixture = Fixture::new();
    let hidden = "postgres://me:hidden@127.0.0.1:1/dhih";
    let run = fixture.run().to_str().unwrap();
    for (arguments, code, part) in [
        (vec!["--store", hidden, "--index", "x"], 2, "--index"),
        (vec!["--store", hidden, "--store-password-file", "/no/file"], 2, "/no/file"),
        (vec!["--store", hidden, "--store-ca", "/no/file", "--run", run], 1, "/no/file"),
        (
            vec!["--store", hidden, "--run", run],
            1,
            "the coordinator cannot be reached: 127.0.0.1:1",
        ),
        (vec!["--store", "postgres://me:hidden@db.example.org/a", "--run", run], 1, "in the clear"),
        (vec!["--store", "postgres://me:hidden@", "--run", run], 1, "names no host"),
        (vec!["--store-timeout", "0"], 2, "--store-timeout"),
        (vec!["load", "--run", run], 1, "give --store URL"),
        (vec!["load", "--store", hidden, "--run", "none"], 1, "codes.safetensors"),
        (vec!["load", "--store", hidden, "--run", run], 1, "the coordinator cannot be reached"),
    ] {
        let output = program().args(&arguments).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    for command in [&["--help"][..], &["load", "--help"]] {
        let help = program().env("DHIH_STORE", hidden).args(command).output().unwrap();
        assert!(help.status.success() && said(&help).contains("--store"));
    }
    let file = fixture.file("serve.toml");
    std::fs::write(&file, format!("store = '{hidden}'\nrun = '{run}'")).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    for (more, part) in [(&["--help"][..], "--store"), (&[], "the coordinator cannot be reached")] {
        let text = said(&program().args(config).args(more).output().unwrap());
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}
