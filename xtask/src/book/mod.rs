//! `cargo xtask book`: the book as pages of HTML. It renders `docs` with mdBook, installing mdBook first where there is none, and
//! then checks the pages as a browser would find them: every link and anchor has an end (`html.rs`), and every page is in the summary.

mod html;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::console::print;
use crate::failure::Failure;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask book
  cargo xtask book --out site

Takes the mdbook on PATH, else the one in target/tools. If there is neither, `cargo install` builds one there, once: it fetches
crates and compiles for about three minutes on two cores.";

/// The version that is installed where there is none. Another one on PATH is taken as it is.
const VERSION: &str = "0.5.4";

/// Where mdBook is installed, relative to the root of the workspace.
const TOOLS: &str = "target/tools";

/// The book and its pages, relative to the root of the workspace.
const BOOK: &str = "docs";
const PAGES: &str = "docs/src";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Folder for the pages; what is in it is replaced
    #[arg(long, env = "DHIH_OUT", value_name = "DIR", default_value = "target/book")]
    out: PathBuf,
}

/// Renders and checks the book.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let program = match found(workspace) {
        Some(program) => program,
        None => install(workspace)?,
    };
    render_and_check(&program, &workspace.root().join(&args.out), workspace)
}

/// Renders and checks the book where mdBook is at hand, and says so where it is not.
pub(crate) fn run_if_installed(workspace: &Workspace) -> Result<()> {
    match found(workspace) {
        Some(program) => {
            render_and_check(&program, &workspace.root().join("target/book"), workspace)
        }
        None => print("skipped: mdbook (not installed; `cargo xtask book` installs it)"),
    }
}

/// The mdBook on PATH, else the installed one.
fn found(workspace: &Workspace) -> Option<PathBuf> {
    let runs = |program: &PathBuf| {
        let step = Step::new("find mdbook", program, workspace).args(["--version"]);
        step.capture().is_ok()
    };
    [PathBuf::from("mdbook"), installed(workspace)].into_iter().find(runs)
}

fn installed(workspace: &Workspace) -> PathBuf {
    workspace.root().join(TOOLS).join(format!("bin/mdbook{}", env::consts::EXE_SUFFIX))
}

fn install(workspace: &Workspace) -> Result<PathBuf> {
    print(&format!(
        "mdbook is not on PATH: installing version {VERSION} in {TOOLS}, once; it compiles for about three minutes on two cores"
    ))?;
    let start = Instant::now();
    let step = Step::cargo("install mdbook", workspace).args([
        "install",
        "mdbook",
        "--locked",
        "--version",
        VERSION,
        "--root",
        TOOLS,
    ]);
    show(&step).context("mdbook could not be installed: is this machine offline?")?;
    print(&format!("installed mdbook in {:.0} s", start.elapsed().as_secs_f64()))?;
    Ok(installed(workspace))
}

fn render_and_check(program: &Path, out: &Path, workspace: &Workspace) -> Result<()> {
    let step = Step::new("render the book", program, workspace);
    show(&step.args([Path::new("build"), Path::new(BOOK), Path::new("--dest-dir"), out]))?;
    let mut faults = misplaced_pages(&workspace.root().join(PAGES))?;
    let site = html::Site::read(out)?;
    faults.extend(site.faults());
    for fault in &faults {
        print(fault)?;
    }
    if !faults.is_empty() {
        let message = format!("book: {} to mend, listed above", faults.len());
        return Err(Failure::step(None, message).into());
    }
    let (pages, links) = (site.pages(), site.links());
    print(&format!("{pages} pages, {links} links within the book, none of them without an end"))?;
    print(&workspace.show(&out.join("index.html")).to_string())
}

/// Pages of a folder that its SUMMARY.md does not list, or that get the address of another.
fn misplaced_pages(folder: &Path) -> Result<Vec<String>> {
    let summary = folder.join("SUMMARY.md");
    let text = fs::read_to_string(&summary)
        .with_context(|| format!("cannot read {}", summary.display()))?;
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let listed: BTreeSet<&str> = links.map(|(link, _)| link).collect();
    let is_page = |name: &String| name.ends_with(".md") && name != "SUMMARY.md";
    let pages = html::files(folder)?.into_iter().filter(is_page);
    Ok(pages.filter_map(|name| misplaced(&name, &listed)).collect())
}

fn misplaced(name: &str, listed: &BTreeSet<&str>) -> Option<String> {
    match name {
        "index.md" => Some(format!(
            "{name}: the first page is written as index.html; name this one otherwise"
        )),
        _ => (!listed.contains(name)).then(|| format!("{name}: it is not in SUMMARY.md")),
    }
}

fn show(step: &Step) -> Result<()> {
    print(&format!("$ {}", step.command_line()))?;
    step.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_outside_the_summary_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("SUMMARY.md", "- [A](a.md)\n- [B](sub/b.md)"), ("a.md", ""), ("sub/b.md", "")]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(misplaced_pages(folder.path()).unwrap(), [""; 0]);
        fs::write(folder.path().join("sub/c.md"), "").unwrap();
        assert_eq!(misplaced_pages(folder.path()).unwrap(), ["sub/c.md: it is not in SUMMARY.md"]);
        fs::rename(folder.path().join("sub/c.md"), folder.path().join("index.md")).unwrap();
        let found = misplaced_pages(folder.path()).unwrap();
        assert!(found.len() == 1 && found[0].starts_with("index.md: the first page"), "{found:?}");
        fs::remove_file(folder.path().join("SUMMARY.md")).unwrap();
        assert!(misplaced_pages(folder.path()).unwrap_err().to_string().contains("cannot read"));
    }
}
