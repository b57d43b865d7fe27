//! Commands around runs: reports, sweeps, settings of resumed runs, codes from elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{dhih_train, stdout};
use dhih_index::{CodeSet, Labels};
use dhih_train::RunDir;
use dhih_train::run::Evaluation;

fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Settings of a run that takes a second.
const SMALL: [&str; 10] = [
    "--dataset",
    "folder",
    "--data-dir",
    "photos",
    "--image-side",
    "16",
    "--bits",
    "12",
    "--batch-size",
    "8",
];

fn train(dir: &Path, args: &[&str]) -> Output {
    dhih_train(dir, &[&["train"], &SMALL[..], args].concat())
}

fn photos() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 20);
    dir
}

#[test]
fn a_report_is_one_page_and_several_runs_are_compared() {
    let dir = photos();
    stdout(&train(dir.path(), &["--epochs", "2", "--validation", "0.2"]));
    stdout(&train(dir.path(), &["--epochs", "2", "--loss", "csq"]));
    let out = stdout(&dhih_train(dir.path(), &["report", "--run", "runs/folder-hi-12-001"]));
    assert_eq!(out.trim(), "runs/folder-hi-12-001/report.html");
    let page = std::fs::read_to_string(dir.path().join(out.trim())).unwrap();
    for part in [
        "<h1>folder-hi-12-001</h1>",
        "a tenth of each class held out",
        "mAP, ties averaged",
        "mAP of class codes",
        "Held-out images",
        "Precision and recall by rank",
        "Precision and recall by radius",
        "Precision at N",
        "same label",
        "Balance of bits",
        "Correlation of bits",
        "data:image/png;base64,",
        "class=right",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // The only address is the XML namespace of SVG; pictures are in the page.
    let fetching = ["src=\"http", "url(", "@import", "<script"];
    assert!(fetching.iter().all(|part| !page.contains(part)), "it fetches something");
    assert_eq!(
        page.matches("href=").count(),
        page.matches("href=\"data:image/png;base64,").count()
    );
    assert_eq!(page.matches("<svg").count(), 8);

    let runs = ["report", "--runs", "runs/folder-hi-12-001", "runs/folder-csq-12-001", "--json"];
    let printed = stdout(&dhih_train(dir.path(), &runs));
    let written: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let page = std::fs::read_to_string(dir.path().join(written["out"].as_str().unwrap())).unwrap();
    assert!(page.contains("<td>csq</td>") && page.contains("<td>hi</td>"));
    // One of them held out images, so that their training parts differ.
    assert!(page.contains("not to be compared"));
    let message = failure(&dhih_train(dir.path(), &["report", "--run", "photos"]));
    assert!(message.contains("config.toml"), "{message}");
}

#[test]
fn a_sweep_runs_what_is_missing_and_refuses_other_settings() {
    let dir = photos();
    let settings = [
        "--set",
        "dataset=folder",
        "--set",
        "data_dir=photos",
        "--set",
        "image_side=16",
        "--set",
        "batch_size=8",
    ];
    let sweep = |args: &[&str]| {
        dhih_train(
            dir.path(),
            &[&["sweep", "--loss", "hi,csq", "--bits", "12"], &settings[..], args].concat(),
        )
    };
    let first = stdout(&sweep(&["--set", "epochs=1", "--seeds", "2"]));
    assert!(
        first.contains("| loss | bits | runs | validation mAP | mAP")
            && first.matches("| 2 |").count() == 2,
        "{first}"
    );
    let run = dir.path().join("runs/sweep/loss-csq_bits-12_seed-1");
    let evaluation: Evaluation = RunDir::open(&run).unwrap().read_json(RunDir::EVALUATION).unwrap();
    assert_eq!((evaluation.loss.as_str(), evaluation.seed), ("csq", 1));
    let table = std::fs::read_to_string(dir.path().join("runs/sweep/table.csv")).unwrap();
    assert!(
        table.lines().any(|line| line
            == format!(
                "csq,12,1,,{},{},{},{}",
                evaluation.metrics.map,
                evaluation.class_code_map.unwrap(),
                evaluation.posterior_map.unwrap(),
                evaluation.accuracy.unwrap()
            )),
        "{table}"
    );
    // Complete runs are read and not repeated: their files do not change.
    let model = run.join(RunDir::MODEL);
    let before = std::fs::metadata(&model).unwrap().modified().unwrap();
    assert_eq!(stdout(&sweep(&["--set", "epochs=1", "--seeds", "2"])), first);
    assert_eq!(std::fs::metadata(&model).unwrap().modified().unwrap(), before);
    let message = failure(&sweep(&["--set", "epochs=2"]));
    assert!(message.contains("epochs: 2, 1") && message.contains("--dir"), "{message}");
    let message = failure(&sweep(&["--dir", "runs/other", "--vary", "bitz=1,2"]));
    assert!(message.contains("bitz") && !dir.path().join("runs/other").exists(), "{message}");
}

#[test]
fn a_run_goes_on_with_its_own_settings_alone() {
    let dir = photos();
    stdout(&train(dir.path(), &["--epochs", "2", "--run-dir", "run"]));
    let resume =
        |args: &[&str]| dhih_train(dir.path(), &[&["train", "--resume", "run"], args].concat());
    stdout(&resume(&["--epochs", "2", "--bits", "12"]));
    let message = failure(&resume(&["--epochs", "3", "--learning-rate", "0.5"]));
    assert!(
        message.contains("epochs: 3, 2") && message.contains("learning_rate: 0.5, 0.05"),
        "{message}"
    );
}

#[test]
fn training_stops_where_the_held_out_part_no_longer_gains() {
    let dir = photos();
    let args = [
        "--epochs",
        "60",
        "--validation",
        "0.3",
        "--patience",
        "2",
        "--ema-decay",
        "0.5",
        "--run-dir",
        "run",
    ];
    let output = train(dir.path(), &args);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    stdout(&output);
    let run = RunDir::open(&dir.path().join("run")).unwrap();
    let records = run.read_metrics().unwrap();
    let scores: Vec<f64> = records.iter().map(|record| record.validation_map.unwrap()).collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    let first_best = scores.iter().position(|score| *score == best).unwrap();
    assert!(records.len() < 60 && records.len() == first_best + 3, "{scores:?}");
    assert!(log.contains(&format!("epoch {} is taken", first_best + 1)), "{log}");
    let message = failure(&train(dir.path(), &["--patience", "2"]));
    assert!(message.contains("patience") && message.contains("--validation"), "{message}");
}

#[test]
fn codes_made_by_others_are_measured_with_labels_of_their_own() {
    let dir = photos();
    stdout(&train(dir.path(), &["--epochs", "2", "--run-dir", "run", "--mirror"]));
    let npy = |shape: &str, kind: &str, values: &[u8]| {
        let mut header =
            format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        header.extend(std::iter::repeat_n(' ', 117 - header.len()));
        let length = (header.len() as u16 + 1).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), b"\n", values].concat()
    };
    for part in ["codes", "queries"] {
        let set = CodeSet::read(dir.path().join(format!("run/{part}.safetensors")), None).unwrap();
        set.write(dir.path().join(format!("{part}.npy"))).unwrap();
        let Some(Labels::Single(labels)) = set.labels else { panic!("one label an image") };
        let one = npy(
            &format!("({},)", labels.len()),
            "<i4",
            &labels.iter().flat_map(|l| (*l as i32).to_le_bytes()).collect::<Vec<_>>(),
        );
        let hot = npy(
            &format!("({}, 2)", labels.len()),
            "|b1",
            &labels.iter().flat_map(|l| [u8::from(*l == 0), u8::from(*l == 1)]).collect::<Vec<_>>(),
        );
        std::fs::write(dir.path().join(format!("{part}-one.npy")), one).unwrap();
        std::fs::write(dir.path().join(format!("{part}-hot.npy")), hot).unwrap();
    }
    let evaluate =
        |args: &[&str]| dhih_train(dir.path(), &[&["evaluate", "--json"], args].concat());
    let value =
        |output: &Output| serde_json::from_str::<serde_json::Value>(&stdout(output)).unwrap();
    let expected = value(&evaluate(&["--run", "run", "--asymmetric"]));
    assert!(expected["map_asymmetric"].as_f64().unwrap() >= 0.5);
    let codes = ["--bits", "12", "--database", "codes.npy", "--queries", "queries.npy"];
    for kind in ["one", "hot"] {
        let labels = [
            format!("--database-labels=codes-{kind}.npy"),
            format!("--query-labels=queries-{kind}.npy"),
        ];
        let got = value(&evaluate(&[&codes[..], &[&labels[0], &labels[1]]].concat()));
        assert_eq!(got["map"], expected["map"], "{kind}");
        assert_eq!(got["curves"], expected["curves"]);
    }
    let message = failure(&evaluate(&codes));
    assert!(message.contains("labels"), "{message}");
    let mixed = ["--database-labels=codes-one.npy", "--query-labels=queries-hot.npy"];
    let message = failure(&evaluate(&[&codes[..], &mixed].concat()));
    assert!(message.contains("multi-hot"), "{message}");
    let short = ["--database-labels=queries-one.npy", "--query-labels=queries-one.npy"];
    let message = failure(&evaluate(&[&codes[..], &short].concat()));
    assert!(message.contains("labels"), "{message}");
}

