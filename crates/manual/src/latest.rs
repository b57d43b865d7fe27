//! `latest` beside runs, which leads to the last complete one: a link, or where no links can be made, a file with the name of the run's
//! folder. `dhih-train` makes it.

use std::any::TypeId;
use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{ArgMatches, Command};

/// The longest file `latest` in bytes: a name of the most bytes that file systems allow, and the ends of a line.
const LONGEST: u64 = 257;

/// The path that is meant by `path`: a part `latest` of it that is a file is replaced by the folder beside it that the file names.
///
/// ```
/// # use std::path::Path;
/// # fn main() -> std::io::Result<()> {
/// let runs = tempfile::tempdir()?;
/// std::fs::create_dir(runs.path().join("birds-001"))?;
/// std::fs::write(runs.path().join("latest"), "birds-001\n")?;
/// let index = dhih_manual::through_latest(&runs.path().join("latest/index"));
/// assert_eq!(index, runs.path().join("birds-001/index"));
/// assert_eq!(dhih_manual::through_latest(Path::new("elsewhere")), Path::new("elsewhere"));
/// # Ok(())
/// # }
/// ```
pub fn through_latest(path: &Path) -> PathBuf {
    let (mut walked, mut is_changed) = (PathBuf::new(), false);
    for part in path.components() {
        let named = match part {
            Component::Normal(name) if name == "latest" => latest_in(&walked),
            _ => None,
        };
        match named {
            Some(run) => {
                walked.push(run);
                is_changed = true;
            }
            None => walked.push(part),
        }
    }
    // `components` writes a path anew; one that leads through no such file stays as it was given.
    if is_changed { walked } else { path.to_owned() }
}

/// The name of the run that the file `latest` in `runs` names. `None` where there is no such file, or where it is something else.
pub fn latest_in(runs: &Path) -> Option<String> {
    let latest = runs.join("latest");
    // Only a file may be read: opening a pipe would wait.
    if !latest.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST) {
        return None;
    }
    let mut text = String::new();
    fs::File::open(latest).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    let name = text.trim_end_matches(['\n', '\r']);
    let mut parts = Path::new(name).components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    (is_name && runs.join(name).is_dir()).then(|| name.to_owned())
}

/// The command with every path read by [`through_latest`].
pub(crate) fn with_paths_through_latest(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            arg.value_parser(PathBufValueParser::new().map(|path| through_latest(&path)))
        } else {
            arg
        }
    });
    command.mut_subcommands(with_paths_through_latest)
}

/// What is to be told where `path` leads through a `latest` that is a folder of its own and no link, as some ways of copying leave it:
/// it then stays what it is, whatever is trained later.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let dir = tempfile::tempdir()?;
/// let run = dir.path().join("latest");
/// std::fs::create_dir(&run)?;
/// std::fs::write(run.join("model.safetensors"), "")?;
/// assert!(dhih_manual::stale_latest(&run.join("index")).is_some());
/// assert!(dhih_manual::stale_latest(dir.path()).is_none());
/// # Ok(())
/// # }
/// ```
pub fn stale_latest(path: &Path) -> Option<String> {
    let latest =
        path.ancestors().find(|folder| folder.file_name().is_some_and(|n| n == "latest"))?;
    let is_folder = latest.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    // Settings are not asked for: runs of photos have none.
    let is_run = is_folder && latest.join("model.safetensors").is_file();
    is_run.then(|| {
        let latest = latest.display();
        format!(
            "NOTE: {latest} is a folder and no link to the last run, as some ways of copying leave it: it may be an older run\n\
             hint: `mv {latest} {latest}-copied`; the next run makes the link anew"
        )
    })
}

/// Tells on stderr of a `latest` that is no link, where `path` leads through one.
pub fn warn_of_stale_latest(path: &Path) {
    if let Some(note) = stale_latest(path) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{note}");
    }
}

/// As [`warn_of_stale_latest`], of the first path among the values of a command line, defaults included.
pub(crate) fn warn_of_values(matches: &ArgMatches) {
    let mut last = matches;
    while let Some((_, matches)) = last.subcommand() {
        last = matches;
    }
    let values = last.ids().filter_map(|id| last.try_get_raw(id.as_str()).ok().flatten()).flatten();
    if let Some(path) = values.map(Path::new).find(|path| stale_latest(path).is_some()) {
        warn_of_stale_latest(path);
    }
}
