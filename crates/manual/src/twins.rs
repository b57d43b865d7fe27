//! Parses a command line whose flags have twins among the environment variables, so that an exported twin never makes a command fail that
//! does not need it. Which flags there are, and which of them exclude or need each other, is the program's own definition.
//!
//! The words of the command line come first. A twin counts where it goes together with them:
//!
//! - A flag on the command line overrides the twins of the flags that it excludes: with `DHIH_K` exported, `--radius 3` is a search within
//!   a radius.
//! - A twin that needs a flag which is not there is set aside.
//! - Of two twins that exclude each other, the one whose flag is declared first counts.
//! - Twins of the flags of `program` do not count for `program command`. An empty twin, and a switch that is off, is as good as none.

use std::collections::BTreeSet;
use std::env::var_os;
use std::ffi::OsString;

use clap::builder::{OsStringValueParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::latest::{warn_of_values, with_paths_through_latest};

/// Parses the words of a command line, the name of the program first. Its paths are read by [`through_latest`](crate::through_latest).
/// A path that leads through a `latest` that is a folder is told on stderr: see [`stale_latest`](crate::stale_latest).
///
/// # Errors
/// As [`Command::try_get_matches_from`].
pub fn parse<C: CommandFactory + FromArgMatches>(
    words: impl IntoIterator<Item = OsString>,
) -> Result<C, clap::Error> {
    parse_as(C::command(), words)
}

/// As [`parse`], by a definition that differs from the derived one in its help.
///
/// # Errors
/// As [`parse`].
pub fn parse_as<C: FromArgMatches>(
    command: Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<C, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let command = with_paths_through_latest(with_fitting_twins(command, &words));
    let matches = command.try_get_matches_from(words)?;
    warn_of_values(&matches);
    C::from_arg_matches(&matches)
}

/// The command without the environment twins that do not go together with `words`, or with each other.
pub fn with_fitting_twins(command: Command, words: &[OsString]) -> Command {
    let Some(line) = Line::read(&command, words) else { return command };
    let Some(target) = line.target(&command) else { return command };
    let present: Vec<String> =
        target.get_arguments().filter(|arg| is_exported(arg)).map(id).collect();
    let candidates: Vec<String> =
        present.iter().filter(|id| !line.typed.contains(*id)).cloned().collect();
    let fitting = line.fitting(&command, candidates);
    line.with_twins(command, &fitting)
}

/// What the words of a command line say by themselves.
struct Line<'a> {
    words: &'a [OsString],
    /// The names of the subcommands, from the program downwards.
    path: Vec<String>,
    /// The flags of the last of them that are on the command line.
    typed: BTreeSet<String>,
}

/// Why a command line is refused, as far as twins are concerned.
enum Fault {
    None,
    Conflict,
    /// The flags that are missing.
    Missing(BTreeSet<String>),
}

impl<'a> Line<'a> {
    /// Parses the words without the environment. `None` where they ask for help, or cannot be understood at all: the parser says so then.
    fn read(command: &Command, words: &'a [OsString]) -> Option<Self> {
        let alone = without_twins(command.clone()).ignore_errors(true);
        let matches = alone.try_get_matches_from(words).ok()?;
        let (mut path, mut last): (Vec<String>, &ArgMatches) = (Vec::new(), &matches);
        while let Some((name, matches)) = last.subcommand() {
            path.push(name.to_owned());
            last = matches;
        }
        let is_typed =
            |id: &clap::Id| last.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let typed = last.ids().filter(|id| is_typed(id)).map(ToString::to_string).collect();
        Some(Self { words, path, typed })
    }

