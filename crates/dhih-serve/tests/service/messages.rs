//! Snapshots of all help texts and errors in `snapshots/`, because they once differed in style between commands and changed unnoticed.
//! `INSTA_UPDATE=always cargo nextest run -p dhih-serve -E 'test(messages)'` accepts intended changes. CONTRIBUTING.md describes the style.

use std::process::Stdio;

use insta::assert_snapshot;

use crate::common::program;

/// The output of a command, with its arguments and exit code.
fn told(words: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pointer")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1234567\n";
    std::fs::write(dir.path().join("pointer/model.safetensors"), pointer).unwrap();
    let mut command = program();
    command.args(words.split_whitespace()).current_dir(dir.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let code = output.status.code().unwrap();
    format!("$ dhih-serve {words}\n{out}{err}[exit code {code}]\n")
}

#[test]
fn help() {
    // The feature adds flags and a command.
    let name = if cfg!(feature = "postgres") { "help_serve_postgres" } else { "help_serve" };
    assert_snapshot!(name, told("--help"));
    assert_snapshot!("help_import", told("import --help"));
    assert_snapshot!("help_keys", told("keys --help"));
}

#[test]
fn failures() {
    let told: String = [
        "--port 1",
        "--bind 0.0.0.0:0",
        "--tls-cert c.pem",
        "--config absent.toml",
        "--log-level off --run absent",
        "--log-level off --run pointer",
        "import --run absent",
    ]
    .map(told)
    .join("\n");
    assert_snapshot!(told);
}
