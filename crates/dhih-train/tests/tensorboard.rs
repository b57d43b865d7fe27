//! TensorBoard reads the events of a run. Ignored where it is not installed: `DHIH_PYTHON` names a Python that has it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::process::Command;

use dhih_train::RunDir;

const SCRIPT: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
";

#[test]
#[ignore = "needs DHIH_PYTHON, a Python with tensorboard"]
fn tensorboard_reads_what_the_log_says() {
    let python = std::env::var("DHIH_PYTHON").expect("DHIH_PYTHON names no Python");
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let args = [
        "train",
        "--dataset",
        "demo",
        "--demo-images",
        "2000",
        "--epochs",
        "2",
        "--validation",
        "0.1",
    ];
    let trained = Command::new(env!("CARGO_BIN_EXE_dhih-train"))
        .args(args)
        .arg("--run-dir")
        .arg(&run)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let output = Command::new(python).args(["-c", SCRIPT]).arg(run.join("tb")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let records = RunDir::open(&run).unwrap().read_metrics().unwrap();
    assert_eq!(records.len(), 2);
    for (i, record) in records.iter().enumerate() {
        for (tag, value) in [
            ("train/loss", record.loss),
            ("train/learning_rate", record.learning_rate),
            ("train/images_per_second", record.images_per_second),
            ("validation/map", record.validation_map.unwrap()),
        ] {
            // TensorBoard keeps 32 bits; the last digit of a number may be lost on its way through JSON.
            let shown = read[tag][i][1].as_f64().map(|shown| shown as f32);
            assert_eq!(read[tag][i][0], record.epoch, "{tag}: {read}");
            assert_eq!(shown, Some(value as f32), "{tag}: {read}");
        }
    }
}
