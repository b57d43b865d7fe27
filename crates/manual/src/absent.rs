//! The help of a program that was built without one of its Cargo features: it offers nothing that is not there.

use clap::{Arg, Command};

/// What a Cargo feature that is off would bring.
#[derive(Debug, Clone, Copy)]
pub struct Absent {
    /// What the help calls it: `.parquet`, for example.
    pub words: &'static [&'static str],
}

impl Absent {
    /// The definition of a program without the feature. Flags that are named after one of the words are hidden, examples with one are left
    /// out, and where the help of another flag has one it says so. All flags still parse: the command itself
    /// refuses what it cannot do, and says which feature is missing.
    pub fn mark(self, command: Command) -> Command {
        let command = command.mut_args(|arg| self.mark_arg(arg));
        let help = command.get_after_help().map(ToString::to_string);
        let command = match help.filter(|help| self.is_named_in(help)) {
            Some(help) => command.after_help(self.without_examples(&help)),
            None => command,
        };
        command.mut_subcommands(|command| self.mark(command))
    }

    fn mark_arg(self, arg: Arg) -> Arg {
        let names = |long: &str| {
            let is_named = |word: &&str| long.split('-').any(|part| part == *word);
            self.words.iter().any(is_named)
        };
        if arg.get_long().is_some_and(names) {
            return arg.hide(true);
        }
        let help = arg.get_help().map(ToString::to_string);
        match help.filter(|help| self.is_named_in(help)) {
            Some(help) => arg.help(self.with_note(&help)),
            None => arg,
        }
    }

    fn is_named_in(self, text: &str) -> bool {
        self.words.iter().any(|word| text.contains(word))
    }

    fn with_note(self, help: &str) -> String {
        let words = self.words.iter().filter(|word| help.contains(**word)).copied();
        format!("{help} (not in this build: {})", words.collect::<Vec<_>>().join(", "))
    }

    fn without_examples(self, help: &str) -> String {
        let lines = help.lines().filter(|line| !self.is_named_in(line));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Absent = Absent { words: &[".parquet", "arrow"] };

    fn command() -> Command {
        let write = Command::new("write")
            .arg(Arg::new("out").long("out").help("File to write, .npy or .parquet"))
            .arg(Arg::new("arrow-out").long("arrow-out").help("Write a stream"))
            .arg(Arg::new("narrow").long("narrow").help("Write less"))
            .after_help(
                "Examples:\n  write --out a.npy\n  write --out a.parquet\n  write --arrow-out",
            );
        Command::new("program").subcommand(write)
    }

    fn help(command: Command) -> String {
        let mut command = command;
        command.build();
        command.find_subcommand_mut("write").unwrap().render_help().to_string()
    }

    #[test]
    fn the_help_names_what_is_missing_and_keeps_the_rest() {
        let (whole, marked) = (help(command()), help(ABSENT.mark(command())));
        assert!(whole.contains("--arrow-out") && whole.contains("a.parquet"), "{whole}");
        assert!(!marked.contains("arrow-out") && !marked.contains("a.parquet"), "{marked}");
        let note = "File to write, .npy or .parquet (not in this build: .parquet)";
        assert!(marked.contains(note), "{marked}");
        assert!(marked.contains("--narrow") && marked.contains("write --out a.npy"), "{marked}");
    }

    #[test]
    fn a_hidden_flag_still_parses() {
        let words = ["program", "write", "--arrow-out", "x"];
        assert!(ABSENT.mark(command()).try_get_matches_from(words).is_ok());
    }
}