#[test]
fn images_encoded_and_queries_measured_in_parts_are_the_whole() {
    let dir = photos();
    stdout(&train(dir.path(), &["--epochs", "1", "--run-dir", "run"]));
    // The last file, alone in its part, is no image.
    std::fs::write(dir.path().join("photos/zzz.txt"), "no image").unwrap();
    let encode = |args: &[&str]| {
        let words = ["encode", "--run", "run", "--input", "photos", "--json"];
        dhih_train(dir.path(), &[&words[..], args].concat())
    };
    stdout(&encode(&["--out", "whole.safetensors"]));
    let read = |path: &str| std::fs::read(dir.path().join(path)).unwrap();
    let whole = CodeSet::read(dir.path().join("whole.safetensors"), None).unwrap();
    for count in [1, 3, 41, 60] {
        let folder = format!("parts-{count}");
        for number in (1..=count).rev() {
            let shard = format!("{number}/{count}");
            stdout(&encode(&["--out", &folder, "--shard", &shard]));
        }
        let parts = dir.path().join(&folder);
        assert_eq!(CodeSet::read(&parts, None).unwrap(), whole, "{count}");
        let names: Vec<u8> = (1..=count)
            .flat_map(|i| {
                read(&format!("{folder}/part-{i:05}-of-{count:05}.safetensors.files.txt"))
            })
            .collect();
        assert_eq!(names, read("whole.safetensors.files.txt"));
    }
    // Once more: the same bytes.
    let part = "parts-3/part-00002-of-00003.safetensors";
    let before = read(part);
    let report = stdout(&encode(&["--out", "parts-3", "--shard", "2/3"]));
    assert_eq!(read(part), before);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["out"], part);

    let evaluate = |args: &[&str]| {
        dhih_train(dir.path(), &[&["evaluate", "--run", "run", "--json"], args].concat())
    };
    let expected = stdout(&evaluate(&["--topk", "7"]));
    let message = failure(&evaluate(&["--merge", "measured"]));
    assert!(message.contains("measured"), "{message}");
    for shard in ["2/2", "1/2"] {
        stdout(&evaluate(&["--topk", "7", "--shard", shard, "--out", "measured"]));
    }
    assert_eq!(stdout(&evaluate(&["--topk", "7", "--merge", "measured"])), expected);
    let message = failure(&evaluate(&["--merge", "measured"]));
    assert!(message.contains("settings"), "{message}");

    for shard in ["0/0", "0/2", "3/2", "x"] {
        for output in
            [encode(&["--out", "x", "--shard", shard]), evaluate(&["--out", "x", "--shard", shard])]
        {
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains("no part of a job"), "{message}");
        }
    }
    for args in [
        &["--shard", "1/2"][..],
        &["--out", "x"],
        &["--shard", "1/2", "--out", "x", "--merge", "x"],
        &["--shard", "1/2", "--out", "x", "--asymmetric"],
    ] {
        assert_eq!(evaluate(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_run_killed_again_and_again_ends_in_the_same_bytes() {
    let dir = photos();
    let long = [
        "--epochs",
        "40",
        "--ema-decay",
        "0.9",
        "--validation",
        "0.2",
        "--patience",
        "39",
        "--crop-scale",
        "0.5",
    ];
    stdout(&train(dir.path(), &[&long[..], &["--run-dir", "whole"]].concat()));
    let mut milliseconds = 300;
    let mut resumed = false;
    loop {
        let run = dir.path().join("killed");
        let args = match run.join("config.toml").exists() {
            true => vec!["train", "--resume", "killed"],
            false => [&["train"], &SMALL[..], &long[..], &["--run-dir", "killed"]].concat(),
        };
        resumed |= run.join("checkpoint/state.safetensors").exists();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dhih-train"))
            .current_dir(dir.path())
            .args(args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The moments of interruption are unrelated to epochs, and become later each time, so that the run ends on any machine.
        milliseconds = milliseconds * 17 / 16 + 37;
    }
    assert!(resumed, "it was never killed after an epoch");
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES, RunDir::QUERY_VALUES] {
        let [a, b] =
            ["whole", "killed"].map(|run| std::fs::read(dir.path().join(run).join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn a_full_disk_leaves_the_checkpoint_before() {
    let dir = photos();
    stdout(&train(dir.path(), &["--epochs", "1", "--run-dir", "run"]));
    let state = dir.path().join("run/checkpoint/state.safetensors");
    let before = std::fs::read(&state).unwrap();
    // A run that was cut off after its first epoch of two.
    for name in [RunDir::MODEL, RunDir::EVALUATION, RunDir::CODES, RunDir::QUERIES] {
        std::fs::remove_file(dir.path().join("run").join(name)).unwrap();
    }
    let config = dir.path().join("run/config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("epochs = 1\n", "epochs = 2\n");
    std::fs::write(&config, text).unwrap();
    // Files of more than 64 blocks cannot be written, as on a disk that is full.
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} train --resume run",
        env!("CARGO_BIN_EXE_dhih-train")
    );
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    let message = failure(&output);
    assert!(message.contains("state.safetensors") && message.contains("too large"), "{message}");
    assert_eq!(std::fs::read(&state).unwrap(), before);
    stdout(&dhih_train(dir.path(), &["train", "--resume", "run"]));
}
