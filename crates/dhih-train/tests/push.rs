//! A run that was sent to a hub by hand lacked what says what it is good for, or showed half of its files. What `push` sends to a hub,
//! which here is a server in the test, what the repository then holds, and that it holds nothing where anything went wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::stdout;
use dhih_train::RunDir;

/// A folder with a complete run.
fn trained() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 8);
    let photos = dir.path().join("photos");
    let words = "--dataset folder --image-side 16 --bits 12 --batch-size 8 --epochs 1 --name good";
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend(["--data-dir", photos.to_str().unwrap()]);
    stdout(&common::dhih_train(dir.path(), &words));
    dir
}

fn failure(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty(), "nothing may look done: {message}");
    message
}

/// Pushes to a hub at an address.
fn push(endpoint: &str, dir: &Path, words: &str) -> Output {
    let words = format!("push hf:ann/cats-12 --run runs/good {words}");
    common::hub::dhih_train(endpoint, dir, &words.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn a_dry_run_shows_files_and_card_and_asks_nobody() {
    let dir = trained();
    let told = stdout(&push(&common::hub::dead(), dir.path(), "--dry-run --licence mit"));
    for name in ["README.md", "config.toml", "evaluation.json", "model.safetensors"] {
        assert!(told.contains(&format!(" bytes  {name}\n")), "{told}");
    }
    let run = RunDir::open(&dir.path().join("runs/good")).unwrap();
    let evaluation: serde_json::Value = run.read_json(RunDir::EVALUATION).unwrap();
    let card = &told[told.find("---\n").unwrap()..];
    let (metadata, text) = card[4..].split_once("\n---\n").unwrap();
    assert!(metadata.starts_with("license: mit\nlibrary_name: dhih\n"), "{metadata}");
    let index = metadata.split_once("model-index: ").unwrap().1;
    let index: serde_json::Value = serde_json::from_str(index).unwrap();
    assert_eq!(index[0]["name"], "cats-12");
    let metrics = index[0]["results"][0]["metrics"].as_array().unwrap();
    assert_eq!(metrics[0]["value"], evaluation["map"]);
    let map = evaluation["map"].as_f64().unwrap();
    for part in [
        &format!("| mAP over the whole ranking, ties averaged | {map:.4} |"),
        "code of 12 bits",
        "Dataset: `folder`, protocol `folder`",
        "loss `hi`",
        "hf download ann/cats-12 --local-dir runs/cats-12",
        "The licence of the model is `mit`.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = stdout(&push(&common::hub::dead(), dir.path(), "--dry-run --json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["repo"], &json["commit"]), (&"ann/cats-12".into(), &serde_json::Value::Null));
    assert!(json["card"].as_str().unwrap().contains("No licence was stated"));
    assert_eq!(json["files"].as_array().unwrap().len(), 4);
}

#[test]
fn what_is_no_complete_run_is_refused() {
    let dir = trained();
    let run = dir.path().join("runs/good");
    let refused = |expected: &str| {
        let message = failure(&push(&common::hub::dead(), dir.path(), "--dry-run"));
        assert!(message.contains(expected) && message.contains("\nhint: "), "{message}");
    };
    let evaluation = std::fs::read_to_string(run.join(RunDir::EVALUATION)).unwrap();
    let other = evaluation.replace("\"model_sha256\": \"", "\"model_sha256\": \"0");
    std::fs::write(run.join(RunDir::EVALUATION), other).unwrap();
    refused("evaluates another model");
    std::fs::remove_file(run.join(RunDir::EVALUATION)).unwrap();
    refused("it is not finished");
    std::fs::remove_dir_all(&run).unwrap();
    refused("runs/good: not a usable run: it is not there");
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_program_without_the_network_says_so() {
    let dir = trained();
    let message = failure(&push(&common::hub::dead(), dir.path(), ""));
    assert!(message.contains("ann/cats-12: this program was built without"), "{message}");
    assert!(message.contains("\nhint: build it with `--features hub`"), "{message}");
}

#[cfg(feature = "hub")]
mod sent {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::sync::{Arc, Mutex};

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use common::hub::{Answer, Request, serve};
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};

    use super::*;

    const TOKEN: &str = "hf_secret";
    const REPO: &str = "ann/cats-12";

    /// What a hub holds and how it behaves.
    #[derive(Default)]
    struct State {
        /// Whether the repository is there, and private.
        private: Option<bool>,
        /// Large files by their SHA-256.
        objects: BTreeMap<String, Vec<u8>>,
        verified: Vec<String>,
        /// The files of the last commit.
        committed: BTreeMap<String, Vec<u8>>,
        /// The requests so far, `METHOD PATH`.
        log: Vec<String>,
        /// A request that ends so is refused with this status, or left without an answer.
        fault: Option<(&'static str, Option<u16>)>,
        /// What becomes of the answer to a commit that was made.
        spoil: Option<fn(Answer) -> Option<Answer>>,
    }

    struct Hub {
        endpoint: String,
        state: Arc<Mutex<State>>,
    }

    impl Hub {
        fn start(state: State) -> Self {
            let state = Arc::new(Mutex::new(state));
            let own = Arc::clone(&state);
            let endpoint = serve(move |request| {
                let host = format!("http://{}", request.headers["host"]);
                answer(&mut own.lock().unwrap(), request, &host)
            });
            Self { endpoint, state }
        }

        fn push(&self, dir: &Path, words: &str) -> Output {
            std::fs::create_dir_all(dir.join("hf-home")).unwrap();
            std::fs::write(dir.join("hf-home/token"), format!("{TOKEN}\n")).unwrap();
            push(&self.endpoint, dir, words)
        }
    }

    /// As the hub answers, by its documentation of the requests.
    fn answer(state: &mut State, request: &Request, host: &str) -> Option<Answer> {
        let asked = format!("{} {}", request.method, request.path);
        state.log.push(asked.clone());
        if let Some((end, status)) = state.fault
            && asked.ends_with(end)
        {
            let body = json!({ "error": "not today" }).to_string();
            return status.map(|status| Answer::new(status, body));
        }
        let stored = request.path.strip_prefix("/storage/");
        let bearer = request.headers.get("authorization").map(String::as_str);
        let allowed = if stored.is_some() { None } else { Some("Bearer hf_secret") };
        if bearer != allowed {
            return Some(Answer::new(401, json!({ "error": "Invalid credentials" }).to_string()));
        }
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap();
        let ok = |value: Value| Some(Answer::new(200, value.to_string()));
        if let Some(oid) = stored {
            assert_eq!(request.method, "PUT");
            assert_eq!(request.headers["x-given"], "by the hub");
            state.objects.insert(oid.to_owned(), request.body.clone());
            return Some(Answer::new(200, ""));
        }
        match asked.as_str() {
            "POST /api/repos/create" => {
                let body = body();
                assert_eq!(
                    (&body["organization"], &body["name"]),
                    (&"ann".into(), &"cats-12".into())
                );
                if state.private.is_some() {
                    return Some(Answer::new(409, json!({ "error": "it exists" }).to_string()));
                }
                state.private = body["private"].as_bool();
                ok(json!({ "url": format!("{host}/{REPO}") }))
            }
            "GET /api/models/ann/cats-12" => ok(json!({ "private": state.private })),
            "POST /api/models/ann/cats-12/preupload/main" => {
                let mode = |file: &Value| {
                    let path = file["path"].as_str().unwrap();
                    let mode = if path.ends_with(".safetensors") { "lfs" } else { "regular" };
                    json!({ "path": path, "uploadMode": mode, "shouldIgnore": false })
                };
                let files: Vec<_> = body()["files"].as_array().unwrap().iter().map(mode).collect();
                ok(json!({ "files": files }))
            }
            "POST /ann/cats-12.git/info/lfs/objects/batch" => {
                let body = body();
                assert_eq!(body["operation"], "upload");
                let object = |object: &Value| {
                    let oid = object["oid"].as_str().unwrap();
                    if state.objects.contains_key(oid) {
                        return json!({ "oid": oid, "size": object["size"] });
                    }
                    json!({ "oid": oid, "size": object["size"], "actions": {
                        "upload": { "href": format!("{host}/storage/{oid}"), "header": { "x-given": "by the hub" } },
                        "verify": { "href": format!("{host}/verify") },
                    }})
                };
                let objects: Vec<_> =
                    body["objects"].as_array().unwrap().iter().map(object).collect();
                ok(json!({ "transfer": "basic", "objects": objects }))
            }
            "POST /verify" => {
                let oid = body()["oid"].as_str().unwrap().to_owned();
                let digest = Sha256::digest(&state.objects[&oid]);
                assert_eq!(dhih_index::to_hex(&digest), oid);
                state.verified.push(oid);
                Some(Answer::new(200, ""))
            }
            "POST /api/models/ann/cats-12/commit/main" => {
                let lines = String::from_utf8(request.body.clone()).unwrap();
                let lines: Vec<Value> =
                    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!(lines[0]["key"], "header");
                assert_eq!(lines[0]["value"]["summary"], "dhih-train push: cats-12");
                for line in &lines[1..] {
                    let value = &line["value"];
                    let bytes = match line["key"].as_str().unwrap() {
                        "file" => STANDARD.decode(value["content"].as_str().unwrap()).unwrap(),
                        "lfsFile" => state.objects[value["oid"].as_str().unwrap()].clone(),
                        key => panic!("{key}"),
                    };
                    state.committed.insert(value["path"].as_str().unwrap().to_owned(), bytes);
                }
                let commit =
                    json!({ "commitUrl": format!("{host}/{REPO}/commit/abc"), "commitOid": "abc" });
                let answer = Answer::new(200, commit.to_string());
                match state.spoil {
                    Some(spoil) => spoil(answer),
                    None => Some(answer),
                }
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_repository_has_a_run_that_can_be_used_and_no_folders_of_this_machine() {
        let dir = trained();
        let hub = Hub::start(State::default());
        let told = stdout(&hub.push(dir.path(), "--private"));
        assert_eq!(told, format!("{}/{REPO}/commit/abc\n", hub.endpoint));
        let run = dir.path().join("runs/good");
        {
            let state = hub.state.lock().unwrap();
            assert_eq!((state.private, state.verified.len()), (Some(true), 1));
            let names: Vec<_> = state.committed.keys().map(String::as_str).collect();
            assert_eq!(names, ["README.md", "config.toml", "evaluation.json", "model.safetensors"]);
            for name in [RunDir::EVALUATION, RunDir::MODEL] {
                assert!(state.committed[name] == std::fs::read(run.join(name)).unwrap(), "{name}");
            }
            let config = std::str::from_utf8(&state.committed[RunDir::CONFIG]).unwrap();
            assert!(config.contains("data_dir = \"photos\""), "{config}");
            let here = dir.path().to_str().unwrap();
            assert!(
                state.committed.values().all(|bytes| {
                    !bytes.windows(here.len()).any(|part| part == here.as_bytes())
                })
            );
            let folder = dir.path().join("runs/pulled");
            std::fs::create_dir(&folder).unwrap();
            for (name, bytes) in &state.committed {
                std::fs::write(folder.join(name), bytes).unwrap();
            }
        }
        let encode = |run: &str, out: &str| {
            let words = format!("encode --run runs/{run} --input photos --out {out}");
            stdout(&common::dhih_train(dir.path(), &words.split(' ').collect::<Vec<_>>()));
            std::fs::read(dir.path().join(out)).unwrap()
        };
        assert!(encode("good", "a.safetensors") == encode("pulled", "b.safetensors"));
        // What the hub has is not sent again, and the commit is made all the same.
        hub.state.lock().unwrap().log.clear();
        hub.state.lock().unwrap().committed.clear();
        let json = stdout(&hub.push(dir.path(), "--json"));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert!(json["commit"].as_str().unwrap().ends_with("/commit/abc"), "{json}");
        let state = hub.state.lock().unwrap();
        assert!(!state.log.iter().any(|asked| asked.starts_with("PUT")), "{:?}", state.log);
        assert_eq!(state.committed.len(), 4);
    }

    #[test]
    fn a_refusal_or_a_cut_at_any_step_publishes_nothing() {
        let dir = trained();
        let steps =
            ["/api/repos/create", "/preupload/main", "/objects/batch", "/verify", "/commit/main"];
        let put = {
            let model = std::fs::read(dir.path().join("runs/good").join(RunDir::MODEL)).unwrap();
            &*format!("PUT /storage/{}", dhih_index::to_hex(&Sha256::digest(model))).leak()
        };
        for step in steps.into_iter().chain([put]) {
            for status in [None, Some(403), Some(500)] {
                let hub = Hub::start(State { fault: Some((step, status)), ..State::default() });
                let message = failure(&hub.push(dir.path(), ""));
                let state = hub.state.lock().unwrap();
                assert!(state.committed.is_empty(), "{step}: {message}");
                assert!(state.log.last().unwrap().ends_with(step), "{step}: {:?}", state.log);
                let expected = match (status, step) {
                    (None | Some(500), "/commit/main") => {
                        "hint: look whether the repository has it"
                    }
                    (None, _) => "hint: run the same command again",
                    (Some(403), _) => "not today (status 403)\nhint: take a token that may write",
                    (Some(_), _) => "not today (status 500)\nhint: mend what the hub names",
                };
                assert!(message.contains(expected), "{step}: {message}");
                let published = message.contains("ann/cats-12: nothing was published: ");
                assert!(published || expected.contains("look whether"), "{step}: {message}");
                assert!(!message.contains(TOKEN), "{message}");
            }
        }
    }

    /// A commit whose answer was cut was once reported as "nothing was published".
    #[test]
    fn a_commit_without_a_whole_answer_is_not_said_to_have_failed() {
        let dir = trained();
        let spoilt: [fn(Answer) -> Option<Answer>; 4] = [
            |_| None,
            |answer| Some(Answer { length: answer.length + 100, ..answer }),
            |_| Some(Answer::new(200, "<html>")),
            |_| Some(Answer::new(502, "bad gateway")),
        ];
        for (number, spoil) in spoilt.into_iter().enumerate() {
            let hub = Hub::start(State { spoil: Some(spoil), ..State::default() });
            let message = failure(&hub.push(dir.path(), ""));
            assert_eq!(hub.state.lock().unwrap().committed.len(), 4, "{number}: it was made");
            assert!(
                message.contains("hint: look whether the repository has it"),
                "{number}: {message}"
            );
            assert!(!message.contains("nothing was published"), "{number}: {message}");
        }
    }

    #[test]
    fn what_must_be_private_never_goes_to_a_public_repository() {
        let dir = trained();
        let hub = Hub::start(State { private: Some(false), ..State::default() });
        let message = failure(&hub.push(dir.path(), "--private"));
        assert!(message.contains("is public\nhint: name another one"), "{message}");
        {
            let state = hub.state.lock().unwrap();
            assert!(state.objects.is_empty() && state.committed.is_empty());
        }
        stdout(&hub.push(dir.path(), ""));
        let hub = Hub::start(State { private: Some(true), ..State::default() });
        stdout(&hub.push(dir.path(), "--private"));
    }

    #[test]
    fn nothing_is_asked_without_a_token_or_offline() {
        let dir = trained();
        let hub = Hub::start(State::default());
        let message = failure(&push(&hub.endpoint, dir.path(), ""));
        let expected =
            "error: there is no token of the hub\nhint: set HF_TOKEN, or run `hf auth login`";
        assert!(message.contains(expected), "{message}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-train"));
        command.args(["push", "hf:ann/cats-12", "--run", "runs/good"]).current_dir(dir.path());
        command.env("HF_ENDPOINT", &hub.endpoint).env("HF_TOKEN", "hf_other");
        let output = command.env("HF_HUB_OFFLINE", "1").output().unwrap();
        assert!(failure(&output).contains("HF_HUB_OFFLINE is set"));
        assert!(hub.state.lock().unwrap().log.is_empty());
        // The variable goes before the file, and this hub does not know it.
        std::fs::create_dir_all(dir.path().join("hf-home")).unwrap();
        std::fs::write(dir.path().join("hf-home/token"), TOKEN).unwrap();
        let output = command.env("HF_HUB_OFFLINE", "0").output().unwrap();
        assert!(failure(&output).contains("Invalid credentials (status 401)"));
        let dead = failure(&Hub { endpoint: common::hub::dead(), ..hub }.push(dir.path(), ""));
        assert!(dead.contains("the hub cannot be reached"), "{dead}");
    }
}
