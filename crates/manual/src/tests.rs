//! Pages and completions name what the program has; what cannot be written is told.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use clap::{CommandFactory, Parser};

use super::*;

/// Counts things.
#[derive(Debug, Parser)]
#[command(name = "count", version)]
struct Cli {
    #[command(subcommand)]
    command: Words,
}

#[derive(Debug, Subcommand)]
enum Words {
    /// Count sheep
    Sheep {
        /// How many at most
        #[arg(long)]
        most: Option<u32>,
    },
    #[command(flatten)]
    Manual(Manual),
}

fn manual(words: &[&str]) -> Manual {
    match Cli::try_parse_from([&["count"], words].concat()).unwrap().command {
        Words::Manual(manual) => manual,
        other => panic!("{other:?}"),
    }
}

fn printed(words: &[&str]) -> String {
    let mut printed = Vec::new();
    manual(words).run(Cli::command(), &mut printed).unwrap();
    String::from_utf8(printed).unwrap()
}

/// Takes nothing.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn completions_of_each_shell_know_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for word in ["count", "sheep", "most", "completions"] {
            assert!(script.contains(word), "{shell}: no {word}\n{script}");
        }
    }
    assert!(Cli::try_parse_from(["count", "completions", "no-shell"]).is_err());
}

#[test]
fn the_page_is_printed_and_each_command_has_its_own_in_a_folder() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH count 1") && page.contains("Counts things"), "{page}");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/man1");
    assert_eq!(printed(&["man", "--out", out.to_str().unwrap()]), "");
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["count-completions.1", "count-man.1", "count-sheep.1", "count.1"]);
    let sheep = fs::read_to_string(out.join("count-sheep.1")).unwrap();
    assert!(sheep.contains("How many at most"), "{sheep}");
}

#[test]
fn what_cannot_be_written_is_told_and_a_reader_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let blocked = manual(&["man", "--out", file.to_str().unwrap()]);
    let error = blocked.run(Cli::command(), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("--out"), "{error}");

    let print = |kind| manual(&["man"]).run(Cli::command(), &mut Closed(kind));
    let error = print(io::ErrorKind::StorageFull).unwrap_err().to_string();
    assert!(error.starts_with("cannot print"), "{error}");
    print(io::ErrorKind::BrokenPipe).unwrap();
}