    fn target<'c>(&self, command: &'c Command) -> Option<&'c Command> {
        self.path.iter().try_fold(command, |command, name| command.find_subcommand(name))
    }

    /// Of `candidates` those that go together with the words and with each other, the first ones first.
    fn fitting(&self, command: &Command, candidates: Vec<String>) -> Vec<String> {
        let mut missing = match self.fault(command, &candidates) {
            Fault::None => return candidates,
            Fault::Conflict | Fault::Missing(_) => match self.fault(command, &[]) {
                Fault::None => BTreeSet::new(),
                Fault::Missing(missing) => missing,
                // The flags themselves exclude each other, which the parser reports.
                Fault::Conflict => return candidates,
            },
        };
        let mut kept: Vec<String> = Vec::new();
        let mut takes = |kept: &mut Vec<String>, some: &[&String]| {
            let with: Vec<String> = kept.iter().chain(some.iter().copied()).cloned().collect();
            let left = match self.fault(command, &with) {
                Fault::None => BTreeSet::new(),
                Fault::Missing(left) if left.is_subset(&missing) => left,
                Fault::Missing(_) | Fault::Conflict => return false,
            };
            (missing, *kept) = (left, with);
            true
        };
        // One alone, or two that need each other, until no more fits.
        loop {
            let before = kept.len();
            for one in &candidates {
                if kept.contains(one) || takes(&mut kept, &[one]) {
                    continue;
                }
                for other in candidates.iter().filter(|other| *other != one) {
                    if !kept.contains(other) && takes(&mut kept, &[one, other]) {
                        break;
                    }
                }
            }
            if kept.len() == before {
                return kept;
            }
        }
    }

    /// What is wrong with the words and these twins. Values are not looked at.
    fn fault(&self, command: &Command, twins: &[String]) -> Fault {
        let any_value = |arg: Arg| match arg.get_action().takes_values() {
            true => arg.value_parser(OsStringValueParser::new()),
            false => arg,
        };
        let command = self.with_twins(command.clone(), twins);
        let command = at(command, &self.path, &|target| target.mut_args(any_value));
        let Err(error) = command.try_get_matches_from(self.words) else { return Fault::None };
        match error.kind() {
            ErrorKind::ArgumentConflict => Fault::Conflict,
            ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(names)) => {
                    Fault::Missing(names.iter().cloned().collect())
                }
                _ => Fault::Conflict,
            },
            _ => Fault::None,
        }
    }

    /// The command with these twins of its last subcommand, and with no other ones of it and of the commands above it.
    fn with_twins(&self, command: Command, twins: &[String]) -> Command {
        let mut command = command;
        for depth in 0..self.path.len() {
            command = at(command, &self.path[..depth], &|above| {
                // An empty twin of a flag that all commands share is no value of it, either.
                let counts = |arg: &Arg| arg.is_global_set() && is_exported(arg);
                above.mut_args(|arg| if counts(&arg) { arg } else { without_twin(arg) })
            });
        }
        let keep = |arg: Arg| match twins.contains(&id(&arg)) || arg.get_env().is_none() {
            true => arg,
            // A flag on the command line has the last word in any case.
            false if self.typed.contains(&id(&arg)) => arg,
            false => without_twin(arg),
        };
        at(command, &self.path, &|target| target.mut_args(keep))
    }
}

/// The command, changed by `change` at the end of a path of subcommands.
fn at(command: Command, path: &[String], change: &dyn Fn(Command) -> Command) -> Command {
    match path.split_first() {
        None => change(command),
        Some((name, rest)) => command.mut_subcommand(name, |command| at(command, rest, change)),
    }
}

fn without_twins(command: Command) -> Command {
    command.mut_args(without_twin).mut_subcommands(without_twins)
}

fn without_twin(arg: Arg) -> Arg {
    arg.env(Resettable::Reset)
}

fn id(arg: &Arg) -> String {
    arg.get_id().to_string()
}

/// Whether the environment has a value for the flag.
fn is_exported(arg: &Arg) -> bool {
    const OFF: [&str; 6] = ["n", "no", "f", "false", "off", "0"];
    let Some(value) = arg.get_env().and_then(var_os).filter(|value| !value.is_empty()) else {
        return false;
    };
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let text = value.to_string_lossy().to_lowercase();
    !(is_switch && OFF.contains(&&*text))
}
