//! The index's file format and its description change together: the version in `format.rs` stands in the history of
//! FORMAT.md, and a branch that touches the one touches the other.

use std::path::Path;
use std::process::Command;

use super::{Finding, Source};

const CODE: &str = "crates/dhih-index/src/store/format.rs";
const DOCUMENT: &str = "docs/src/FORMAT.md";

pub(super) fn check(root: &Path, sources: &[Source]) -> Vec<Finding> {
    let find = |path: &str| {
        sources.iter().find(|source| source.path == path).map(|source| source.text.as_str())
    };
    let Some(code) = find(CODE) else { return Vec::new() };
    let Some(document) = find(DOCUMENT) else {
        return vec![Finding::new(
            CODE,
            1,
            format!("{DOCUMENT} does not exist; describe the format there"),
        )];
    };
    let mut findings = Vec::new();
    match version(code) {
        None => findings.push(Finding::new(
            CODE,
            1,
            "no `const ...VERSION: ... = N;`; every format has a version",
        )),
        Some((line, version)) if !in_history(document, version) => {
            let message = format!(
                "version {version} is not in the history of {DOCUMENT}; add `| {version} | ... |`"
            );
            findings.push(Finding::new(CODE, line, message));
        }
        Some(_) => {}
    }
    if let Some(changed) = changed_files(root)
        && changed.iter().any(|file| file == CODE)
        && !changed.iter().any(|file| file == DOCUMENT)
    {
        findings.push(Finding::new(
            CODE,
            1,
            format!("changed on this branch, but {DOCUMENT} is not"),
        ));
    }
    findings
}

/// The line and value of the constant whose name ends in VERSION.
fn version(code: &str) -> Option<(usize, u64)> {
    code.lines().enumerate().find_map(|(index, line)| {
        let (declaration, value) = line.split_once('=')?;
        let (_, name) = declaration.split_once("const ")?;
        let is_version = name.split(':').next()?.trim().ends_with("VERSION");
        let value = value.split(';').next()?.trim();
        is_version.then(|| Some((index + 1, value.parse().ok()?))).flatten()
    })
}

/// Whether a row, item or heading below the heading "History" or "Versions" begins with the version.
fn in_history(document: &str, version: u64) -> bool {
    let is_history = |line: &&str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        line.starts_with('#') && (heading.contains("history") || heading.contains("versions"))
    };
    let entry = |line: &str| {
        let text = line
            .trim_start_matches(|c: char| c.is_whitespace() || "|*-#`".contains(c))
            .to_lowercase();
        let text = text.strip_prefix("version").unwrap_or(&text).trim_start();
        let number: String = text.chars().take_while(char::is_ascii_digit).collect();
        number.parse() == Ok(version)
    };
    document.lines().skip_while(|line| !is_history(line)).skip(1).any(entry)
}

/// Files that differ from where the branch left the main line; `None` where git does not know.
fn changed_files(root: &Path) -> Option<Vec<String>> {
    let main = ["origin/main", "main", "origin/master", "master"];
    let base = main.iter().find_map(|main| git(root, &["merge-base", "HEAD", main]))?;
    let changed = git(root, &["diff", "--name-only", "--relative", base.trim()])?;
    Some(changed.lines().map(str::to_owned).collect())
}

pub(super) fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const VERSION_2: &str = "//! Format.\npub(crate) const VERSION: u32 = 2;\n";

    fn sources(code: &str, document: Option<&str>) -> Vec<Source> {
        let source =
            |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        [Some(source(CODE, code)), document.map(|text| source(DOCUMENT, text))]
            .into_iter()
            .flatten()
            .collect()
    }

    fn messages(code: &str, document: Option<&str>) -> Vec<String> {
        let nowhere = tempfile::tempdir().unwrap();
        check(nowhere.path(), &sources(code, document))
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.message))
            .collect()
    }

    #[test]
    fn the_version_stands_in_the_history() {
        for entry in [
            "| 2 | block checksums |",
            "- **Version 2**: checksums",
            "### 2 (today)",
            "- `2` checksums",
        ] {
            let document = format!("# Format\n\n## History\n\n| 1 | first |\n{entry}\n");
            assert_eq!(messages(VERSION_2, Some(&document)), [""; 0], "{entry}");
            let document = document.replace("History", "Versions");
            assert_eq!(messages(VERSION_2, Some(&document)), [""; 0], "{entry}");
        }
        for document in [
            "## History\n| 1 | has 2 tables |\n| 21 | no |\n",
            "| 2 | above |\n## History\n| 1 |\n",
            "2\n",
        ] {
            let found = messages(VERSION_2, Some(document));
            assert!(
                found.len() == 1 && found[0].starts_with("2: version 2 is not in the history"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_missing_document_or_version_is_found() {
        assert!(messages(VERSION_2, None)[0].contains("does not exist"));
        assert!(
            messages("//! Format.\n", Some("# Format\n"))[0].contains("every format has a version")
        );
        assert_eq!(check(Path::new("."), &[]), []);
    }

    #[test]
    fn a_branch_that_changes_the_code_changes_the_document() {
        let root = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let config = [
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.org",
                "-c",
                "commit.gpgsign=false",
            ];
            git(root.path(), &[&config, args].concat()).unwrap_or_else(|| panic!("git {args:?}"))
        };
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let document = "## History\n| 2 | first |\n";
        run(&["init", "--quiet", "--initial-branch", "main"]);
        write(CODE, VERSION_2);
        write(DOCUMENT, document);
        run(&["add", "."]);
        run(&["commit", "--quiet", "-m", "format"]);
        let found = || check(root.path(), &sources(VERSION_2, Some(document)));
        assert_eq!(found(), []);

        run(&["checkout", "--quiet", "-b", "branch"]);
        write(CODE, &format!("{VERSION_2}const MAGIC: u8 = 1;\n"));
        run(&["commit", "--quiet", "-am", "magic"]);
        assert_eq!(found().len(), 1, "committed on the branch, document untouched");
        write(DOCUMENT, &format!("{document}| 3 | magic |\n"));
        assert_eq!(found(), [], "a change not yet committed counts");
    }
}
