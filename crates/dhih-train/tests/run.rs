//! Whole runs on a small folder: files, repetition, resumption, refusals, and the commands on them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use dhih_model::Loss;
use dhih_train::run::{self, Evaluation};
use dhih_train::{Progress, RunDir, TrainConfig, TrainOptions};

fn config(data: &Path) -> TrainConfig {
    let options = TrainOptions {
        dataset: Some("folder".into()),
        data_dir: Some(data.to_owned()),
        image_side: Some(16),
        bits: Some(12),
        epochs: Some(4),
        batch_size: Some(8),
        device: Some("cpu".into()),
        ..TrainOptions::default()
    };
    options.resolve().unwrap()
}

/// The message of a failed call and its exit code.
fn failure(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn a_run_is_complete_and_repeats_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let runs = ["a", "b"].map(|name| {
        let path = dir.path().join("runs").join(name);
        run::start(&config(&data), Some(&path), Progress::Silent).unwrap()
    });
    let (first, evaluation) = &runs[0];
    assert_eq!((evaluation.metrics.database, evaluation.metrics.queries), (36, 4));
    assert!(evaluation.metrics.map > 0.9, "{}", evaluation.metrics.map);
    assert_eq!(*evaluation, first.read_json::<Evaluation>(RunDir::EVALUATION).unwrap());
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES, RunDir::GALLERY, RunDir::SPLIT] {
        let [a, b] = [0, 1].map(|i| std::fs::read(runs[i].0.file(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
    for name in [RunDir::CONFIG, RunDir::RESULTS] {
        assert!(first.file(name).is_file(), "{name}");
    }
    let lines = std::fs::read_to_string(first.file(RunDir::METRICS)).unwrap();
    assert_eq!(lines.lines().count(), 4);
    let codes = CodeSet::read(first.file(RunDir::CODES), None).unwrap();
    assert_eq!(codes.model_sha256.as_ref(), Some(&evaluation.model_sha256));
    assert_eq!(codes.classes, ["dark", "light"]);
    let latest = std::fs::read_link(dir.path().join("runs/latest")).unwrap();
    assert_eq!(latest, Path::new("b"));
    let leftovers = std::fs::read_dir(first.path()).unwrap();
    let leftovers: Vec<_> = leftovers.map(|entry| entry.unwrap().file_name()).collect();
    assert!(leftovers.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{leftovers:?}");

    let error = run::start(&config(&data), Some(first.path()), Progress::Silent).unwrap_err();
    assert!(error.to_string().contains("--resume"), "{error}");
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let arguments = [
        ["--dataset", "folder", "--image-side", "16", "--bits", "12", "--epochs", "60"].as_slice(),
        &["--batch-size", "8", "--device", "cpu"],
    ];
    common::start_and_kill(&arguments.concat(), &[("--data-dir", &data)], &killed);
    assert!(!killed.join(RunDir::MODEL).exists(), "no half-trained model under the final name");
    let config = TrainConfig { epochs: 60, ..config(&data) };
    run::start(&config, Some(&whole), Progress::Silent).unwrap();
    run::resume(&killed, Progress::Silent).unwrap();
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES] {
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
    let epochs = std::fs::read_to_string(killed.join(RunDir::METRICS)).unwrap();
    assert_eq!(epochs.lines().count(), 60);

    let state = killed.join("checkpoint/state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 1]).unwrap();
    assert!(
        run::resume(&killed, Progress::Silent)
            .unwrap_err()
            .to_string()
            .contains("state.safetensors")
    );
    std::fs::write(&state, bytes).unwrap();
    std::fs::copy(data.join("dark/001.png"), data.join("dark/000.png")).unwrap();
    let error = run::resume(&killed, Progress::Silent).unwrap_err().to_string();
    assert!(error.contains("no longer what the run began with"), "{error}");
    assert!(run::resume(&dir.path().join("nowhere"), Progress::Silent).is_err());
    // A run of a later program, whose settings this one may not know.
    let config = killed.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.starts_with("version = 1\n"), "{text}");
    std::fs::write(
        &config,
        format!("version = 7\nnovelty = 1\n{}", &text["version = 1\n".len()..]),
    )
    .unwrap();
    let error = run::resume(&killed, Progress::Silent).unwrap_err();
    assert!(
        matches!(error, dhih_train::Error::RunVersion { found: 7, supported: 1, .. }),
        "{error}"
    );
}

#[test]
fn the_commands_work_on_a_run() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 12);
    for name in [".hidden.png", "light/notes.txt", "light/page.jpg"] {
        std::fs::write(dir.path().join("photos").join(name), "no image").unwrap();
    }
    std::fs::write(dir.path().join("settings.toml"), "bits = 16\nepochs = 2\nimage_side = 16\n")
        .unwrap();
    let trained = dhih_train(
        dir.path(),
        &[
            "train",
            "--dataset",
            "folder",
            "--data-dir",
            "photos",
            "--config",
            "settings.toml",
            "--json",
        ],
    );
    let report: serde_json::Value = serde_json::from_str(&stdout(&trained)).unwrap();
    assert_eq!(report["run"], "runs/folder-hi-16-001");
    assert_eq!(report["evaluation"]["bits"], 16);
    assert_eq!(report["evaluation"]["protocol"], "folder");
    let left_out = serde_json::json!({"hidden": 1, "not_a_picture": 1, "other_file": 1});
    assert_eq!(report["left_out"], left_out);
    assert_eq!(report["evaluation"]["dataset"]["left_out"], left_out);
    let run = RunDir::open(&dir.path().join("runs/latest")).unwrap();
    let recorded = run.read_config().unwrap().data.left_out;
    assert_eq!(serde_json::to_value(recorded).unwrap(), left_out);

    let evaluated = dhih_train(dir.path(), &["evaluate", "--json", "--topk", "7"]);
    let evaluation: serde_json::Value = serde_json::from_str(&stdout(&evaluated)).unwrap();
    assert_eq!(evaluation["map"], report["evaluation"]["map"]);
    assert!(evaluation["map_at"]["7"].is_number());
    let codes = ["evaluate", "--database", "runs/latest/codes.safetensors", "--queries"];
    let codes = [&codes[..], &["runs/latest/queries.safetensors", "--ties", "stable"]].concat();
    assert!(stdout(&dhih_train(dir.path(), &codes)).contains("ties in database order"));

    let encoded = dhih_train(
        dir.path(),
        &["encode", "--input", "photos", "--out", "all.safetensors", "--json"],
    );
    let report: serde_json::Value = serde_json::from_str(&stdout(&encoded)).unwrap();
    assert_eq!(
        (report["encoded"].as_u64(), report["skipped"].as_array().unwrap().len()),
        (Some(24), 1)
    );
    let set = CodeSet::read(dir.path().join("all.safetensors"), None).unwrap();
    let names = std::fs::read_to_string(dir.path().join("all.safetensors.files.txt")).unwrap();
    assert_eq!((set.codes.len(), names.lines().count()), (24, 24));

    let listed = stdout(&dhih_train(dir.path(), &["list", "protocols"]));
    assert!(listed.contains("fashion-mnist-full") && !listed.contains("backbones"));
    let listed = stdout(&dhih_train(dir.path(), &["list", "backbones", "--json"]));
    let entry = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let resnet = listed.lines().map(entry).find(|entry| entry["name"] == "resnet18").unwrap();
    let size = (&resnet["side"], &resnet["features"], &resnet["parameters"]);
    assert_eq!(size, (&224.into(), &512.into(), &11_176_512.into()));
    let listed = stdout(&dhih_train(dir.path(), &["list", "losses"]));
    for (name, line) in Loss::ALL {
        assert!(listed.contains(name) && listed.contains(line), "{listed}");
    }
}

#[test]
fn a_run_records_its_loss_and_a_pairwise_one_has_no_classifier() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("photos"), 12);
    for (name, constant, classifier) in
        [("ortho-arc", "margin=0.1", true), ("dsh", "margin=9", false)]
    {
        let mut args = vec!["--dataset", "folder", "--data-dir", data.to_str().unwrap()];
        args.extend(["--image-side", "16", "--bits", "12", "--epochs", "2", "--hash-hidden", "10"]);
        args.extend(["--learning-rate", "0.01", "--loss", name, "--loss-param", constant]);
        let text = stdout(&dhih_train(dir.path(), &args));
        assert_eq!(text.contains("no classifier: the loss is pairwise"), !classifier, "{text}");
        let run = RunDir::open(&dir.path().join(format!("runs/folder-{name}-12-001"))).unwrap();
        let train = run.read_config().unwrap().train;
        let loss = serde_json::to_value(train.loss).unwrap();
        let (constant, value) = constant.split_once('=').unwrap();
        assert_eq!((&loss["name"], loss[constant].as_f64()), (&name.into(), value.parse().ok()));
        assert_eq!(train.hash_hidden, 10);
        let evaluation: Evaluation = run.read_json(RunDir::EVALUATION).unwrap();
        assert_eq!(evaluation.class_code_map.is_some(), classifier);
        assert_eq!(evaluation.posterior_map.is_some(), classifier);
        assert_eq!(evaluation.loss, name);
        // Settings that were not given are written out, too.
        let text = std::fs::read_to_string(run.file(RunDir::CONFIG)).unwrap();
        let derived = if classifier { "scale = 3.46" } else { "alpha = 0.01" };
        assert!(text.contains("[train.loss]") && text.contains(derived), "{text}");
    }
}

