//! The link `latest` beside runs, which names the last complete one. Who makes it: `dhih-train`.

use std::io::Write;
use std::path::Path;

use clap::ArgMatches;

/// What is to be told where `path` leads through a `latest` that is a folder of its own and no link, as some ways of copying leave it:
/// it then stays what it is, whatever is trained later.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let dir = tempfile::tempdir()?;
/// let run = dir.path().join("latest");
/// std::fs::create_dir(&run)?;
/// std::fs::write(run.join("config.toml"), "")?;
/// assert!(dhih_manual::stale_latest(&run.join("index")).is_some());
/// assert!(dhih_manual::stale_latest(dir.path()).is_none());
/// # Ok(())
/// # }
/// ```
pub fn stale_latest(path: &Path) -> Option<String> {
    let latest =
        path.ancestors().find(|folder| folder.file_name().is_some_and(|n| n == "latest"))?;
    let is_folder = latest.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let is_run = is_folder && latest.join("config.toml").is_file();
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
