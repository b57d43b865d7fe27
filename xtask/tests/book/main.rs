//! The commands of the README, the comparison, the page on security and the book, run in order, page by page, each page in a folder of its
//! own; those that cannot run here are parsed, their subcommands and flags looked for, and the settings of training resolved. How pages are
//! marked: `page.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod command;
mod help;
mod page;
mod resolve;
mod scratch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use command::{PROGRAMS, calls};
use help::Help;
use page::Page;
use scratch::Scratch;

/// The folder of the book's pages, from the root of the repository.
const BOOK: &str = "docs/src";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the programs: `cargo test --workspace` builds them, for their own tests, and puts them beside this one. (Cargo
/// called from here would build the crates anew whose build scripts look at what cargo tells a test.)
fn programs() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    for program in PROGRAMS {
        let made = folder.join(program).is_file();
        assert!(made, "{program} is not built; run `cargo test --workspace --no-run` before");
    }
    folder.to_path_buf()
}

/// What is wrong with a page whose commands are only read.
fn read(page: &Page, help: &mut Help) -> Vec<String> {
    let mut faults = page.faults.clone();
    let blocks = page.blocks.iter().map(|block| (block.line, &block.commands));
    for (line, commands) in blocks.chain(page.inline.iter().map(|(line, code)| (*line, code))) {
        let checked =
            calls(commands).and_then(|calls| calls.iter().try_for_each(|call| help.check(call)));
        faults.extend(checked.err().map(|fault| format!("{line}: {fault}")));
    }
    for (line, code) in page.inline.iter().filter(|(_, code)| code.starts_with("--")) {
        faults.extend(help.check_flags(code).err().map(|fault| format!("{line}: {fault}")));
    }
    // A flag that does not exist is told once.
    let to_resolve = if faults.is_empty() { &page.blocks[..] } else { &[] };
    for block in to_resolve.iter().filter(|block| !block.run) {
        let resolved = resolve::check(&programs(), &block.commands);
        faults.extend(resolved.err().map(|fault| format!("{}: {fault}", block.line)));
    }
    faults
}

/// What is wrong with a page: all that reading finds, else the first block that fails.
fn check(text: &str) -> Vec<String> {
    let page = Page::parse(text);
    let faults = read(&page, &mut Help::of(&programs()));
    let to_run: Vec<_> = page.blocks.iter().filter(|block| block.run).collect();
    if !faults.is_empty() || to_run.is_empty() {
        return faults;
    }
    let scratch = Scratch::new(&programs());
    for (name, content) in &page.files {
        fs::write(scratch.folder().join(name), content).unwrap();
    }
    if let Err(printed) = scratch.run(&page.before) {
        return vec![format!("before: fails\n{}\n{printed}", page.before)];
    }
    for block in to_run {
        if let Err(printed) = scratch.run(&block.commands) {
            return vec![format!("{}: fails\n{}\n{printed}", block.line, block.commands)];
        }
    }
    Vec::new()
}

