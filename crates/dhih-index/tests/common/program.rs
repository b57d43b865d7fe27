//! Runs the program `dhih-index` in a folder, without the environment twins of flags that the tests themselves were started with.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-index"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DHIH_"))
    {
        command.env_remove(name);
    }
    command.args(words).current_dir(dir);
    command
}

pub fn run(dir: &Path, words: &[&str]) -> Output {
    command(dir, words).output().unwrap()
}

/// What a command that succeeds prints.
pub fn stdout(dir: &Path, words: &[&str]) -> String {
    let output = run(dir, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a command that fails with this exit code, and prints nothing on stdout.
pub fn failure(dir: &Path, words: &[&str], code: i32) -> String {
    let output = run(dir, words);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {message}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{message}");
    message
}

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
