//! `demo` with scripts in place of the binaries: the order of the steps, what is printed, and failures.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{fail, stderr, stdout, succeed, xtask};

/// Scripts that note their arguments and answer as the binaries do.
struct Binaries(tempfile::TempDir);

impl Binaries {
    fn new() -> Self {
        let binaries = Self(tempfile::tempdir().unwrap());
        let run = binaries.path("run");
        fs::create_dir(&run).unwrap();
        let trained =
            format!(r#"{{"run":"{}","seconds":1,"evaluation":{{"map":0.97}}}}"#, run.display());
        binaries.script("dhih-train", &format!("echo '{trained}'"));
        let index = r#"case "$1" in
inspect) echo '{"codes":3}' ;;
search) printf '%s\n' '{"query":0,"hits":[]}' '{"query":1,"hits":[]}' '{"query":2,"hits":[]}' '{"query":3,"hits":[]}' ;;
*) echo built ;;
esac"#;
        binaries.script("dhih-index", index);
        binaries.script("dhih-serve", "echo http://127.0.0.1:1");
        binaries
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        let log = self.path("log");
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >> '{}'\n{body}\n", log.display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> Vec<String> {
        let run = self.path("run").display().to_string();
        fs::read_to_string(self.path("log"))
            .unwrap()
            .replace(&run, "RUN")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn demo(&self) -> Command {
        let mut command = xtask("demo");
        command.arg("--bin-dir").arg(self.0.path());
        command
    }
}

#[test]
fn json_is_alone_on_stdout_and_the_steps_come_in_order() {
    let binaries = Binaries::new();
    let output =
        succeed(binaries.demo().args(["--no-serve", "--json", "--seed", "7", "--bits", "32"]));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["run"], binaries.path("run").display().to_string());
    assert_eq!(report["evaluation"]["map"], 0.97);
    assert_eq!(report["index"]["codes"], 3);
    for step in ["train", "build", "search", "total"] {
        assert!(
            report["seconds"][step].as_f64().is_some_and(|seconds| seconds >= 0.0),
            "{step}: {report}"
        );
    }
    let expected = [
        "dhih-train train --dataset demo --seed 7 --bits 32 --json",
        "dhih-index build --codes RUN/codes.safetensors --out RUN/index",
        "dhih-index search --index RUN/index --queries RUN/queries.safetensors -k 5 --json",
        "dhih-index inspect --index RUN/index --json",
    ];
    assert_eq!(binaries.log(), expected);
}

#[test]
fn with_serving_the_url_is_the_last_line() {
    let binaries = Binaries::new();
    let output = succeed(binaries.demo().args(["--json", "--bind", "127.0.0.1:0"]));
    let printed = stdout(&output);
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert_eq!(printed.lines().last(), Some("http://127.0.0.1:1"));
    assert_eq!(binaries.log().last().unwrap(), "dhih-serve --run RUN --bind 127.0.0.1:0");
}

#[test]
fn a_failing_step_is_named_and_its_exit_code_passed_on() {
    for (binary, body, code, expected) in [
        ("dhih-train", "exit 7", 7, "step `train` failed"),
        ("dhih-train", "kill -9 $$", 1, "step `train` failed"),
        ("dhih-train", "echo hello", 1, "step `train` printed something else"),
        (
            "dhih-train",
            r#"echo '{"run":"no/run","evaluation":{}}'"#,
            1,
            "no/run, which does not exist",
        ),
        ("dhih-index", "[ $1 = build ] && exit 3", 3, "step `index` failed"),
        ("dhih-index", "[ $1 = search ] && exit 4; echo '{}'", 4, "step `search` failed"),
        ("dhih-index", "[ $1 = inspect ] && echo '{}'; exit 0", 1, "answered no query"),
        (
            "dhih-index",
            "[ $1 = inspect ] && echo no; [ $1 = search ] && echo '{}'; exit 0",
            1,
            "step `inspect` printed",
        ),
        ("dhih-serve", "exit 5", 5, "$ "),
    ] {
        let binaries = Binaries::new();
        binaries.script(binary, body);
        let error = fail(binaries.demo().arg("--json"), code);
        assert!(error.contains(expected), "{binary} {body}: {error}");
    }
}

