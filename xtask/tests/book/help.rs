//! What the programs say they understand: subcommands and flags, from `--help`. A call whose words are not among them is a
//! mistake on the page, whether or not it can be run here. What a feature brings to `dhih-serve` is in no help of the programs that
//! plain tests build: it is looked for in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::{Call, PROGRAMS};

/// The words of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Words {
    subcommands: BTreeSet<String>,
    /// With their dashes.
    flags: BTreeSet<String>,
    /// Whether it takes words that are no flags.
    free: bool,
}

/// The program that has features with words of their own.
const FEATURED: &str = "dhih-serve";

/// The programs, asked once each.
#[derive(Debug)]
pub(crate) struct Help {
    folder: PathBuf,
    known: BTreeMap<Vec<String>, Words>,
    /// Of the program with features.
    sources: String,
}

impl Help {
    /// Of the programs in a folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut sources = String::new();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        append(&crates.join(FEATURED).join("src"), &mut sources);
        Self { folder: folder.to_path_buf(), known: BTreeMap::new(), sources }
    }

    /// Sees that subcommand and flags exist.
    pub(crate) fn check(&mut self, call: &Call) -> Result<(), String> {
        let mut path = vec![call.program.clone()];
        let mut known = self.ask(&path)?;
        let mut words = call.words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next_if(|word| known.subcommands.contains(*word)) {
            path.push(word.to_owned());
            known = self.ask(&path)?;
        }
        let none = path.len() == 1;
        if let Some(word) = words.next_if(|word| none && self.brings_command(&path[0], word)) {
            path.push(word.to_owned());
            known = Words::default();
        }
        let named = path.join(" ");
        let mut first = true;
        for word in words {
            let flag = word.split('=').next().unwrap_or(word);
            let short: String = flag.chars().take(2).collect();
            match word {
                // An elision, and a value that is a number below zero.
                "..." | "-" => {}
                _ if short.ends_with(|c: char| c.is_ascii_digit()) && short.starts_with('-') => {}
                _ if path[0] == FEATURED && self.brings_flag(flag) => {}
                _ if flag.starts_with("--") && !known.flags.contains(flag) => {
                    return Err(format!("{named} knows no flag {flag}"));
                }
                _ if flag.starts_with("--") => {}
                _ if flag.starts_with('-') && !known.flags.contains(&short) => {
                    return Err(format!("{named} knows no flag {short}"));
                }
                // A word after a flag may be its value; the first one can only be a command or free.
                _ if first && !flag.starts_with('-') && !known.free => {
                    return Err(format!("{named} knows no command {word}"));
                }
                _ => {}
            }
            first = false;
        }
        Ok(())
    }

    /// Sees that flags which stand alone in running text are those of any command; `--features` is cargo's.
    pub(crate) fn check_flags(&mut self, code: &str) -> Result<(), String> {
        let mut flags = BTreeSet::from(["--features".to_owned()]);
        for program in PROGRAMS.into_iter().chain(["xtask"]) {
            let path = vec![program.to_owned()];
            let words = self.ask(&path)?;
            flags.extend(words.flags);
            for subcommand in words.subcommands.into_iter().filter(|word| word != "help") {
                flags.extend(self.ask(&[path.clone(), vec![subcommand]].concat())?.flags);
            }
        }
        let known = |word: &str| flags.contains(word) || self.brings_flag(word);
        let unknown = code.split([' ', '=']).find(|word| word.starts_with("--") && !known(word));
        unknown.map_or(Ok(()), |flag| Err(format!("no program knows a flag {flag}")))
    }

    /// The flags of a program, without those of its subcommands.
    pub(crate) fn flags(&mut self, program: &str) -> Result<BTreeSet<String>, String> {
        Ok(self.ask(&[program.to_owned()])?.flags)
    }

    /// Whether the sources have a subcommand of this name.
    fn brings_command(&self, program: &str, word: &str) -> bool {
        let mut letters = word.chars();
        let name: String = letters.next().iter().flat_map(|letter| letter.to_uppercase()).collect();
        program == FEATURED && self.sources.contains(&format!("\n    {name}{}(", letters.as_str()))
    }

    /// Whether the sources have the flag's twin among the environment variables, which every flag has.
    fn brings_flag(&self, flag: &str) -> bool {
        let name = flag.strip_prefix("--").unwrap_or("-").to_uppercase().replace('-', "_");
        self.sources.contains(&format!("\"DHIH_{name}\""))
    }

    fn ask(&mut self, path: &[String]) -> Result<Words, String> {
        if let Some(words) = self.known.get(path) {
            return Ok(words.clone());
        }
        let program = self.folder.join(&path[0]);
        let output = Command::new(&program).args(&path[1..]).arg("--help").output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        if !output.status.success() {
            return Err(format!("`{} --help` fails", path.join(" ")));
        }
        let words = read(&String::from_utf8_lossy(&output.stdout));
        self.known.insert(path.to_vec(), words.clone());
        Ok(words)
    }
}

/// All Rust sources of a folder, one after the other.
fn append(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append(&path, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            *sources += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// A page of help, as clap lays it out.
fn read(help: &str) -> Words {
    let mut words = Words::default();
    let mut section = "";
    for line in help.lines() {
        if !line.starts_with(' ') && line.ends_with(':') {
            section = line;
        }
        let text = line.trim_start();
        match section {
            "Commands:" if line.starts_with("  ") && !line.starts_with("   ") => {
                words.subcommands.extend(text.split(' ').next().map(str::to_owned));
            }
            "Arguments:" => words.free = true,
            _ if text.starts_with('-') => {
                let declared = text.split("  ").next().unwrap_or_default();
                let flags =
                    declared.split([' ', ',', '=', '[']).filter(|word| word.starts_with('-'));
                words.flags.extend(flags.map(str::to_owned));
            }
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_feature_brings_stands_in_the_sources() {
        let help = Help {
            folder: "no/such/folder".into(),
            known: BTreeMap::new(),
            sources: "enum C {\n    Load(LoadArgs),\n}\nenv = \"DHIH_STORE_CA\"".to_owned(),
        };
        assert!(help.brings_command("dhih-serve", "load") && help.brings_flag("--store-ca"));
        assert!(!help.brings_command("dhih-serve", "laod"));
        assert!(!help.brings_command("dhih-index", "load"));
        assert!(!help.brings_flag("--store") && !help.brings_flag("-s"));
    }

    #[test]
    fn help_is_read_as_clap_writes_it() {
        let help = "Does.\n\nUsage: p [OPTIONS] <NAME>\n\nCommands:\n  build     Build\n              it --not\n  help      Print\n\n\
                    Arguments:\n  <NAME>  Who\n\nOptions:\n  -k <N>             Find\n      --label <L>    Only --these\n      --dry[=<BOOL>]\n          Not at all\n  -h, --help         Print\n";
        let words = read(help);
        let set = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(words.subcommands, set(&["build", "help"]));
        assert_eq!(words.flags, set(&["-k", "--label", "--dry", "-h", "--help"]));
        assert!(words.free);
        assert!(!read("Options:\n  -k <N>  Find\n").free);
    }
}