#[test]
fn wrong_words_name_the_cause_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    for (args, parts) in [
        (&["--dataset", "cifar-10"][..], &["cifar-10", "did you mean \"cifar10\""][..]),
        (
            &["--dataset", "fashion-mnist"],
            &["train-images", "cargo xtask fetch-data fashion-mnist"],
        ),
        (&["--bits", "0"], &["bits is 0", "1 to 1024"]),
        (&["--bits", "2000"], &["bits is 2000"]),
        (&["--loss", "hy"], &["loss \"hy\"", "\"hi\""]),
        (&["--loss", "dsh", "--loss-param", "gamma=1"], &["gamma=1", "one of alpha, margin"]),
        (&["--loss", "dsh", "--loss-param", "margin=-1"], &["margin is -1", "above 0"]),
        (&["--loss", "dsh", "--hi-alpha", "0.5"], &["hi_alpha is 0.5 with the loss dsh"]),
        (&["--hi-mode", "both"], &["mode=\"both\"", "target", "global"]),
        (&["--loss", "ortho-cos", "--batch-size", "2"], &["batch_size is 2", "batch norm"]),
        (
            &["--loss", "csq", "--demo-images", "1010", "--bits", "4"],
            &["bits is 4", "10 classes", "expected more"],
        ),
        (&["--hash-hidden", "100000"], &["hash_hidden is 100000", "65536"]),
        (&["--hi-alpha", "1.5"], &["hi_alpha is 1.5", "at most 1"]),
        (&["--learning-rate", "nan"], &["learning_rate", "positive"]),
        (&["--protocol", "cifar10-full"], &["protocol", "demo"]),
        (&["--config", "absent.toml"], &["absent.toml"]),
        (&["--resume", "absent"], &["absent: not a usable run", "it is not there"]),
        (&["evaluate"], &["runs/latest", "dhih-train train"]),
        (&["evaluate", "--topk", "0"], &["--topk is 0"]),
        (
            &["encode", "--input", ".", "--out", "o.safetensors"],
            &["model.safetensors", "dhih-train train"],
        ),
    ] {
        let (code, message) = failure(&dhih_train(dir.path(), args));
        assert_eq!(code, 1, "{args:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{args:?}: {message}");
        }
    }
    for args in [
        &["--no-such-flag"][..],
        &["--loss-param", "margin"],
        &["list", "cats"],
        &["evaluate", "--database", "x"],
    ] {
        assert_eq!(failure(&dhih_train(dir.path(), args)).0, 2, "{args:?}");
    }
    std::fs::write(dir.path().join("bad.toml"), "bitz = 3").unwrap();
    let (_, message) = failure(&dhih_train(dir.path(), &["--config", "bad.toml"]));
    assert!(message.contains("bitz"), "{message}");
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["bad.toml"], "a refused command leaves nothing behind");
}

#[test]
fn divergence_stops_with_the_step_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let config = TrainConfig { learning_rate: 1e30, warmup_epochs: 0.0, ..config(&data) };
    let error = run::start(&config, Some(&dir.path().join("run")), Progress::Silent).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("epoch 1") && message.contains("--learning-rate"), "{message}");

    // The last step before images are encoded: the loss before it is finite, and no other step follows. Weights that are infinite, and huge ones
    // whose codes are no numbers.
    for (learning_rate, validation) in [(1e300, 0.0), (1e300, 0.2), (1e30, 0.0), (1e30, 0.2)] {
        let once =
            TrainConfig { epochs: 1, batch_size: 64, validation, learning_rate, ..config.clone() };
        let path = dir.path().join(format!("{learning_rate:e}-{validation}"));
        let error = run::start(&once, Some(&path), Progress::Silent).unwrap_err().to_string();
        assert!(
            error.contains("epoch 1, batch 1 (step 1)"),
            "{learning_rate} {validation}: {error}"
        );
        assert!(!path.join(RunDir::EVALUATION).exists());
    }
}