/// The README, the comparison, the page on security and every page of the book, by their paths from the root.
fn pages() -> BTreeMap<String, String> {
    let mut paths = ["README.md", "COMPARE.md", "SECURITY.md"].map(str::to_owned).to_vec();
    for entry in fs::read_dir(repository().join(BOOK)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        paths.extend(name.ends_with(".md").then(|| format!("{BOOK}/{name}")));
    }
    let read = |path: String| {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_command_of_the_book_runs_or_says_why_not() {
    let pages = pages();
    assert!(pages.len() > 10, "the book is gone");
    let mut faults = Vec::new();
    for (path, text) in &pages {
        let start = Instant::now();
        faults.extend(check(text).into_iter().map(|fault| format!("{path}:{fault}")));
        eprintln!("{:6.1} s  {path}", start.elapsed().as_secs_f64());
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_page_is_in_the_summary_and_every_link_has_an_end() {
    let pages = pages();
    let parsed: BTreeMap<_, _> =
        pages.iter().map(|(path, text)| (path, Page::parse(text))).collect();
    let summary = &pages[&format!("{BOOK}/SUMMARY.md")];
    for path in pages.keys().filter_map(|path| path.strip_prefix("docs/src/")) {
        assert!(
            path == "SUMMARY.md" || summary.contains(&format!("]({path})")),
            "{path} is in no summary"
        );
    }
    let mut links = 0;
    for (path, page) in &parsed {
        let own = |link: &&(usize, String)| !link.1.contains("://");
        for (line, link) in page.links.iter().filter(own) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(path.as_str()).parent().unwrap();
            let end = if file.is_empty() {
                path.to_string()
            } else {
                folder.join(file).display().to_string()
            };
            assert!(repository().join(&end).exists(), "{path}:{line}: {link} leads nowhere");
            let target = parsed.iter().find(|(path, _)| ***path == end);
            let known =
                target.is_none_or(|(_, page)| page.anchors.iter().any(|known| known == anchor));
            assert!(anchor.is_empty() || known, "{path}:{line}: {link}: no such heading");
            links += 1;
        }
    }
    assert!(links > 20, "no links were read");
}

#[test]
fn every_flag_of_the_service_is_in_the_table_of_its_page() {
    let page = &pages()[&format!("{BOOK}/serving.md")];
    let table = page.split("\n## ").find(|section| section.starts_with("Flags\n")).unwrap();
    // Those of the store, which is a feature, are on a page of their own.
    let is_listed = |flag: &str| {
        ["--help", "--version"].contains(&flag)
            || flag.starts_with("--store")
            || [' ', '`'].iter().any(|end| table.contains(&format!("`{flag}{end}")))
    };
    let flags = Help::of(&programs()).flags("dhih-serve").unwrap();
    let long = flags.iter().filter(|flag| flag.starts_with("--"));
    let missing: Vec<_> = long.clone().filter(|flag| !is_listed(flag)).collect();
    assert!(long.count() > 30 && missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn a_mistake_on_a_page_is_found() {
    let marked = |commands: &str| format!("```sh,not-run=network\n{commands}\n```\n");
    for (page, expected) in [
        (marked("dhih-train --epocs 3"), "1: dhih-train knows no flag --epocs"),
        (marked("dhih-train evaluate --epochs 3"), "dhih-train evaluate knows no flag --epochs"),
        (marked("x | dhih-index serach --index idx"), "dhih-index knows no command serach"),
        (marked("dhih-index search --queries q -j 3"), "dhih-index search knows no flag -j"),
        (
            marked("cargo run --release -p dhih-serve -- --prot 1"),
            "dhih-serve knows no flag --prot",
        ),
        (marked("cargo xtask fetch-dat"), "xtask knows no command fetch-dat"),
        (marked("cargo run -p dhih-trian"), "names no program"),
        (marked("dhih-train --epochs 4 --warmup 6"), "warmup is 6"),
        (
            marked("for n in 0 1; do\n  dhih-train sweep --bits 16 --seeds $n\ndone"),
            "0 is not in 1",
        ),
        ("Run `dhih-index biuld`.".to_owned(), "1: dhih-index knows no command biuld"),
        ("\nWith `--seed N --epocs 3`.".to_owned(), "2: no program knows a flag --epocs"),
        ("```\ndhih-index build\n```\n".to_owned(), "1: say what the block is"),
        // Reading finds nothing here: only running does.
        ("\n```sh\ntest -d photos\ndhih-train list backbonse\n```\n".to_owned(), "2: fails"),
        ("```console\n$ dhih-index inspect | cat\nIt is ...\n```\n".to_owned(), "1: fails"),
        ("```sh\ndhih-index verify --index photos > /dev/null; true\n```\n".to_owned(), "1: fails"),
        ("```sh\nls\n```\n```sh\ncurl http://127.0.0.1:7878/healthz\n```\n".to_owned(), "4: fails"),
    ] {
        let faults = check(&page);
        assert!(faults.len() == 1 && faults[0].contains(expected), "{page}\n{faults:?}");
    }
}

#[test]
fn a_page_without_mistakes_has_none() {
    let page = "<!-- before:\ndhih-index build --codes db.npy --bits 48 --out idx\n-->\n\
                ```toml\n# small.toml\ndataset = \"demo\"\nbits = 16\n```\n\
                ```sh\ndhih-index search --index idx --queries q.npy -k=3 > hits\ngrep -q . hits\n```\n\
                ```sh\ndhih-train --config small.toml\ncargo run --release -p dhih-index -- build\n```\n\
                ```sh\ndhih-serve\n```\n```console\n$ curl 'http://127.0.0.1:7878/readyz' \\\n    --output answer\n$ grep 1010 answer || grep ready answer\n```\n";
    assert_eq!(check(page), [""; 0]);
}