#[test]
fn a_binary_that_is_not_there_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = fail(xtask("demo").arg("--json").arg("--bin-dir").arg(empty.path()), 1);
    assert!(error.contains("cannot start") && error.contains("dhih-train"), "{error}");
}

#[test]
fn without_json_each_command_line_comes_before_its_output() {
    let binaries = Binaries::new();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("runs/first")).unwrap();
    fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    binaries.script("dhih-train", "echo 'run         runs/first'; echo trained");
    let output = succeed(in_workspace(binaries.demo().arg("--no-serve"), root.path()));
    let printed = stdout(&output);
    let place = |text: &str| printed.find(text).unwrap_or_else(|| panic!("{text}: {printed}"));
    assert!(place("dhih-train train --dataset demo\n") < place("\ntrained\n"));
    assert!(
        place("dhih-index build --codes runs/first/codes.safetensors --out runs/first/index")
            < place("\nbuilt\n")
    );
    assert!(place("\"query\":2") < place("... 4 queries answered"));
    assert!(!printed.contains("\"query\":3"), "{printed}");
    assert!(
        printed
            .lines()
            .last()
            .unwrap()
            .contains("dhih-serve --run runs/first --bind 127.0.0.1:7878"),
        "{printed}"
    );

    binaries.script("dhih-train", "echo trained");
    let error = fail(in_workspace(&mut binaries.demo(), root.path()), 1);
    assert!(error.contains("step `train` printed no line with its run directory"), "{error}");
}

/// `DHIH_RUNS_DIR` and others send the run elsewhere. The demo then served what `runs/latest` had been before.
#[test]
fn a_run_that_the_environment_puts_elsewhere_is_the_one_that_is_served() {
    let binaries = Binaries::new();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("runs/old")).unwrap();
    std::os::unix::fs::symlink("old", root.path().join("runs/latest")).unwrap();
    fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    let train = r#"mkdir -p "$DHIH_RUNS_DIR/new run"; echo "run         $DHIH_RUNS_DIR/new run""#;
    binaries.script("dhih-train", train);
    let mut demo = binaries.demo();
    succeed(in_workspace(demo.env("DHIH_RUNS_DIR", "elsewhere"), root.path()));
    let log = binaries.log();
    assert_eq!(log.last().unwrap(), "dhih-serve --run elsewhere/new run --bind 127.0.0.1:7878");
    assert!(log.iter().all(|call| !call.contains("latest") && !call.contains("old")), "{log:?}");
}

#[test]
fn outside_a_workspace_it_says_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let error = fail(in_workspace(&mut xtask("tidy"), nowhere.path()), 1);
    assert!(error.contains("no Cargo workspace"), "{error}");
}

fn in_workspace<'a>(command: &'a mut Command, root: &Path) -> &'a mut Command {
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(root)
}

#[test]
fn tidy_prints_all_findings_and_fails() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    succeed(in_workspace(&mut xtask("tidy"), root.path()));
    fs::write(root.path().join("a.rs"), "fn a() {}\n").unwrap();
    fs::write(root.path().join("b.rs"), "fn b() {}\n").unwrap();
    let output = in_workspace(&mut xtask("tidy"), root.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).starts_with("a.rs:1: ") && stdout(&output).contains("\nb.rs:1: "),
        "{}",
        stdout(&output)
    );
    assert!(stderr(&output).contains("2 to mend"));
    let json = in_workspace(xtask("tidy").arg("--json"), root.path()).output().unwrap();
    let findings: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(findings["findings"][1]["file"], "b.rs");
    assert_eq!(json.status.code(), Some(1));
}
