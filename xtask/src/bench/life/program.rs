//! A `dhih-index` program that `bench life` measures, the one of this tree or an older one: its commands, and what to do where it
//! lacks a newer one. Which commands are run in what order: `life.rs`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::files;
use crate::step::Step;
use crate::workspace::Workspace;

/// Bytes of ids in one argument. Linux refuses an argument of 128 KiB or more.
const ARGUMENT_BYTES: usize = 120_000;
/// Arguments of ids in one call, about 1 MB together: Linux allows 2 MB of arguments and environment.
const ARGUMENTS: usize = 8;

/// A program under measurement.
pub(super) struct Program {
    /// How the output calls it.
    pub(super) name: &'static str,
    path: PathBuf,
    workspace: Workspace,
    /// Whether it has the command `upsert`.
    has_upsert: bool,
    /// Whether its `remove` reads ids from a file.
    has_ids_file: bool,
}

/// Microseconds a query.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What `dhih-index bench --json` prints, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) codes: usize,
    /// Mean distance of the last hit.
    pub(super) reached: f64,
    pub(super) search: Times,
    pub(super) flat: FlatTimes,
}

/// A scan of all codes without an index.
#[derive(Debug, Deserialize)]
pub(super) struct FlatTimes {
    /// Microseconds a query, one query at a time.
    pub(super) one: f64,
}

/// What an index consists of, as far as `dhih-index inspect --json` tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Number of data files.
    pub(super) segments: usize,
    /// Items that are in the log and in no data file.
    pub(super) logged: usize,
    /// Items that were removed and are still in a data file.
    pub(super) deleted: usize,
}

impl Program {
    /// Asks the program for its help, to learn which commands it has.
    pub(super) fn new(name: &'static str, path: &Path, workspace: &Workspace) -> Result<Self> {
        let (path, workspace) = (path.to_path_buf(), workspace.clone());
        let mut program = Self { name, path, workspace, has_upsert: false, has_ids_file: false };
        let commands = program.step(&["--help"]).capture()?;
        program.has_upsert =
            commands.lines().any(|line| line.split_whitespace().next() == Some("upsert"));
        program.has_ids_file =
            program.step(&["remove", "--help"]).capture()?.contains("--ids-file");
        Ok(program)
    }

    pub(super) fn build(&self, codes: &Path, index: &Path) -> Result<()> {
        self.call(&["build", "--bits", "64", "--codes", text(codes)?, "--out", text(index)?])
    }

    pub(super) fn add(&self, codes: &Path, index: &Path) -> Result<()> {
        self.call(&["add", "--codes", text(codes)?, "--index", text(index)?])
    }

    pub(super) fn compact(&self, index: &Path) -> Result<()> {
        self.call(&["compact", "--index", text(index)?])
    }

    /// Removes items in one call, or in as many as their ids need on command lines.
    pub(super) fn remove(&self, ids: &[u64], index: &Path) -> Result<()> {
        if self.has_ids_file {
            let file = index.with_extension("ids.txt");
            files::write_ids(&file, ids)?;
            return self.call(&["remove", "--ids-file", text(&file)?, "--index", text(index)?]);
        }
        for lists in id_lists(ids).chunks(ARGUMENTS) {
            let lists = lists.iter().flat_map(|list| ["--ids", list]);
            let words: Vec<&str> =
                ["remove", "--index", text(index)?].into_iter().chain(lists).collect();
            self.call(&words)?;
        }
        Ok(())
    }

    /// Gives an item another code; the file holds its id and the code.
    pub(super) fn update(&self, id: u64, item: &Path, index: &Path) -> Result<()> {
        if self.has_upsert {
            return self.call(&["upsert", "--codes", text(item)?, "--index", text(index)?]);
        }
        self.remove(&[id], index)?;
        self.add(item, index)
    }

    /// The commands that [`Self::remove`] and [`Self::update`] come down to.
    pub(super) fn means(&self) -> [&'static str; 2] {
        [
            if self.has_ids_file { "remove --ids-file" } else { "remove --ids, many calls" },
            if self.has_upsert { "upsert" } else { "remove, then add" },
        ]
    }

    pub(super) fn state(&self, index: &Path) -> Result<State> {
        #[derive(Deserialize)]
        struct Info {
            segments: Vec<serde::de::IgnoredAny>,
            logged: usize,
            deleted: usize,
        }
        let info: Info =
            self.step(&["inspect", "--json", "--index", text(index)?]).capture_json()?;
        let Info { segments, logged, deleted } = info;
        Ok(State { segments: segments.len(), logged, deleted })
    }

    /// Searches for the 10 nearest neighbours of each query, once.
    pub(super) fn measure(&self, queries: &Path, index: &Path) -> Result<Measured> {
        let words = ["bench", "-k", "10", "--rounds", "1", "--json"];
        let files = ["--queries", text(queries)?, "--index", text(index)?];
        self.step(&[&words[..], &files].concat()).env("RAYON_NUM_THREADS", "1").capture_json()
    }

    fn call(&self, words: &[&str]) -> Result<()> {
        self.step(words).capture().map(drop)
    }

    fn step(&self, words: &[&str]) -> Step {
        Step::new(self.name, &self.path, &self.workspace).args(words.iter().copied())
    }
}

/// The ids as texts separated by commas, each short enough for one argument.
fn id_lists(ids: &[u64]) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for id in ids {
        let id = id.to_string();
        match lists.last_mut() {
            Some(list) if list.len() + 1 + id.len() <= ARGUMENT_BYTES => {
                list.push(',');
                list.push_str(&id);
            }
            _ => lists.push(id),
        }
    }
    lists
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ids_are_short_enough_and_lose_none() {
        assert!(id_lists(&[]).is_empty());
        let ids: Vec<u64> = (1_000_000..1_040_000).collect();
        let lists = id_lists(&ids);
        assert!(lists.len() > 1 && lists.iter().all(|list| list.len() <= ARGUMENT_BYTES));
        let parsed = lists.iter().flat_map(|list| list.split(','));
        let parsed: Vec<u64> = parsed.map(|id| id.parse().unwrap()).collect();
        assert_eq!(parsed, ids);
    }
}
