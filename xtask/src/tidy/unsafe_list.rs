//! Which files may hold unsafe code: those that ARCHITECTURE.md lists, no more and no fewer.

use std::collections::BTreeSet;

use super::{Finding, Source};

const DOCUMENT: &str = "ARCHITECTURE.md";
const BEGINS: &str = "Architecture invariant: `unsafe` is denied";
/// In pieces, so that this file passes its own rule.
const ALLOWS: &str = concat!("allow(unsafe", "_code");

/// Compares the files that allow unsafe code with the list, where there is one.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        return Vec::new();
    };
    let listed = listed(&document.text);
    let is_attribute = |line: &str| line.trim_start().starts_with('#') && line.contains(ALLOWS);
    let allows = |source: &&Source| source.text.lines().any(is_attribute);
    let found: BTreeSet<String> = sources
        .iter()
        .filter(allows)
        .map(|source| source.path.trim_start_matches("crates/").to_owned())
        .collect();
    let at = document.text.lines().position(|line| line.starts_with(BEGINS)).unwrap_or(0) + 1;
    let unlisted = found
        .difference(&listed)
        .map(|path| Finding::new(DOCUMENT, at, format!("{path} allows unsafe code: list it")));
    let stale = listed
        .difference(&found)
        .map(|path| Finding::new(DOCUMENT, at, format!("{path} allows no unsafe code")));
    unlisted.chain(stale).collect()
}

/// The paths of the invariant's paragraph, `a/{b,c}.rs` being two.
fn listed(text: &str) -> BTreeSet<String> {
    let lines = text.lines().skip_while(|line| !line.starts_with(BEGINS));
    let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let quoted = paragraph.split('`').skip(1).step_by(2).filter(|path| path.ends_with(".rs"));
    quoted.flat_map(expanded).collect()
}

fn expanded(path: &str) -> Vec<String> {
    let parts =
        path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_files_agree() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let list = format!("# A\n\n{BEGINS}, but in `a/{{b,c}}.rs`,\n`d.rs`.\n\n`e.rs`\n");
        let allows = format!("//! B.\n#![{ALLOWS})]\n");
        let files = |names: &[&str]| {
            let files = names.iter().map(|name| source(&format!("crates/{name}"), &allows));
            let all: Vec<Source> = files.chain([source(DOCUMENT, &list)]).collect();
            check(&all).into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        assert!(files(&["a/b.rs", "a/c.rs", "d.rs"]).is_empty());
        assert_eq!(
            files(&["a/b.rs", "d.rs", "e.rs"]),
            ["e.rs allows unsafe code: list it", "a/c.rs allows no unsafe code"]
        );
        assert!(check(&[source("crates/a.rs", &allows)]).is_empty(), "a tree without a list");
    }
}
