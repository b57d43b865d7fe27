//! What tools make is not committed: no file is both in the index of git and named by .gitignore.

use std::path::Path;

use super::Finding;
use super::format_history::git;

/// Files that are committed although .gitignore names them; none where git does not know.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let listed =
        git(root, &["ls-files", "--cached", "--ignored", "--exclude-per-directory=.gitignore"]);
    let message = "a tool makes this file, as .gitignore says: take it out with `git rm --cached`";
    listed.unwrap_or_default().lines().map(|path| Finding::new(path, 1, message)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_committed_file_that_is_ignored_is_found() {
        let root = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| git(root.path(), args).unwrap_or_else(|| panic!("git {args:?}"));
        run(&["init", "--quiet"]);
        for name in [".gitignore", "kept.md", "made.log", "new.log"] {
            fs::write(root.path().join(name), "*.log\n").unwrap();
        }
        run(&["add", ".gitignore", "kept.md"]);
        assert_eq!(check(root.path()), []);
        run(&["add", "--force", "made.log"]);
        let found = check(root.path());
        assert!(found.len() == 1 && found[0].file == "made.log", "{found:?}");
        assert_eq!(check(&root.path().join("no/such/folder")), []);
    }
}
