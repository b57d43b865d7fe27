//! The first build of the demo's programs: how many minutes it takes, told before it begins, and whether it has Parquet.

use std::env::{self, consts::EXE_SUFFIX};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// What a build of a program costs, beyond the crates that the builds before it in the demo have made.
struct Cost {
    program: &'static str,
    /// Seconds of one processor core, over all crates.
    cpu_seconds: u32,
    /// The part of them that no second core shortens: crates that wait for one another.
    chain_seconds: u32,
}

/// Measured from an empty folder on two cores of an AMD EPYC with AVX-512 (Zen 5), processor time and time; the chain follows from both. In
/// the order in which the demo builds them.
const COSTS: [Cost; 3] = [
    Cost { program: "dhih-train", cpu_seconds: 370, chain_seconds: 90 },
    Cost { program: "dhih-index", cpu_seconds: 10, chain_seconds: 5 },
    Cost { program: "dhih-serve", cpu_seconds: 180, chain_seconds: 30 },
];

/// What to tell before these programs are built, if one of them never was. `None` where all are there: only what has changed is built then.
pub(crate) fn notice(programs: &[&str]) -> Option<String> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    notice_in(&folder()?, programs, cores)
}

/// Whether a build has compiled the crate `parquet` for the programs already.
pub(crate) fn has_parquet() -> bool {
    folder().is_some_and(|folder| has_parquet_in(&folder))
}

/// Where cargo puts the programs, xtask among them.
fn folder() -> Option<PathBuf> {
    Some(env::current_exe().ok()?.parent()?.to_owned())
}

fn has_parquet_in(folder: &Path) -> bool {
    let entries = fs::read_dir(folder.join("deps")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().any(|name| name.starts_with("libparquet-") && name.ends_with(".rlib"))
}

fn notice_in(folder: &Path, programs: &[&str], cores: usize) -> Option<String> {
    let is_there = |program: &&str| folder.join(format!("{program}{EXE_SUFFIX}")).is_file();
    if programs.iter().all(is_there) {
        return None;
    }
    let costs = COSTS.iter().filter(|cost| programs.contains(&cost.program));
    let seconds: f64 = costs.map(|cost| cost.seconds(cores)).sum();
    let time = match (seconds / 60.0).round() {
        minutes if minutes <= 1.0 => "about a minute".to_owned(),
        minutes => format!("about {minutes} minutes"),
    };
    let on = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    let names = programs.join(" and ");
    Some(format!("building {names} for the first time, {time} on {on}; later runs start at once"))
}

impl Cost {
    fn seconds(&self, cores: usize) -> f64 {
        let chain = f64::from(self.chain_seconds);
        chain + (f64::from(self.cpu_seconds) - chain) / cores as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_build_is_told_with_its_time_on_these_cores() {
        let folder = tempfile::tempdir().unwrap();
        let told = |programs: &[&str], cores| notice_in(folder.path(), programs, cores).unwrap();
        let one = told(&["dhih-train", "dhih-index"], 1);
        assert_eq!(
            one,
            "building dhih-train and dhih-index for the first time, about 6 minutes on 1 core; later runs start at once"
        );
        let two = told(&["dhih-train", "dhih-index"], 2);
        assert!(two.contains("about 4 minutes on 2 cores"), "{two}");
        let many = told(&["dhih-serve"], 64);
        assert!(many.contains("about a minute on 64 cores"), "{many}");
    }

    #[test]
    fn parquet_is_found_where_a_build_has_compiled_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_parquet_in(folder.path()));
        let deps = folder.path().join("deps");
        fs::create_dir(&deps).unwrap();
        fs::write(deps.join("libparquet_derive-0a.so"), "").unwrap();
        fs::write(deps.join("libparquet-0a.rmeta"), "").unwrap();
        assert!(!has_parquet_in(folder.path()));
        fs::write(deps.join("libparquet-0a.rlib"), "").unwrap();
        assert!(has_parquet_in(folder.path()));
    }

    #[test]
    fn programs_that_are_there_are_not_announced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("dhih-train{EXE_SUFFIX}")), "").unwrap();
        assert!(notice_in(folder.path(), &["dhih-train", "dhih-index"], 2).is_some());
        fs::write(folder.path().join(format!("dhih-index{EXE_SUFFIX}")), "").unwrap();
        assert_eq!(notice_in(folder.path(), &["dhih-train", "dhih-index"], 2), None);
    }
}
