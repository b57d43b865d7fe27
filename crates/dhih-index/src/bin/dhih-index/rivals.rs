//! Parses the command line so that a flag overrules the environment twins of its rivals: with `DHIH_K` exported, `--radius` is a
//! radius search and not a conflict. Which flags there are, and which of them exclude each other: `cli.rs`.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Command, CommandFactory, FromArgMatches};

use crate::cli::Cli;

/// Parses the words of a command line, the name of the program first.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let command = without_overruled_twins(Cli::command(), &words);
    Cli::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// The command without the environment twins of flags that a flag on the command line excludes.
fn without_overruled_twins(command: Command, words: &[OsString]) -> Command {
    // What is on the command line alone: faults are reported when it is parsed with the environment.
    let alone = command.clone().ignore_errors(true);
    let alone = alone.mut_subcommands(|sub| sub.mut_args(|arg| arg.env(Resettable::Reset)));
    let Ok(matches) = alone.try_get_matches_from(words) else { return command };
    let Some((name, matches)) = matches.subcommand() else { return command };
    let Some(subcommand) = command.find_subcommand(name) else { return command };
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let pairs = rivals(subcommand);
    let overruled: Vec<String> = pairs
        .into_iter()
        .filter(|(typed, other)| is_typed(typed) && !is_typed(other))
        .map(|(_, other)| other)
        .collect();
    command.mut_subcommand(name, |subcommand| {
        overruled.into_iter().fold(subcommand, |subcommand, id| {
            subcommand.mut_arg(id, |arg| arg.env(Resettable::Reset))
        })
    })
}

/// All pairs of flags that exclude each other, each pair in both orders.
fn rivals(command: &Command) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for arg in command.get_arguments() {
        for other in command.get_arg_conflicts_with(arg) {
            pairs.push((arg.get_id().to_string(), other.get_id().to_string()));
        }
    }
    for group in command.get_groups().filter(|group| !(*group).clone().is_multiple()) {
        for (number, arg) in group.get_args().enumerate() {
            let others = group.get_args().take(number);
            pairs.extend(others.map(|other| (arg.to_string(), other.to_string())));
        }
    }
    let swapped = pairs.clone().into_iter().map(|(a, b)| (b, a));
    pairs.extend(swapped);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rivals_of_a_search_are_known() {
        let command = Cli::command();
        let pairs = rivals(command.find_subcommand("search").unwrap());
        for (a, b) in
            [("k", "radius"), ("code", "queries"), ("explain", "label"), ("ids", "explain")]
        {
            for pair in [(a, b), (b, a)] {
                assert!(pairs.contains(&(pair.0.to_owned(), pair.1.to_owned())), "{pair:?}");
            }
        }
        assert!(!pairs.iter().any(|(a, b)| a == b || (a == "k" && b == "code")));
    }

    #[test]
    fn flags_that_exclude_each_other_are_still_refused() {
        let parse = |words: &str| parse(words.split(' ').map(OsString::from));
        assert!(parse("dhih-index search --code 00 -k 1").is_ok());
        assert!(parse("dhih-index search --code 00 -k 1 --radius 2").is_err());
        assert!(parse("dhih-index nonsense").is_err() && parse("dhih-index").is_err());
    }
}
