//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy checks. Each family of rules has its own file
//! and adds findings; all are printed, one `file:line: what` each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::failure::Failure;
use crate::workspace::Workspace;

mod circles;
mod format_history;
mod generated;
mod layering;
mod sources;
mod unsafe_list;

const EXAMPLE: &str = "Example:
  cargo xtask tidy";

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 4] = ["target", "runs", "data", "node_modules"];

/// The kinds of files that the rules read.
const READ: [&str; 8] = ["rs", "toml", "md", "yml", "yaml", "sh", "html", "js"];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Print JSON on stdout
    #[arg(long, env = "DHIH_JSON")]
    json: bool,
}

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    /// Relative to the root, with `/`.
    file: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

/// A file of the tree, read.
#[derive(Debug)]
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    if !args.json {
        return require_clean(workspace);
    }
    let findings = check(workspace.root())?;
    print_json(&serde_json::json!({ "findings": findings }))?;
    fail_on(&findings)
}

/// Prints every finding; an error when there is one.
pub(crate) fn require_clean(workspace: &Workspace) -> Result<()> {
    let findings = check(workspace.root())?;
    for finding in &findings {
        print(&format!("{}:{}: {}", finding.file, finding.line, finding.message))?;
    }
    fail_on(&findings)
}

fn fail_on(findings: &[Finding]) -> Result<()> {
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::step(None, format!("tidy: {count} to mend, listed above")).into()),
    }
}

/// All findings in the tree at `root`, in order of file and line.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    let sources = paths.iter().map(|path| read(root, path)).collect::<Result<Vec<_>>>()?;
    let mut findings: Vec<Finding> = sources.iter().flat_map(sources::check).collect();
    findings.extend(sources.iter().flat_map(layering::check));
    findings.extend(circles::check(&sources));
    findings.extend(format_history::check(root, &sources));
    findings.extend(generated::check(root));
    findings.extend(unsafe_list::check(&sources));
    findings.sort();
    Ok(findings)
}

/// Files to read below `directory`: no hidden ones but .ci, .cargo and .github, nothing made by tools.
fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind =
            entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
        if kind.is_dir() {
            let hidden =
                name.starts_with('.') && ![".ci", ".cargo", ".github"].contains(&name.as_str());
            let made_by_tools =
                SKIPPED.contains(&name.as_str()) || path.join("CACHEDIR.TAG").exists();
            if !hidden && !made_by_tools {
                collect(&path, paths)?;
            }
        } else if kind.is_file() {
            let extension =
                path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let script = directory.file_name().is_some_and(|name| name == ".ci");
            if READ.contains(&extension) || script {
                paths.push(path);
            }
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path) -> Result<Source> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(Source { path: relative, text: String::from_utf8_lossy(&bytes).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of the given files; gives each finding as `file:line: message`.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let findings = check(root.path()).unwrap();
        findings.iter().map(|f| format!("{}:{}: {}", f.file, f.line, f.message)).collect()
    }

    #[test]
    fn a_clean_tree_has_no_finding() {
        assert_eq!(
            findings(&[("src/a.rs", "//! A.\nfn a() {}\n"), ("README.md", "# A\n")]),
            [""; 0]
        );
    }

    #[test]
    fn all_findings_are_listed_in_order_with_their_lines() {
        let found = findings(&[
            ("src/b.rs", "fn b() {}\n"),
            ("src/a.rs", "//! A.\n\nfn a() {\n    unsafe { f() }\n}\n"),
            (".ci/run", concat!("cd /ro", "ot/here\n")),
        ]);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with(".ci/run:1: ") && found[0].contains("machine"), "{found:#?}");
        assert!(found[1].starts_with("src/a.rs:4: ") && found[1].contains("SAFETY"), "{found:#?}");
        assert!(found[2].starts_with("src/b.rs:1: ") && found[2].contains("//!"), "{found:#?}");
    }

    #[test]
    fn what_tools_made_and_hidden_folders_are_passed_over() {
        let bad = "fn a() {}\n";
        let found = findings(&[
            ("target/a.rs", bad),
            ("out/CACHEDIR.TAG", ""),
            ("out/a.rs", bad),
            (".git/a.rs", bad),
            ("data/a.rs", bad),
            ("src/picture.bin", bad),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
