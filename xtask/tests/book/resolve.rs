//! Whether the settings of a training command go together, where the command itself cannot run here: `--print-config` resolves all of them
//! and trains nothing. That its flags exist at all is seen in `help.rs`.

use std::path::Path;
use std::process::{Command, Stdio};

use super::command::{Call, calls};

/// What is wrong with the settings of the training commands of a block.
pub(crate) fn check(programs: &Path, block: &str) -> Result<(), String> {
    for call in calls(block)?.iter().filter(|call| trains(call)) {
        let words: Vec<String> = call.words.iter().map(|word| value(word, block)).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(programs.join(&call.program));
        let own =
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DHIH_"));
        for (name, _) in own {
            command.env_remove(name);
        }
        command.current_dir(folder.path()).args(&words).arg("--print-config").stdin(Stdio::null());
        let output = command.output().unwrap();
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{} {}: {message}", call.program, words.join(" ")));
        }
    }
    Ok(())
}

/// Whether a call trains, and from its beginning: a run to go on with is not there.
fn trains(call: &Call) -> bool {
    let first = call.words.first().map_or("train", String::as_str);
    let is_training = first.starts_with("--") || ["train", "sweep"].contains(&first);
    let other = ["--resume", "--help", "--version"];
    let goes_on = call.words.iter().any(|word| other.contains(&&**word));
    call.program == "dhih-train" && is_training && !goes_on
}

/// A word, or for a variable of a `for` loop the first of its values.
fn value(word: &str, block: &str) -> String {
    let of_loop = |name: &str| {
        let after = block.split_once(&format!("for {name} in "))?.1;
        after.split([' ', ';']).next().map(str::to_owned)
    };
    word.strip_prefix('$').and_then(of_loop).unwrap_or_else(|| word.to_owned())
}
