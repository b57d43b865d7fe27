//! No circle of files in a crate: where two files need each other, a third holds what both need. Read from the `use` lines of each file. What a
//! folder's own file and the files below it need of each other is no circle, because it shows them together; tests may use everything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Source};

/// A module of a crate: its path, such as `["search", "plan"]`, which is empty for the root.
type Module = Vec<String>;

/// The files of a crate, by module.
type Files<'a> = BTreeMap<Module, &'a Source>;

/// Checks every crate, which is known by its root.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let folders = sources.iter().filter_map(|source| source.path.strip_suffix("src/lib.rs"));
    folders.flat_map(|folder| check_crate(&format!("{folder}src/"), sources)).collect()
}

fn check_crate(folder: &str, sources: &[Source]) -> Vec<Finding> {
    let module = |source: &Source| {
        let path = source.path.strip_prefix(folder)?.strip_suffix(".rs")?;
        let mut parts: Module = path.split('/').map(str::to_owned).collect();
        let is_test = parts.iter().any(|part| part == "tests");
        if is_test || parts[0] == "bin" || parts == ["main"] {
            return None;
        }
        if parts.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
            parts.pop();
        }
        Some(parts)
    };
    let files: Files<'_> =
        sources.iter().filter_map(|source| Some((module(source)?, source))).collect();
    let uses: BTreeMap<&Module, BTreeSet<Module>> =
        files.iter().map(|(module, source)| (module, used(module, source, &files))).collect();
    // A file is in a circle if it can be reached from one that it uses.
    let circle = |module: &Module| -> Option<Module> {
        uses[module].iter().find(|next| reaches(&uses, next, module)).cloned()
    };
    files
        .iter()
        .filter_map(|(module, source)| {
            let next = circle(module)?;
            let message =
                format!("a circle of files: it uses `{}`, which needs it in turn", next.join("::"));
            Some(Finding::new(&source.path, 1, message))
        })
        .collect()
}

/// Whether `to` is `from`, or is used by it or by what it uses.
fn reaches(uses: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module, to: &Module) -> bool {
    let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(module) = left.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            left.extend(uses.get(module).into_iter().flatten());
        }
    }
    false
}

/// The files that a file uses, but for those above and below it.
fn used(module: &Module, source: &Source, files: &Files<'_>) -> BTreeSet<Module> {
    let mut paths = Vec::new();
    // As rustfmt writes them, those of the file itself begin a line. What is shown again (`pub use`) is not used by the file.
    for statement in source.text.split("\nuse ").skip(1) {
        let tree = statement.split(';').next().unwrap_or_default();
        flatten(tree, &[], &mut paths);
    }
    let target = |path: Module| -> Option<Module> {
        let mut target = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        target.extend(path.into_iter().skip(1));
        while !files.contains_key(&target) {
            target.pop()?;
        }
        let is_near = target.starts_with(module) || module.starts_with(&target);
        Some(target).filter(|_| !is_near)
    };
    paths.into_iter().filter_map(target).collect()
}

/// The paths of a tree of names such as `a::{b, c::{d, e}}`, one for each.
fn flatten(tree: &str, above: &[String], paths: &mut Vec<Module>) {
    let (path, group) = match tree.split_once('{') {
        Some((path, group)) => (path, group.trim_end().strip_suffix('}')),
        None => (tree.split(" as ").next().unwrap_or_default(), None),
    };
    let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty() && *part != "*");
    let path: Module = above.iter().cloned().chain(parts.map(str::to_owned)).collect();
    let Some(group) = group else { return paths.push(path) };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    flatten(&group[start..at], &path, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("crates/a/src/{path}"),
            text: (*text).to_owned(),
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        check(&sources)
            .into_iter()
            .map(|finding| finding.file.rsplit("src/").next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn circles_are_found_however_long_and_however_they_are_written() {
        let two = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "\nuse crate::b::B;"),
            ("b.rs", "\nuse crate::a::{self, A};"),
        ];
        assert_eq!(found(&two), ["a.rs", "b.rs"]);
        let three = [
            ("x/mod.rs", "mod a; mod b; mod c;"),
            ("x/a.rs", "\nuse super::b::B as Other;"),
            ("x/b.rs", "\nuse std::fmt;\nuse crate::x::{c::{C, D}, a::E};"),
            ("x/c.rs", "\nuse super::a::*;"),
            ("lib.rs", "mod x;\nuse x::A;"),
        ];
        assert_eq!(found(&three), ["x/a.rs", "x/b.rs", "x/c.rs"]);
    }

    #[test]
    fn folders_their_files_tests_and_what_is_shown_again_are_no_circles() {
        let tree = [
            ("lib.rs", "mod a;\npub use a::b::B;\nuse a::A;"),
            ("a/mod.rs", "mod b;\nuse self::b::B;\npub struct A;"),
            ("a/b.rs", "\nuse super::A;\nuse std::fmt;\nuse crate::Error;"),
            ("c.rs", "\nuse crate::a::b::B;\n#[cfg(test)]\nmod tests {\n    use crate::d::D;\n}"),
            ("d.rs", "\nuse crate::c::C;"),
            ("a/tests.rs", "\nuse crate::d::D;"),
        ];
        assert_eq!(found(&tree), [""; 0]);
    }
}
