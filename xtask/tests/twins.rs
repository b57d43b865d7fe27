//! A variable that was exported for one command made another one fail: with `DHIH_BITS` set for training, `dhih-train evaluate` was a usage
//! error, since its own `--bits` needs a flag that was not there, and `DHIH_OUT` was a codes file, a folder and a page. Here all twins of all
//! commands are set at once, and every command of every program must still understand its command line.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAMS: [&str; 3] = ["dhih-train", "dhih-index", "dhih-serve"];

/// Values that the flags accept, by the word that stands for their value in the help.
const VALUES: [(&str, &str); 20] = [
    ("I/N", "1/2"),
    ("IDS", "1"),
    ("HEX", "00"),
    ("SIZE", "1GiB"),
    ("ADDR", "127.0.0.1:0"),
    ("NAME=VALUE", "a=1"),
    ("NAME=V1,V2,...", "bits=16"),
    ("N", "1"),
    ("K", "8"),
    ("X", "1"),
    ("R", "1"),
    ("L", "1"),
    ("M", "1"),
    ("S", "1"),
    ("MS", "1"),
    ("MIB", "1"),
    ("PIXELS", "8"),
    ("EPOCHS", "1"),
    ("NUMBERS", "1,2"),
    ("DTYPE", "f32"),
];

/// A flag with a twin, as the help shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Twin {
    variable: String,
    /// The word for its value; none for a switch.
    value: Option<String>,
    /// The first of the values that are listed.
    first: Option<String>,
}

fn programs() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    for program in PROGRAMS {
        let made = folder.join(program).is_file();
        assert!(made, "{program} is not built; run `cargo test --workspace --no-run` before");
    }
    folder.to_path_buf()
}

fn run(words: &[String], twins: &BTreeMap<String, String>, folder: &Path) -> Output {
    let mut command = Command::new(programs().join(&words[0]));
    let own = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DHIH_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    // Wide enough that no line of a help text is broken.
    command.env("COLUMNS", "1000");
    command.args(&words[1..]).envs(twins).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

fn help(words: &[String]) -> String {
    let words = [words, &["--help".to_owned()]].concat();
    let output = run(&words, &BTreeMap::new(), Path::new("/"));
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The command and all below it.
fn commands(words: &[String]) -> Vec<Vec<String>> {
    let help = help(words);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        name.split(' ').next().filter(|name| *name != "help")
    });
    let below = names.flat_map(|name| commands(&[words, &[name.to_owned()]].concat()));
    std::iter::once(words.to_vec()).chain(below).collect()
}

/// The twins in a help text. Flags are told apart by their first line, `--flag <VALUE>`.
fn twins(help: &str) -> BTreeSet<Twin> {
    let mut found = BTreeSet::new();
    let mut declared = "";
    let mut first = None;
    for line in help.lines() {
        let text = line.trim_start();
        if text.starts_with('-')
            || text.starts_with('<')
            || text.starts_with('[') && text.ends_with(']') && !text.contains(':')
        {
            (declared, first) = (text, None);
        }
        if let Some((_, values)) = text.split_once("[possible values: ") {
            first = values.split([',', ']']).next().map(str::to_owned);
        } else if let Some(value) = text.strip_prefix("- ").and_then(|t| t.split(':').next()) {
            first.get_or_insert_with(|| value.to_owned());
        }
        if let Some((_, rest)) = text.split_once("[env: ") {
            let variable = rest.split(['=', ']']).next().unwrap().to_owned();
            let value = declared.split_once('<').and_then(|(_, rest)| rest.split('>').next());
            let value = value.filter(|value| *value != "BOOL").map(str::to_owned);
            found.insert(Twin { variable, value, first: first.clone() });
        }
    }
    found
}

/// A value that the flag takes.
fn value(twin: &Twin) -> String {
    let Some(word) = &twin.value else { return "true".to_owned() };
    let known = VALUES.iter().find(|(name, _)| name == word).map(|(_, value)| (*value).to_owned());
    twin.first.clone().or(known).unwrap_or_else(|| "nowhere".to_owned())
}

#[test]
fn all_twins_at_once_break_no_command() {
    let mut all = BTreeMap::new();
    let every: Vec<Vec<String>> =
        PROGRAMS.iter().flat_map(|program| commands(&[(*program).to_owned()])).collect();
    for words in &every {
        all.extend(twins(&help(words)).iter().map(|twin| (twin.variable.clone(), value(twin))));
    }
    assert!(every.len() > 25 && all.len() > 100, "{} commands, {} twins", every.len(), all.len());
    for words in &every {
        let folder = tempfile::tempdir().unwrap();
        let output = run(words, &all, folder.path());
        let message = String::from_utf8_lossy(&output.stderr);
        for fault in ["cannot be used with", "required arguments were not provided"] {
            assert!(!message.contains(fault), "{words:?}: {message}");
        }
    }
}

#[test]
fn a_twin_means_the_same_in_all_commands_of_a_program() {
    for program in PROGRAMS {
        let mut meanings: BTreeMap<String, Option<String>> = BTreeMap::new();
        for words in commands(&[program.to_owned()]) {
            for twin in twins(&help(&words)) {
                // A file is also given by a path that may name a folder of parts.
                let value = twin.value.map(|value| value.replace("FILE", "PATH"));
                let before = meanings.insert(twin.variable.clone(), value.clone());
                let same = before.as_ref().is_none_or(|before| *before == value);
                assert!(same, "{words:?}: {} is {value:?} and {before:?}", twin.variable);
            }
        }
    }
}
